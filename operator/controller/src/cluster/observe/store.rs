//! The answers of the members.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt as _};
use quorate_crd::names;
use quorate_crd::v1alpha1::QuorateCluster;

use super::super::build;
use super::super::observed::{Answer, Store, StoreMember};
use super::{Objects, renewal};
use crate::certificates;
use crate::context::Context;
use crate::error::Error;
use crate::members::{Address, Identity, List, Status};

/// A learner has caught up once it has applied this part of the leader's log: etcd's rule.
const CAUGHT_UP_PERCENT: u64 = 90;

/// The answers of the members.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The operator's identity for members; none until its Secret is there.
    pub identity: Option<Identity>,
    /// Whether its Secret is damaged, so that it is issued again.
    pub is_identity_damaged: bool,
    /// Where members are reached, by name.
    pub addresses: BTreeMap<String, Address>,
    /// Their answers about themselves, by name.
    pub members: BTreeMap<String, Status>,
    /// The member list, if there is a quorum.
    pub list: Option<List>,
}

/// Asks all members of a cluster that have an address.
pub(super) async fn ask(
    context: &Context,
    cluster: &QuorateCluster,
    objects: &Objects,
    now: Timestamp,
) -> Result<Answers, Error> {
    let addresses = objects.pods.iter().filter_map(|(name, pod)| address(cluster, name, pod));
    let addresses: BTreeMap<String, Address> =
        addresses.map(|address| (address.member.clone(), address)).collect();
    let secret = names::operator_client(&cluster.name_any());
    if addresses.is_empty() || !objects.secrets.contains_key(&secret) {
        return Ok(Answers { addresses, ..Answers::default() });
    }
    let namespace = cluster.namespace().unwrap_or_default();
    let secrets = Api::<Secret>::namespaced(context.client.clone(), &namespace);
    let secret = secrets.get(&secret).await;
    let secret = secret.map_err(Error::kubernetes("get the operator's own certificate"))?;
    let Ok(identity) = certificates::identity(&secret) else {
        return Ok(Answers { addresses, is_identity_damaged: true, ..Answers::default() });
    };
    let statuses = join_all(addresses.values().map(|at| context.members.status(&identity, at)));
    let mut members = BTreeMap::new();
    for (name, status) in addresses.keys().zip(statuses.await) {
        match status {
            Ok(status) => drop(members.insert(name.clone(), status)),
            Err(error) => tracing::debug!(member = name, %error, "a member gives no answer"),
        }
    }
    for (name, status) in &mut members {
        let secret = objects.secrets.get(name);
        if secret.is_some_and(|secret| renewal::must_ask(secret, &status.certificates, now)) {
            context.gate.check()?;
            match context.members.reread(&addresses[name]).await {
                Ok(certificates) => status.certificates = certificates,
                Err(error) => tracing::info!(member = name, %error, "certificates not reread"),
            }
        }
    }
    let identity = Some(identity);
    let mut answers = Answers { identity, addresses, members, ..Answers::default() };
    answers.list = list(context, &answers).await;
    Ok(answers)
}

fn address(cluster: &QuorateCluster, member: &str, pod: &Pod) -> Option<Address> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(Address { member: member.to_owned(), host: build::host(cluster, member), ip })
}

/// The member list, of the first member that gives it: the leader is asked first.
async fn list(context: &Context, answers: &Answers) -> Option<List> {
    let identity = answers.identity.as_ref()?;
    let leader = answers.leader();
    let mut asked: Vec<(&String, &Status)> = answers.members.iter().collect();
    asked.sort_by_key(|(_, status)| (status.id != leader, status.leader == 0));
    for (name, _) in asked {
        let at = answers.addresses.get(name)?;
        match context.members.list(identity, at).await {
            Ok(list) => return Some(list),
            Err(error) => tracing::debug!(member = name, %error, "no member list"),
        }
    }
    None
}

impl Answers {
    /// The id of the leader, as the members with the highest term know it; 0 if there is none.
    #[must_use]
    pub fn leader(&self) -> u64 {
        let known = self.members.values().filter(|status| status.leader != 0);
        known.max_by_key(|status| status.term).map_or(0, |status| status.leader)
    }

    /// The member that requests for changes go to: the leader, or else one that knows it.
    #[must_use]
    pub fn speaker(&self) -> Option<&Address> {
        let leader = self.leader();
        let is_leader = |status: &&Status| status.id == leader;
        let of = |name: &String| self.addresses.get(name);
        let named = |test: &dyn Fn(&&Status) -> bool| {
            let mut found = self.members.iter().filter(|(_, status)| test(status));
            found.next().and_then(|(name, _)| of(name))
        };
        named(&is_leader).or_else(|| named(&|status| status.leader == leader && leader != 0))
    }

    /// The store's report about itself.
    pub(super) fn store(&self) -> Option<Store> {
        let list = self.list.as_ref()?;
        let committed = self.members.values().map(|status| status.committed).max().unwrap_or(0);
        let members = list.members.iter().map(|member| StoreMember {
            id: member.id,
            name: member.name.clone(),
            peer_url: member.peer_url.clone(),
            is_learner: member.is_learner,
            is_caught_up: self
                .members
                .values()
                .any(|status| status.id == member.id && has_caught_up(status.applied, committed)),
        });
        Some(Store {
            cluster_id: list.cluster_id,
            configuration: list.configuration,
            leader: self.leader(),
            members: members.collect(),
        })
    }
}

fn has_caught_up(applied: u64, committed: u64) -> bool {
    u128::from(applied) * 100 >= u128::from(committed) * u128::from(CAUGHT_UP_PERCENT)
}

/// A member's report about itself.
pub(super) fn answer(status: &Status) -> Answer {
    let percent = u128::from(status.size) * 100 / u128::from(status.quota.max(1));
    let is_limited = status.quota > 0;
    Answer {
        id: status.id,
        version: status.version.clone(),
        is_serving: status.is_ready,
        used_percent: if is_limited { i32::try_from(percent).unwrap_or(100) } else { 0 },
        no_space: status.no_space,
        corrupt: status.corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Listed;

    fn status(id: u64, leader: u64, term: u64, applied: u64) -> Status {
        let committed = 1000;
        Status { id, leader, term, applied, committed, ..Status::default() }
    }

    #[test]
    fn the_highest_term_knows_the_leader() {
        let mut answers = Answers::default();
        assert_eq!(answers.leader(), 0);
        answers.members.insert("a".to_owned(), status(1, 1, 4, 0));
        answers.members.insert("b".to_owned(), status(2, 3, 5, 0));
        answers.members.insert("c".to_owned(), status(3, 0, 6, 0));
        assert_eq!(answers.leader(), 3);
    }

    #[test]
    fn a_learner_has_caught_up_at_nine_tenths_of_the_log() {
        let listed = |id| Listed { id, is_learner: true, ..Listed::default() };
        let list = List { members: vec![listed(1), listed(2), listed(3)], ..List::default() };
        let mut answers = Answers { list: Some(list), ..Answers::default() };
        answers.members.insert("a".to_owned(), status(1, 9, 1, 900));
        answers.members.insert("b".to_owned(), status(2, 9, 1, 899));
        let caught_up: Vec<bool> =
            answers.store().unwrap().members.iter().map(|member| member.is_caught_up).collect();
        assert_eq!(caught_up, [true, false, false]);
    }
}
