//! Amounts of bytes, as Kubernetes writes them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An amount of bytes: a whole number, or one with a suffix, as in `10Gi` or `500M`.
///
/// Kubernetes' own type also allows fractions and exponents. Those are refused, because a part of a
/// byte makes no sense here, and each amount then has few spellings.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Quantity(pub String);

/// The suffixes and their values.
const SUFFIXES: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// The text is not a [`Quantity`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an amount of bytes: write a whole number with a suffix, as in 10Gi")]
pub struct NotAQuantity(pub String);

impl Quantity {
    /// The amount in bytes.
    ///
    /// # Errors
    /// The text is not an amount, or it is larger than `u64::MAX`.
    pub fn bytes(&self) -> Result<u64, NotAQuantity> {
        let text = self.0.as_str();
        let (digits, factor) = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
            .unwrap_or((text, 1));
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| digits.parse::<u64>().ok()).flatten();
        let bytes = number.and_then(|number| number.checked_mul(factor));
        bytes.ok_or_else(|| NotAQuantity(text.to_owned()))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 20,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^[0-9]+(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$') \
                    && quantity(self).isInteger()",
                "message": "must be an amount of bytes: \
                    write a whole number with a suffix, as in 10Gi",
            }],
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_their_value() {
        for (text, bytes) in [("0", 0), ("17", 17), ("2k", 2000), ("3Ki", 3072), ("10Gi", 10 << 30)]
        {
            assert_eq!(Quantity::from(text).bytes(), Ok(bytes), "{text}");
        }
        for text in ["", "Gi", "1.5Gi", "-1", "1e3", "1 Gi", "99999999999Pi", "+1"] {
            assert!(Quantity::from(text).bytes().is_err(), "{text}");
        }
    }
}
