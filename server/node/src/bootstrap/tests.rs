//! Tests bootstrap when no other member answers.

use std::io;

use quorate_raft::{BoxFuture, Connection};

use super::*;

/// A dialer that reaches no member.
struct Alone;

impl Dial for Alone {
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        Box::pin(async move { Err(io::Error::other(format!("no member at {url}"))) })
    }
}

fn initial_cluster(name: &str, listed: &[(&str, &str)], peer_urls: &[&str]) -> InitialCluster {
    let url = |text: &&str| Url::parse(text).unwrap();
    let listed = listed.iter().map(|(name, text)| ((*name).to_owned(), url(text)));
    InitialCluster {
        name: name.to_owned(),
        peer_urls: peer_urls.iter().map(url).collect(),
        source: Source::Listed(listed.collect()),
        token: "etcd-cluster".to_owned(),
        is_existing: false,
        is_forced: false,
    }
}

async fn identified(
    dir: &mut DataDir,
    cluster: &InitialCluster,
) -> Result<(Identity, StartMode), BootstrapError> {
    identify(dir, cluster, Arc::new(Alone)).await
}

#[tokio::test]
async fn a_cluster_is_founded_before_the_other_founders_answer() {
    let home = tempfile::tempdir().unwrap();
    let mut dir = DataDir::open(home.path(), None).unwrap();
    let a = "http://127.0.0.1:1";
    let b = "http://127.0.0.2:1";
    let flags = initial_cluster("x", &[("x", a), ("y", b)], &[a]);
    let (identity, mode) = identified(&mut dir, &flags).await.unwrap();
    let StartMode::NewCluster(founders) = mode else { panic!("{mode:?}") };
    assert_eq!(founders.len(), 2);
    assert_eq!(founders[&identity.member_id].peer_urls, [a]);
}

#[tokio::test]
async fn contradictions_are_named() {
    let home = tempfile::tempdir().unwrap();
    let mut dir = DataDir::open(home.path(), None).unwrap();
    let a = "http://127.0.0.1:1";
    let b = "http://127.0.0.2:1";
    let missing = identified(&mut dir, &initial_cluster("x", &[("y", a)], &[a])).await;
    assert!(matches!(missing, Err(BootstrapError::Missing { .. })));
    let mismatch = identified(&mut dir, &initial_cluster("x", &[("x", a)], &[b])).await;
    assert!(matches!(mismatch, Err(BootstrapError::Mismatch { .. })));
    let twice = identified(&mut dir, &initial_cluster("x", &[("x", a), ("y", a)], &[a])).await;
    assert!(matches!(twice, Err(BootstrapError::Duplicate { .. })));
    let mut alone = initial_cluster("x", &[("x", a)], &[a]);
    alone.is_existing = true;
    let alone = identified(&mut dir, &alone).await;
    assert!(matches!(alone, Err(BootstrapError::NoOtherMember)));
    assert_eq!(dir.identity(), None);
}

#[tokio::test]
async fn a_used_directory_contains_the_identity() {
    let home = tempfile::tempdir().unwrap();
    let a = "http://127.0.0.1:1";
    let b = "http://127.0.0.2:1";
    let mut dir = DataDir::open(home.path(), None).unwrap();
    let (first, mode) =
        identified(&mut dir, &initial_cluster("x", &[("x", a)], &[a])).await.unwrap();
    drop(dir);
    let mut dir = DataDir::open(home.path(), None).unwrap();
    for flags in [initial_cluster("x", &[("x", b)], &[b]), initial_cluster("x", &[], &[b])] {
        let again = identified(&mut dir, &flags).await.unwrap();
        assert_eq!(again, (first, mode.clone()));
    }
    let mut forced = initial_cluster("x", &[("x", a), ("y", b)], &[a]);
    forced.is_forced = true;
    let (alone, mode) = identified(&mut dir, &forced).await.unwrap();
    assert_eq!((alone.cluster_id, alone.member_id), (first.cluster_id, first.member_id));
    // The former members must see a difference to the member that they knew.
    assert_ne!(alone.incarnation, first.incarnation);
    assert_eq!(mode, StartMode::ForceNewCluster(vec![a.to_owned()]));
    assert_eq!(dir.identity(), Some(alone));
}
