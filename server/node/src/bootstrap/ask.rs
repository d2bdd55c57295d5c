//! Asking those who may be there already.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_raft::{Description, Dial, describe};

use super::BootstrapError;
use super::founders::ByName;
use super::resolve::are_same;
use crate::config::url::Url;

/// How long a founder may take to answer. Longer than etcd's second: who is missed here would be
/// founded anew beside a cluster that knows better, and could not do anything.
const FOUNDER_WITHIN: Duration = Duration::from_secs(3);
/// How long a member of a cluster that is to be joined may take, as in etcd.
const MEMBER_WITHIN: Duration = Duration::from_secs(10);
/// How long the members are asked before a refusal or no answer at all counts.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Pause before they are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What each of those at these URLs says.
async fn ask(
    dial: &Arc<dyn Dial>,
    urls: &[Url],
    within: Duration,
) -> Vec<(String, Result<Description, String>)> {
    let asked = urls.iter().map(async |url| {
        let url = url.to_string();
        let said = describe(dial.clone(), &url, within).await;
        (url, said)
    });
    join_all(asked).await
}

/// Refuses to found a cluster that runs already and knows this member, or to found it together with
/// members of another one. `others` are the URLs of the other founders.
pub(super) async fn refuse_known(
    dial: &Arc<dyn Dial>,
    others: &[Url],
    cluster_id: u64,
    member_id: u64,
) -> Result<(), BootstrapError> {
    for (url, said) in ask(dial, others, FOUNDER_WITHIN).await {
        match said {
            Ok(description) => refuse(&url, &description, cluster_id, member_id)?,
            // It will be started as well.
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
            Err(BootstrapError::AlreadyRan { member_id, name: me.name.clone(), peer_urls })
        }
        None if !description.members.is_empty() => {
            Err(BootstrapError::Removed { member_id, url: url.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Finds this member, of this name, among the members of a cluster that runs: returns the ids of
/// the cluster and of the member. `given` are all members as the flags say.
///
/// # Errors
/// Nobody answers, or who answers knows of other members than the flags.
pub(super) async fn find_existing(
    dial: &Arc<dyn Dial>,
    given: &ByName,
    name: &str,
) -> Result<(u64, u64), BootstrapError> {
    let others = given.iter().filter(|(other, _)| *other != name);
    let urls: Vec<Url> = others.flat_map(|(_, urls)| urls.clone()).collect();
    if urls.is_empty() {
        return Err(BootstrapError::NobodyToAsk);
    }
    let since = tokio::time::Instant::now();
    loop {
        let mut refused = None;
        for (url, said) in ask(dial, &urls, MEMBER_WITHIN).await {
            let refusal = match said {
                Ok(description) => match find_me(&url, &description, given, name).await {
                    // Who leads knows of every change; who lags behind may still come to know.
                    Err(refusal) if description.leads => return Err(refusal),
                    Err(refusal) => refusal,
                    Ok(member_id) => return Ok((description.cluster_id, member_id)),
                },
                Err(problem) => {
                    tracing::warn!(url, problem, "a member of the cluster does not answer");
                    BootstrapError::Silence { url, problem }
                }
            };
            // What somebody says is worth more than that somebody says nothing.
            if matches!(refused, None | Some(BootstrapError::Silence { .. })) {
                refused = Some(refusal);
            }
        }
        match refused {
            Some(refusal) if since.elapsed() > JOIN_WITHIN => return Err(refusal),
            _ => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// The id of this member, if the members are those that the flags say and this one is new.
async fn find_me(
    url: &str,
    description: &Description,
    given: &ByName,
    name: &str,
) -> Result<u64, BootstrapError> {
    let differs = |problem: String| BootstrapError::NotTheSame { url: url.to_owned(), problem };
    if description.members.len() != given.len() {
        let (known, given) = (description.members.len(), given.len());
        let text = format!("the cluster has {known} members, --initial-cluster names {given}");
        return Err(differs(format!("member count is unequal: {text}")));
    }
    let mut found = None;
    for member in &description.members {
        let (id, text) = (member.id, member.peer_urls.join(","));
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
        _ => Err(BootstrapError::AlreadyRan {
            member_id: me.id,
            name: me.name.clone(),
            peer_urls: me.peer_urls.join(","),
        }),
    }
}

#[cfg(test)]
mod tests;
