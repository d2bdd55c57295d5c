//! The founders of a cluster, and the ids that follow from them.
//!
//! All founders must know all ids before they can call each other. So the ids are computed from the
//! flags that all of them share, as in etcd. Members that are added later get ids that no other
//! member has ever had.

use std::collections::BTreeMap;

use quorate_storage::data_dir::Founders;
use sha1::{Digest, Sha1};

use super::error::BootstrapError;
use crate::config::url::Url;

/// Members by name, each with its URLs, sorted.
pub(super) type ByName = BTreeMap<String, Vec<Url>>;

fn first_8_bytes(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The text of each URL.
pub(super) fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

/// The id of a founder with these URLs, which must be sorted.
pub(super) fn founder_id(peer_urls: &[Url], token: &str) -> u64 {
    first_8_bytes(format!("{}{token}", texts(peer_urls).concat()).as_bytes())
}

/// The id of the cluster with these founders.
pub(super) fn cluster_id(founders: &Founders) -> u64 {
    first_8_bytes(&founders.keys().copied().flat_map(u64::to_be_bytes).collect::<Vec<u8>>())
}

/// The founders with their ids.
pub(super) fn founders<'a>(members: impl Iterator<Item = &'a Vec<Url>>, token: &str) -> Founders {
    members.map(|urls| (founder_id(urls, token), texts(urls))).collect()
}

/// Groups members by name.
///
/// # Errors
/// A URL occurs twice.
pub(super) fn by_name(listed: &[(String, Url)]) -> Result<ByName, BootstrapError> {
    let mut members = ByName::new();
    for (name, url) in listed {
        members.entry(name.clone()).or_default().push(url.clone());
    }
    members.values_mut().for_each(|urls| urls.sort());
    all_differ(members.values())?;
    Ok(members)
}

/// Refuses a URL that occurs twice, in two members or in one.
pub(super) fn all_differ<'a>(
    members: impl Iterator<Item = &'a Vec<Url>>,
) -> Result<(), BootstrapError> {
    let mut urls: Vec<&Url> = members.flatten().collect();
    urls.sort();
    match urls.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(BootstrapError::Duplicate { url: pair[0].to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn ids_are_those_of_etcd() {
        let members = [vec![url("http://localhost:2380")]];
        let founders = founders(members.iter(), "etcd-cluster");
        assert_eq!(founders.keys().copied().collect::<Vec<_>>(), [0x8e9e_05c5_2164_694d]);
        assert_eq!(cluster_id(&founders), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn urls_are_grouped_and_must_differ() {
        let listed = |list: &[(&str, &str)]| {
            let list = list.iter().map(|(name, text)| ((*name).to_owned(), url(text)));
            by_name(&list.collect::<Vec<_>>())
        };
        let members = listed(&[("a", "http://z:1"), ("b", "http://b:1"), ("a", "http://a:1")]);
        let expected: ByName = [
            ("a".to_owned(), vec![url("http://a:1"), url("http://z:1")]),
            ("b".to_owned(), vec![url("http://b:1")]),
        ]
        .into();
        assert_eq!(members.unwrap(), expected);
        let twice = listed(&[("a", "http://z:1"), ("b", "http://z:1")]);
        assert!(matches!(twice, Err(BootstrapError::Duplicate { url }) if url == "http://z:1"));
    }
}
