//! Versions of the program, and the order in which one may follow another.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version of the program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Version {
    numbers: [u64; 3],
    /// The part after the numbers: a pre-release, which comes before the version without it.
    rest: String,
}

/// The text is not a [`Version`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a version")]
pub struct NotAVersion(pub String);

impl Version {
    /// Whether members may be updated from `old` to this version: it is not older, and newer by at
    /// most one minor version. Members of two such versions work together.
    #[must_use]
    pub fn is_reached_from(&self, old: &Self) -> bool {
        let [major, minor, _] = old.numbers;
        let is_close = self.numbers[0] == major && self.numbers[1] <= minor.saturating_add(1);
        is_close && self >= old
    }

    /// The order of pre-releases: by parts, numbers before words. A version without one is last.
    fn pre_release(&self) -> (bool, Vec<(bool, u64, &str)>) {
        let pre_release = self.rest.strip_prefix('-').map(|rest| rest.split('+').next());
        let Some(Some(parts)) = pre_release else { return (true, Vec::new()) };
        let part = |part| match str::parse(part) {
            Ok(number) => (false, number, ""),
            Err(_) => (true, 0, part),
        };
        (false, parts.split('.').map(part).collect())
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        let pre_release = numbers.then_with(|| self.pre_release().cmp(&other.pre_release()));
        pre_release.then_with(|| self.rest.cmp(&other.rest))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refused = || NotAVersion(text.to_owned());
        let (numbers, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
        let numbers: Result<Vec<u64>, _> = numbers.split('.').map(str::parse).collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        Ok(Self { numbers: numbers.ok_or_else(refused)?, rest: rest.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}{}", self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_the_same_minor_or_the_one_before() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        for (old, new, is_reached) in [
            ("0.1.0", "0.1.0", true),
            ("0.1.0", "0.1.7", true),
            ("0.1.7", "0.2.0", true),
            ("0.2.0-rc.1", "0.2.0", true),
            ("0.2.0-rc.9", "0.2.0-rc.10", true),
            ("0.2.0-alpha.2", "0.2.0-rc.1", true),
            ("0.2.0", "0.2.0-rc.1", false),
            ("0.2.0-rc.1", "0.2.0-alpha.2", false),
            ("0.1.1", "0.1.0", false),
            ("0.2.0", "0.1.9", false),
            ("0.1.0", "0.3.0", false),
            ("0.9.0", "1.0.0", false),
        ] {
            assert_eq!(version(new).is_reached_from(&version(old)), is_reached, "{old} {new}");
        }
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!("0.12.3-rc.1".parse::<Version>().unwrap().to_string(), "0.12.3-rc.1");
        for text in ["", "1.2", "1.2.3.4", "v1.2.3", "1.x.3"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
