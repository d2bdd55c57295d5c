//! The view that the plan decides by. It joins each member with its entry in the store, and derives
//! the facts that the plan needs.

use jiff::{SignedDuration, Timestamp};
use quorate_crd::v1alpha1::{Change, ChangeKind, ConditionType};

use super::seen::Seen;
use crate::cluster::observed::{Observed, Store, StoreMember};
use crate::cluster::valid::Valid;

/// The observations of the operator, as one view.
pub(crate) struct View<'a> {
    /// The checked spec, with the wishes of the user.
    pub(crate) valid: &'a Valid,
    /// The observed state.
    pub(crate) observed: &'a Observed,
    /// The time, in whole seconds, as Kubernetes writes it.
    pub(crate) now: Timestamp,
    /// The recorded members, in the order of their numbers.
    pub(crate) members: Vec<Seen<'a>>,
    /// Members of the store that are not the operator's.
    pub(crate) foreign: Vec<&'a StoreMember>,
    /// Numbers of the operator's members in the store whose records are gone.
    pub(crate) unrecorded: Vec<i64>,
}

impl<'a> View<'a> {
    pub(crate) fn new(valid: &'a Valid, observed: &'a Observed, now: Timestamp) -> Self {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut view = Self {
            valid,
            observed,
            now,
            members: Vec::new(),
            foreign: Vec::new(),
            unrecorded: Vec::new(),
        };
        let listed = view.store().map_or(&[][..], |store| &store.members);
        for (name, member) in &observed.members {
            let url = valid.peer_url(name);
            let stored = listed.iter().find(|stored| {
                stored.peer_url == url && member.id.is_none_or(|id| id == stored.id)
            });
            view.members.push(Seen { name, member, stored });
        }
        view.members.sort_by_key(|seen| seen.member.number);
        for stored in listed {
            if view.members.iter().any(|seen| seen.stored == Some(stored)) {
                continue;
            }
            match view.number(stored) {
                Some(number) => view.unrecorded.push(number),
                None => view.foreign.push(stored),
            }
        }
        view
    }

    /// The number of `stored`, if the operator added this member and its record is gone.
    fn number(&self, stored: &StoreMember) -> Option<i64> {
        let host = stored.peer_url.strip_prefix("https://")?;
        let (name, _) = host.split_once('.')?;
        let number = self.valid.number(name)?;
        let is_ours = self.valid.peer_url(name) == stored.peer_url;
        (is_ours && !self.observed.members.contains_key(name)).then_some(number)
    }

