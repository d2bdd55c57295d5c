//! The registrations at the discovery service, in order.

use std::collections::BTreeMap;

use super::error::DiscoveryError;
use crate::config::parse_members;
use crate::config::url::Url;

/// The registered members' names and URLs, by create revision and key.
#[derive(Debug, Default)]
pub(super) struct Registrations(BTreeMap<(i64, String), String>);

impl Registrations {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a registration. Skips a key that is known already and a value without `=`.
    pub(super) fn add(&mut self, key: &str, members: &str, create_revision: i64) {
        let members = members.trim();
        let is_known = self.0.keys().any(|(_, known)| known == key);
        if is_known || !members.contains('=') {
            tracing::warn!(key, members, "ignored a key that is not a new registration");
            return;
        }
        tracing::info!(key, members, "found a founder at the discovery service");
        self.0.insert((create_revision, key.to_owned()), members.to_owned());
    }

    /// Whether the member with this key is among the first `size`, or can still become one.
    pub(super) fn has_room(&self, key: &str, size: usize) -> bool {
        self.len() < size || self.0.keys().take(size).any(|(_, known)| known == key)
    }

    /// The URLs of each of the first `size` members, in order of registration.
    pub(super) fn founders(&self, size: usize) -> Result<Vec<Vec<Url>>, DiscoveryError> {
        self.0.values().take(size).map(|members| urls_of(members)).collect()
    }
}

/// The URLs that one member has registered. The names in a registration are ignored, because two
/// members may have the same name.
fn urls_of(members: &str) -> Result<Vec<Url>, DiscoveryError> {
    let invalid = |problem: String| DiscoveryError::InvalidUrl { problem };
    let parsed = parse_members(members).map_err(|problems| invalid(problems.join("; ")))?;
    let mut urls: Vec<Url> = parsed.into_iter().map(|(_, url)| url).collect();
    urls.sort();
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_members_found_the_cluster() {
        let mut registrations = Registrations::default();
        registrations.add("m/c", "c=http://c:1", 9);
        registrations.add("m/a", "a=http://z:1,a=http://a:1", 5);
        registrations.add("m/b", "nothing", 2);
        registrations.add("m/a", "a=http://other:1", 10);
        assert_eq!(registrations.len(), 2);
        // With two of three registered, another member has room; after the third, it has none.
        assert!(registrations.has_room("m/d", 3));
        registrations.add("m/b", "a=http://b:1", 7);
        assert!(registrations.has_room("m/c", 3) && !registrations.has_room("m/d", 3));
        assert!(!registrations.has_room("m/c", 2));
        let founders = registrations.founders(2).unwrap();
        let founders: Vec<Vec<String>> = founders
            .into_iter()
            .map(|urls| urls.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(founders, [vec!["http://a:1", "http://z:1"], vec!["http://b:1"]]);
        registrations.add("m/x", "x=ftp://x", 1);
        assert!(matches!(registrations.founders(1), Err(DiscoveryError::InvalidUrl { .. })));
    }
}
