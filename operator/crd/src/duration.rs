//! Spans of time, as people write them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of time: whole hours, minutes and seconds, as in `90m` or `1h30m`.
///
/// The API server admits spans from ten seconds to ten years.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Span(pub String);

/// The text is not a [`Span`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a span of time: write hours, minutes and seconds, as in 1h30m")]
pub struct NotASpan(pub String);

impl Span {
    /// The span.
    ///
    /// # Errors
    /// The text is not a span, or it is too long for 64 bits of seconds.
    pub fn duration(&self) -> Result<Duration, NotASpan> {
        let refused = || NotASpan(self.0.clone());
        let mut rest = self.0.as_str();
        let mut seconds = 0_u64;
        if rest.is_empty() {
            return Err(refused());
        }
        for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(refused());
            }
            let number = number.parse::<u64>().map_err(|_| refused())?;
            let part = number.checked_mul(length).ok_or_else(refused)?;
            seconds = seconds.checked_add(part).ok_or_else(refused)?;
            rest = after;
        }
        if rest.is_empty() { Ok(Duration::from_secs(seconds)) } else { Err(refused()) }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') \
                    && duration(self) >= duration('10s') && duration(self) <= duration('87600h')",
                "message": "must be a span of time from 10s to 87600h: \
                    write hours, minutes and seconds, as in 90m or 1h30m",
            }],
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_length() {
        for (text, seconds) in [("0s", 0), ("90m", 5400), ("1h30m", 5400), ("2h1s", 7201)] {
            assert_eq!(Span::from(text).duration(), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "m", "1m1h", "1.5h", "-1s", "1 h", "1d", "99999999999999999999h"] {
            assert!(Span::from(text).duration().is_err(), "{text}");
        }
    }
}
