//! Asks the other members, which may be running already, about the cluster.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_raft::{Description, Dial, describe};

use super::error::BootstrapError;
use super::founders::ByName;
use super::resolve::are_same;
use crate::config::url::Url;

/// Time limit for the answer of a founder. It is longer than in etcd, which waits for one second.
/// Without the answer of a running member, this member would found a second cluster, in which it
/// could do nothing.
const FOUNDER_WITHIN: Duration = Duration::from_secs(3);
/// Time limit for the answer of a member of an existing cluster, as in etcd.
const MEMBER_WITHIN: Duration = Duration::from_secs(10);
/// Time during which the members are asked again after refusals and failures.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Pause before the members are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Asks the members at these URLs concurrently; returns the answer of each.
async fn ask(
    dial: &Arc<dyn Dial>,
    urls: &[Url],
    within: Duration,
) -> Vec<(String, Result<Description, String>)> {
    let answers = urls.iter().map(async |url| {
        let url = url.to_string();
        let answer = describe(dial.clone(), &url, within).await;
        (url, answer)
    });
    join_all(answers).await
}

/// Refuses to found the cluster if another founder belongs to another cluster, or if the cluster
/// runs already and this member has run in it or was removed from it. `others` are the URLs of the
/// other founders.
pub(super) async fn refuse_known(
    dial: &Arc<dyn Dial>,
    others: &[Url],
    cluster_id: u64,
    member_id: u64,
) -> Result<(), BootstrapError> {
    for (url, answer) in ask(dial, others, FOUNDER_WITHIN).await {
        match answer {
            Ok(description) => refuse(&url, &description, cluster_id, member_id)?,
            // The other founder has probably not been started yet. That is no reason to refuse.
            Err(problem) => tracing::debug!(url, problem, "a founder does not answer yet"),
        }
    }
    Ok(())
}

fn refuse(
    url: &str,
    description: &Description,
    cluster_id: u64,
    member_id: u64,
) -> Result<(), BootstrapError> {
    let theirs = description.cluster_id;
    if theirs != cluster_id {
        return Err(BootstrapError::OtherCluster { url: url.to_owned(), theirs, cluster_id });
    }
    match description.member(member_id) {
        Some(me) if me.incarnation != 0 => {
            let peer_urls = me.peer_urls.join(",");
            Err(BootstrapError::AlreadyBootstrapped { member_id, name: me.name.clone(), peer_urls })
        }
        None if !description.members.is_empty() => {
            Err(BootstrapError::Removed { member_id, url: url.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Finds the member `name` among the members of a running cluster. Returns the ids of the cluster
/// and of the member. `given` are all members according to the flags.
///
/// # Errors
/// No member answers, or the members of the cluster are not those in the flags.
pub(super) async fn find_existing(
    dial: &Arc<dyn Dial>,
    given: &ByName,
    name: &str,
) -> Result<(u64, u64), BootstrapError> {
    let others = given.iter().filter(|(other, _)| *other != name);
    let urls: Vec<Url> = others.flat_map(|(_, urls)| urls.clone()).collect();
    if urls.is_empty() {
        return Err(BootstrapError::NoOtherMember);
    }
    let since = tokio::time::Instant::now();
    loop {
        let mut refused = None;
        for (url, answer) in ask(dial, &urls, MEMBER_WITHIN).await {
            let refusal = match answer {
                Ok(description) => match find_me(&url, &description, given, name).await {
                    // The leader's refusal is final, because the leader knows of every change of
                    // the members. A follower may lag behind, so it is asked again.
                    Err(refusal) if description.leads => return Err(refusal),
                    Err(refusal) => refusal,
                    Ok(member_id) => return Ok((description.cluster_id, member_id)),
                },
                Err(problem) => {
                    tracing::warn!(url, problem, "a member of the cluster does not answer");
                    BootstrapError::Unreachable { url, problem }
                }
            };
            // A refusal says more than a missing answer, so it replaces the latter.
            if matches!(refused, None | Some(BootstrapError::Unreachable { .. })) {
                refused = Some(refusal);
            }
        }
        match refused {
            Some(refusal) if since.elapsed() > JOIN_WITHIN => return Err(refusal),
            _ => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// The id of this member, if the members are those in the flags and this member has never run.
async fn find_me(
    url: &str,
    description: &Description,
    given: &ByName,
    name: &str,
) -> Result<u64, BootstrapError> {
    let differs = |problem: String| BootstrapError::MembersDiffer { url: url.to_owned(), problem };
    if description.members.len() != given.len() {
        let known = description.members.len();
        let given = given.len();
        let text = format!("the cluster has {known} members, --initial-cluster names {given}");
        return Err(differs(format!("member count is unequal: {text}")));
    }
    let mut found = None;
    for member in &description.members {
        let id = member.id;
        let text = member.peer_urls.join(",");
        let urls = Url::parse_list(&text).map_err(|problems| differs(problems.join("; ")))?;
        let mut same = None;
        for (other, others) in given {
            if are_same(&urls, others).await.map_err(differs)? {
                same = Some(other);
                break;
            }
        }
        match same {
            None => {
                let text = format!("PeerURLs: no match found for existing member ({id:x}, {text})");
                return Err(differs(format!("{text} in --initial-cluster")));
            }
            Some(other) if other == name => found = Some(member),
            Some(_) => {}
        }
    }
    let me = found.ok_or_else(|| differs("two members have the same peer URLs".to_owned()))?;
    match me.incarnation {
        0 => Ok(me.id),
        _ => Err(BootstrapError::AlreadyBootstrapped {
            member_id: me.id,
            name: me.name.clone(),
            peer_urls: me.peer_urls.join(","),
        }),
    }
}

#[cfg(test)]
mod tests;
