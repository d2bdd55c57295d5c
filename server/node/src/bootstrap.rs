//! Who this member is: read from its data directory, or decided when the cluster is founded.

use std::collections::BTreeMap;

use quorate_raft::Peer;
use quorate_storage::data_dir::{DataDir, DataDirError, Identity};
use sha1::{Digest, Sha1};

use crate::config::url::Url;

/// What the flags say about a cluster that does not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Founding {
    /// Name of this member.
    pub(crate) name: String,
    /// Where other members reach this one.
    pub(crate) peer_urls: Vec<Url>,
    /// All founders with their URLs; a name may appear with several.
    pub(crate) founders: Vec<(String, Url)>,
    /// Keeps clusters with the same URLs apart.
    pub(crate) token: String,
    /// Whether the cluster exists already, and this member is to join it.
    pub(crate) is_existing: bool,
}

/// Why a cluster cannot be founded as the flags say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("--initial-cluster does not name this member, {name:?} (--name)")]
    Missing { name: String },
    #[error(
        "--initial-cluster gives {name:?} the URLs {given}, but --initial-advertise-peer-urls \
         says {advertised}; make them the same"
    )]
    Mismatch { name: String, given: String, advertised: String },
    #[error(
        "--initial-cluster names {count} members; this version runs clusters of one: name only \
         {name:?}"
    )]
    Several { name: String, count: usize },
    #[error(
        "--initial-cluster-state=existing: the data directory is empty, and this version cannot \
         join a cluster; start with --initial-cluster-state=new, or restore the data directory"
    )]
    Existing,
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

fn first_8_bytes(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The id of a founder. All founders must know all ids before they can speak to each other, so the
/// id follows from what all of them were told; as etcd does it. Members that are added later get
/// ids that no other member ever had.
fn founder_id(peer_urls: &[String], token: &str) -> u64 {
    first_8_bytes(format!("{}{token}", peer_urls.concat()).as_bytes())
}

/// The id of the cluster that members with these ids, in ascending order, found.
fn cluster_id(member_ids: impl Iterator<Item = u64>) -> u64 {
    first_8_bytes(&member_ids.flat_map(u64::to_be_bytes).collect::<Vec<u8>>())
}

impl Founding {
    /// Decides who the founders are. Returns this member's identity, and all founders.
    fn found(&self) -> Result<(Identity, BTreeMap<u64, Peer>), BootstrapError> {
        if self.is_existing {
            return Err(BootstrapError::Existing);
        }
        let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, url) in &self.founders {
            by_name.entry(name).or_default().push(url.to_string());
        }
        by_name.values_mut().for_each(|urls| urls.sort());
        let name = self.name.clone();
        let Some(given) = by_name.get(self.name.as_str()) else {
            return Err(BootstrapError::Missing { name });
        };
        let mut advertised: Vec<String> = self.peer_urls.iter().map(ToString::to_string).collect();
        advertised.sort();
        if *given != advertised {
            let (given, advertised) = (given.join(","), advertised.join(","));
            return Err(BootstrapError::Mismatch { name, given, advertised });
        }
        if by_name.len() > 1 {
            return Err(BootstrapError::Several { name, count: by_name.len() });
        }
        let member_id = founder_id(given, &self.token);
        let identity = Identity { cluster_id: cluster_id([member_id].into_iter()), member_id };
        let peer = Peer { peer_urls: given.clone() };
        Ok((identity, BTreeMap::from([(member_id, peer)])))
    }
}

/// Who this member is. A data directory that was never used is marked as this member's; one that
/// was used says by itself, whatever the flags say. The founders that are returned besides are of
/// no meaning once the raft log exists.
///
/// # Errors
/// Contradictions in the flags; a data directory that cannot be written.
pub(crate) fn identify(
    data_dir: &mut DataDir,
    founding: &Founding,
) -> Result<(Identity, BTreeMap<u64, Peer>), BootstrapError> {
    if let Some(identity) = data_dir.identity() {
        // The first start may have been cut short between the mark and the log.
        let peer_urls = founding.peer_urls.iter().map(ToString::to_string).collect();
        return Ok((identity, BTreeMap::from([(identity.member_id, Peer { peer_urls })])));
    }
    let (identity, founders) = founding.found()?;
    data_dir.set_identity(identity)?;
    Ok((identity, founders))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding(name: &str, founders: &[(&str, &str)], peer_urls: &[&str]) -> Founding {
        let url = |text: &&str| Url::parse(text).unwrap();
        Founding {
            name: name.to_owned(),
            peer_urls: peer_urls.iter().map(url).collect(),
            founders: founders.iter().map(|(name, u)| ((*name).to_owned(), url(u))).collect(),
            token: "etcd-cluster".to_owned(),
            is_existing: false,
        }
    }

    #[test]
    fn ids_are_those_of_etcd() {
        let url = "http://localhost:2380";
        let (identity, founders) =
            founding("default", &[("default", url)], &[url]).found().unwrap();
        let expected =
            Identity { cluster_id: 0xcdf8_1819_4e3a_8c32, member_id: 0x8e9e_05c5_2164_694d };
        assert_eq!(identity, expected);
        assert_eq!(founders[&identity.member_id].peer_urls, [url]);
    }

    #[test]
    fn contradictions_are_named() {
        let (a, b) = ("http://a:1", "http://b:1");
        let missing = founding("x", &[("y", a)], &[a]).found();
        assert!(matches!(missing, Err(BootstrapError::Missing { .. })));
        let mismatch = founding("x", &[("x", a)], &[b]).found();
        assert!(matches!(mismatch, Err(BootstrapError::Mismatch { .. })));
        let several = founding("x", &[("x", a), ("y", b)], &[a]).found();
        assert!(matches!(several, Err(BootstrapError::Several { count: 2, .. })));
        let mut existing = founding("x", &[("x", a)], &[a]);
        existing.is_existing = true;
        assert!(matches!(existing.found(), Err(BootstrapError::Existing)));
    }

    #[test]
    fn a_used_directory_says_by_itself() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = DataDir::open(home.path()).unwrap();
        let (a, b) = ("http://a:1", "http://b:1");
        let (first, _) = identify(&mut dir, &founding("x", &[("x", a)], &[a])).unwrap();
        let (again, _) = identify(&mut dir, &founding("x", &[("x", b)], &[b])).unwrap();
        assert_eq!(first, again);
        let broken = founding("x", &[], &[b]);
        assert_eq!(identify(&mut dir, &broken).unwrap().0, first);
    }
}
