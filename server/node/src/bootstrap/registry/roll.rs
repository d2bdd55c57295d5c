//! Who has registered, in the order in which they have.

use std::collections::BTreeMap;

use super::RegistryError;
use crate::config::parse_members;
use crate::config::url::Url;

/// What those have registered who have, by the revision at which they did and by key.
#[derive(Debug, Default)]
pub(super) struct Roll(BTreeMap<(i64, String), String>);

impl Roll {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a member, by its key; what is no registration, or one of before, is passed over.
    pub(super) fn add(&mut self, key: &str, members: &str, create_revision: i64) {
        let members = members.trim();
        let is_known = self.0.keys().any(|(_, known)| known == key);
        if is_known || !members.contains('=') {
            tracing::warn!(key, members, "passing over what is under the members' key");
            return;
        }
        tracing::info!(key, members, "found a founder at the discovery service");
        self.0.insert((create_revision, key.to_owned()), members.to_owned());
    }

    /// Whether a member with this key is or can be among the first `size`.
    pub(super) fn has_room(&self, key: &str, size: usize) -> bool {
        self.len() < size || self.0.keys().take(size).any(|(_, known)| known == key)
    }

    /// The URLs of each of the first `size`, in order.
    pub(super) fn founders(&self, size: usize) -> Result<Vec<Vec<Url>>, RegistryError> {
        let first = self.0.values().take(size);
        first.map(|members| urls_of(members)).collect()
    }
}

/// The URLs that one member has registered. They count as one member's, whatever names it gave: two
/// members may have the same name.
fn urls_of(members: &str) -> Result<Vec<Url>, RegistryError> {
    let invalid = |problem: String| RegistryError::InvalidUrl { problem };
    let parsed = parse_members(members).map_err(|problems| invalid(problems.join("; ")))?;
    let mut urls: Vec<Url> = parsed.into_iter().map(|(_, url)| url).collect();
    urls.sort();
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_found_the_cluster() {
        let mut roll = Roll::new();
        roll.add("m/c", "c=http://c:1", 9);
        roll.add("m/a", "a=http://z:1,a=http://a:1", 5);
        roll.add("m/b", "nothing", 2);
        roll.add("m/a", "a=http://other:1", 10);
        assert_eq!(roll.len(), 2);
        // The third of three has room, and so have the two; a fourth has none.
        assert!(roll.has_room("m/d", 3));
        roll.add("m/b", "a=http://b:1", 7);
        assert!(roll.has_room("m/c", 3) && !roll.has_room("m/d", 3));
        assert!(!roll.has_room("m/c", 2));
        let founders = roll.founders(2).unwrap();
        let founders: Vec<Vec<String>> = founders
            .into_iter()
            .map(|urls| urls.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(founders, [vec!["http://a:1", "http://z:1"], vec!["http://b:1"]]);
        roll.add("m/x", "x=ftp://x", 1);
        assert!(matches!(roll.founders(1), Err(RegistryError::InvalidUrl { .. })));
    }
}