    /// The store, unless it belongs to another cluster.
    pub(crate) fn store(&self) -> Option<&'a Store> {
        self.observed.store.as_ref().filter(|_| !self.is_other_cluster())
    }

    /// The store, if the members may be changed: all of them are known, and one leads.
    pub(crate) fn changeable(&self) -> Option<&'a Store> {
        let is_known = self.foreign.is_empty() && self.unrecorded.is_empty();
        self.store().filter(|store| is_known && store.leader != 0 && self.is_founded())
    }

    /// Whether the store has another cluster id than the recorded one.
    pub(crate) fn is_other_cluster(&self) -> bool {
        let recorded = self.observed.status.cluster_id.as_deref();
        let found = self.observed.store.as_ref().map(|store| hex(store.cluster_id));
        recorded.is_some() && found.is_some() && recorded != found.as_deref()
    }

    /// Whether the id of the cluster is recorded. From then on, nothing founds the cluster again.
    pub(crate) fn is_founded(&self) -> bool {
        self.observed.status.cluster_id.is_some()
    }

    /// The remedy for a lost authority, if one is lost. Until it is restored, no member is added.
    pub(crate) fn lost_authority(&self) -> Option<String> {
        let name = self.observed.lost_authorities.first()?;
        Some(format!("the Secret {name} is lost or damaged: restore it, with its labels and owner"))
    }

    /// The change under way.
    pub(crate) fn change(&self) -> Option<&'a Change> {
        self.observed.status.change.as_ref()
    }

    /// Whether the members are being stopped or started again on request.
    pub(crate) fn is_stopped_on_request(&self) -> bool {
        let kind = self.change().map(|change| change.kind);
        matches!(kind, Some(ChangeKind::Hibernate | ChangeKind::Wake))
    }

    /// Whether the deadline of the change under way has passed.
    pub(crate) fn is_stuck(&self) -> bool {
        self.change().is_some_and(|change| change.deadline.0 <= self.now)
    }

    /// The recorded member with this name.
    pub(crate) fn seen(&self, name: &str) -> Option<&Seen<'a>> {
        self.members.iter().find(|seen| seen.name == name)
    }

    /// The members that vote.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.members.iter().filter(|seen| seen.is_voter())
    }

    /// How many members of the store vote, including those that are not the operator's.
    pub(crate) fn voter_count(&self) -> usize {
        let listed = self.store().map_or(&[][..], |store| &store.members);
        listed.iter().filter(|stored| !stored.is_learner).count()
    }

    /// Whether exactly two members vote. Neither can restart without a pause of the store.
    pub(crate) fn is_pair(&self) -> bool {
        self.voter_count() == 2
    }

    /// How many voters serve, not counting the one named `without`.
    pub(crate) fn healthy_count(&self, without: &str) -> usize {
        self.voters().filter(|seen| seen.name != without && seen.is_healthy()).count()
    }

    /// The first voter that does not serve, other than the one named `without`.
    pub(crate) fn unhealthy(&self, without: &str) -> Option<&Seen<'a>> {
        self.voters().find(|seen| seen.name != without && !seen.is_healthy())
    }

    /// Whether the member leads.
    pub(crate) fn leads(&self, seen: &Seen<'_>) -> bool {
        let leader = self.store().map_or(0, |store| store.leader);
        seen.stored.is_some_and(|stored| stored.id == leader)
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> Option<&Seen<'a>> {
        self.members.iter().find(|seen| self.leads(seen))
    }

    /// The number of the next member. No member and no volume has this number, not even a volume of
    /// an earlier cluster with the same name. This holds even if the status was lost.
    pub(crate) fn next_number(&self) -> i64 {
        let recorded = self.members.iter().map(|seen| seen.member.number);
        let used = recorded.chain([self.observed.last_number, 0]).max().unwrap_or_default();
        self.observed.status.next_member.max(used + 1)
    }

    /// The version for the pod of a member. It is the version asked for, unless that is refused. If
    /// it is refused, the member keeps the version that it runs. A member that runs none gets the
    /// newest version that any member runs, or an empty one if no version is known.
    pub(crate) fn version(&self, seen: &Seen<'_>) -> String {
        if self.refused_version().is_none() {
            return self.valid.version.to_string();
        }
        if let Some(pod) = &seen.member.pod {
            return pod.version.clone();
        }
        let newest = || self.members.iter().filter_map(Seen::version).max();
        seen.version().or_else(newest).map_or_else(String::new, |version| version.to_string())
    }

    /// The reason why no member may get the version asked for; `None` if members may get it.
    pub(crate) fn refused_version(&self) -> Option<String> {
        let Valid { version: asked, operator, .. } = self.valid;
        if self.valid.is_too_new() {
            return Some(format!(
                "version {asked} is asked for, which is too new for the operator of version \
                 {operator}: update the operator first"
            ));
        }
        let mut running = self.members.iter().filter_map(Seen::version);
        let running = running.find(|version| !asked.is_reached_from(version))?;
        Some(format!(
            "version {asked} is asked for, and a member runs {running}: neither an older version \
             nor one that skips a minor version may follow"
        ))
    }

    /// Whether the pod of a member must be made anew.
    pub(crate) fn is_stale(&self, seen: &Seen<'_>) -> bool {
        let needs_restart = seen.member.volume.as_ref().is_some_and(|volume| volume.needs_restart);
        seen.member.pod.as_ref().is_some_and(|pod| {
            let is_current = pod.settings == seen.member.settings
                && pod.version == self.version(seen)
                && !needs_restart;
            !is_current
        })
    }

    /// The reason why a new member must replace `seen`; `None` if `seen` may stay.
    pub(crate) fn failure(&self, seen: &Seen<'_>) -> Option<String> {
        seen.damage().or_else(|| {
            let is_late = self.replace_at(seen).is_some_and(|at| at <= self.now);
            is_late.then(|| format!("{} cannot be reached", seen.name))
        })
    }

    /// The time at which an unreachable member must be replaced. `None` if it is reachable or the
    /// store does not serve. Only the time since the store last began to serve counts, because all
    /// members are unreachable while it does not serve.
    pub(crate) fn replace_at(&self, seen: &Seen<'_>) -> Option<Timestamp> {
        let is_ready = seen.member.pod.as_ref().is_some_and(|pod| pod.is_ready && !pod.is_deleted);
        let since = seen.member.unreachable_since?;
        if seen.is_healthy() || is_ready {
            return None;
        }
        after(since.max(self.available_since()?), self.valid.replace_after)
    }

    /// The time at which a member on a lost node has been unreachable for too long; `None` if its
    /// node is not lost.
    pub(crate) fn strands_at(&self, seen: &Seen<'_>) -> Option<Timestamp> {
        let is_node_lost = seen.member.pod.as_ref().is_some_and(|pod| pod.is_node_lost);
        let since = seen.member.unreachable_since.filter(|_| is_node_lost);
        after(since?, self.valid.replace_after)
    }

    /// The recorded time at which the store began to serve; `None` if it does not serve.
    fn available_since(&self) -> Option<Timestamp> {
        let name = format!("{:?}", ConditionType::Available);
        let conditions = &self.observed.status.conditions;
        let found = conditions.iter().find(|condition| condition.type_ == name)?;
        (found.status == "True").then_some(found.last_transition_time.0)
    }

    /// The next time at which the plan changes although nothing else has changed.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        let deadline = self.change().map(|change| change.deadline.0);
        let late = self.voters().filter_map(|seen| self.replace_at(seen));
        let broken = self.members.iter().filter_map(|seen| seen.broken_at());
        let stranded = self.members.iter().filter_map(|seen| self.strands_at(seen));
        late.chain(broken).chain(stranded).chain(deadline).filter(|at| *at > self.now).min()
    }
}

/// The time `span` after `at`; `None` if it is out of range.
pub(crate) fn after(at: Timestamp, span: SignedDuration) -> Option<Timestamp> {
    at.checked_add(span).ok()
}

/// An id in the form that the status, the logs and the store's tools use.
pub(crate) fn hex(id: u64) -> String {
    format!("{id:x}")
}
