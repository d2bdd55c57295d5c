//! Tests how answers of other members are judged.

use quorate_raft::DescribedMember;

use super::super::founders::by_name;
use super::*;

const CLUSTER: u64 = 7;

fn member(id: u64, url: &str, incarnation: u64) -> DescribedMember {
    let name = if incarnation == 0 { String::new() } else { format!("m{id}") };
    DescribedMember { id, name, peer_urls: vec![url.to_owned()], incarnation }
}

fn cluster(members: Vec<DescribedMember>) -> Description {
    Description { cluster_id: CLUSTER, member_id: 1, leads: true, members }
}

fn given(list: &[(&str, &str)]) -> ByName {
    let list = list.iter().map(|(name, url)| ((*name).to_owned(), Url::parse(url).unwrap()));
    by_name(&list.collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_bootstrapped_member_is_not_founded_again() {
    let a = "http://a:1";
    let b = "http://b:1";
    let judged = |members| refuse(a, &cluster(members), CLUSTER, 2);
    assert!(judged(vec![member(1, a, 5), member(2, b, 0)]).is_ok());
    // The answer of a member that does not know any members yet.
    assert!(judged(Vec::new()).is_ok());
    let ran = judged(vec![member(1, a, 5), member(2, b, 6)]).unwrap_err();
    assert!(matches!(ran, BootstrapError::AlreadyBootstrapped { member_id: 2, .. }));
    let text = ran.to_string();
    for part in ["already been bootstrapped", "member remove 2", "member add m2", b, "existing"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let removed = judged(vec![member(1, a, 5)]);
    assert!(matches!(removed, Err(BootstrapError::Removed { member_id: 2, .. })));
    let other = refuse(a, &cluster(Vec::new()), CLUSTER + 1, 2);
    assert!(matches!(other, Err(BootstrapError::OtherCluster { theirs: CLUSTER, .. })));
}

#[tokio::test]
async fn an_added_member_is_found_by_its_urls() {
    let a = "http://127.0.0.1:1";
    let b = "http://127.0.0.1:2";
    let flags = given(&[("x", "http://localhost:1"), ("y", b)]);
    let find = async |members| find_me(a, &cluster(members), &flags, "y").await;
    assert_eq!(find(vec![member(1, a, 5), member(2, b, 0)]).await.unwrap(), 2);
    let ran = find(vec![member(1, a, 5), member(2, b, 6)]).await;
    assert!(matches!(ran, Err(BootstrapError::AlreadyBootstrapped { member_id: 2, .. })));
    for (members, text) in [
        (vec![member(1, a, 5)], "member count is unequal"),
        (vec![member(1, a, 5), member(2, "http://127.0.0.1:3", 0)], "no match found"),
        (vec![member(1, a, 5), member(2, a, 5)], "two members"),
    ] {
        let refused = find(members).await.unwrap_err().to_string();
        assert!(refused.contains(text) && refused.contains(a), "{refused}");
    }
}
