//! The events in the world that the operator does not cause.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quorate_crd::quantity::Quantity;
use quorate_crd::v1alpha1::{OnDelete, QuorateClusterStatus};

use super::{BAD, World};
use crate::cluster::observed::StoreMember;

/// The peer URL of a member that another program added.
const FOREIGN: &str = "http://other";

/// An event in the world that the operator does not cause. A member is named by its place among
/// those that are there.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Event {
    /// The user asks for another number of members.
    Members(i32),
    /// The user changes the settings.
    Settings(u8),
    /// The user changes the settings so that no process starts.
    BadSettings,
    /// The user asks for a version.
    Version(&'static str),
    /// The user stops all members, or starts them again.
    Hibernated(bool),
    /// The user stops the operator's work, or lets it go on.
    Paused(bool),
    /// The user asks for larger volumes.
    Volume(u8),
    /// A pod is deleted by another program.
    DeletePod(usize),
    /// A pod is evicted, if the budget allows it.
    Evict(usize),
    /// A process hangs, or is cut off.
    Freeze(usize),
    /// All processes go on.
    Thaw,
    /// A volume is lost.
    LoseVolume(usize),
    /// A claim is deleted by another program. It goes with the pod that uses it.
    DeleteVolume(usize),
    /// A node is lost, with the pod on it.
    LoseNode(usize),
    /// The record of a member is deleted by another program.
    Forget(usize),
    /// A member is removed from the store by another program.
    Expel(usize),
    /// Another program adds a member to the store.
    Foreign,
    /// The foreign members are removed.
    Clean,
    /// The status is lost.
    LoseStatus,
    /// The disruption budget is deleted by another program.
    LoseBudget,
    /// The Secret of an authority is deleted by another program.
    LoseAuthority,
    /// The Secret of the authority is restored.
    RestoreAuthority,
    /// The data of a member are damaged, so that its process ends.
    Damage(usize),
    /// The pod of a member does not end, once it is deleted.
    Stick(usize),
    /// Steps of a kind are refused, say by a quota: see [`World::refuses`]. Shared objects go.
    Refuse(usize),
    /// None of them is refused any more.
    Admit,
    /// The user deletes the cluster, and waits until its objects are gone.
    Delete,
    /// Time passes, in ticks, and the operator is not there.
    Absence(u8),
}

impl World {
    /// Lets an event happen.
    pub(in super::super) fn happen(&mut self, event: &Event) {
        let before = (self.cluster.spec.clone(), self.settings.clone());
        self.change(event);
        if before != (self.cluster.spec.clone(), self.settings.clone()) {
            *self.cluster.metadata.generation.get_or_insert_default() += 1;
        }
    }

    fn change(&mut self, event: &Event) {
        match event {
            Event::Members(members) => self.cluster.spec.members = *members,
            Event::Settings(settings) => self.settings = settings.to_string(),
            Event::BadSettings => BAD.clone_into(&mut self.settings),
            Event::Version(version) => self.cluster.spec.version = Some((*version).to_owned()),
            Event::Hibernated(hibernated) => self.cluster.spec.hibernated = *hibernated,
            Event::Paused(paused) => self.cluster.spec.paused = *paused,
            Event::Volume(size) => {
                self.cluster.spec.storage.size = Quantity(format!("{size}Gi"));
            }
            Event::Thaw => self.bodies.values_mut().for_each(|body| {
                body.is_frozen = false;
                body.is_stuck = false;
            }),
            Event::LoseStatus => self.status = QuorateClusterStatus::default(),
            Event::LoseBudget => self.min_available = None,
            Event::LoseAuthority => self.is_authority_lost = true,
            Event::RestoreAuthority => self.is_authority_lost = false,
            Event::Refuse(kind) => {
                self.refuses[*kind] = true;
                self.has_objects &= *kind != 2;
            }
            Event::Admit => self.refuses = [false; 3],
            Event::Delete => self.delete(),
            Event::Foreign => self.intrude(),
            Event::Clean => {
                if let Some(raft) = &mut self.raft {
                    raft.members.retain(|stored| stored.peer_url != FOREIGN);
                }
            }
            Event::Absence(ticks) => (0..*ticks).for_each(|_| self.tick()),
            _ => self.happen_to_member(event),
        }
    }

    /// Kubernetes deletes the objects that the cluster owns.
    fn delete(&mut self) {
        self.cluster.metadata.deletion_timestamp = Some(Time(self.now));
        let names: Vec<String> = self.bodies.keys().cloned().collect();
        names.iter().for_each(|name| self.forget(name));
        if self.cluster.spec.storage.on_delete == OnDelete::Delete {
            self.bodies.clear();
        }
    }

    fn intrude(&mut self) {
        let id = 0x100 + self.next_serial();
        let Some(raft) = self.raft.as_mut() else { return };
        if raft.members.iter().any(|stored| stored.is_learner) {
            return;
        }
        let peer_url = FOREIGN.to_owned();
        raft.members.push(StoreMember { id, peer_url, is_learner: true, ..StoreMember::default() });
        raft.configuration += 1;
    }

    /// The name of the member that an event is about.
    pub(in super::super) fn member_at(&self, at: usize) -> Option<String> {
        let recorded = self.bodies.iter().filter(|(_, body)| body.is_recorded);
        let names: Vec<&String> = recorded.map(|(name, _)| name).collect();
        names.get(at % names.len().max(1)).map(|name| (*name).clone())
    }

    fn happen_to_member(&mut self, event: &Event) {
        let (Event::DeletePod(at)
        | Event::Evict(at)
        | Event::Freeze(at)
        | Event::Damage(at)
        | Event::Stick(at)
        | Event::LoseVolume(at)
        | Event::DeleteVolume(at)
        | Event::LoseNode(at)
        | Event::Forget(at)
        | Event::Expel(at)) = event
        else {
            unreachable!("{event:?} concerns no member")
        };
        let Some(name) = self.member_at(*at) else { return };
        let is_refused = matches!(event, Event::Evict(_)) && !self.may_evict(&name);
        let expelled = self.stored(&name).map(|stored| stored.id);
        if *event == Event::Expel(*at) {
            return self.expel(&name, expelled);
        }
        let Some(body) = self.bodies.get_mut(&name) else { return };
        match event {
            Event::Evict(_) if is_refused => {}
            Event::DeletePod(_) | Event::Evict(_) => body.member.pod = None,
            Event::Freeze(_) => body.is_frozen = true,
            Event::Stick(_) => body.is_stuck = true,
            Event::Damage(_) => {
                body.is_damaged = true;
                if let Some(pod) = &mut body.member.pod {
                    pod.exit = Some("damaged".to_owned());
                }
            }
            Event::LoseVolume(_) => {
                if let Some(volume) = &mut body.member.volume {
                    volume.is_lost = true;
                    body.data = None;
                    body.member.pod = None;
                }
            }
            Event::DeleteVolume(_) => {
                if let Some(volume) = &mut body.member.volume {
                    volume.is_deleted = true;
                }
            }
            Event::LoseNode(_) => {
                if let Some(pod) = &mut body.member.pod {
                    pod.is_node_lost = true;
                }
            }
            Event::Forget(_) => {
                self.forgotten.insert(name.clone());
                self.forget(&name);
            }
            _ => unreachable!("all events of members are above"),
        }
    }

    fn expel(&mut self, name: &str, id: Option<u64>) {
        let voters = self.voters();
        let is_last = voters.len() == 1 && voters[0].0 == name;
        let Some(raft) = self.raft.as_mut().filter(|_| !is_last) else { return };
        raft.members.retain(|stored| Some(stored.id) != id);
        raft.configuration += 1;
    }

    /// Whether the disruption budget lets a pod be evicted.
    pub(in super::super) fn may_evict(&self, name: &str) -> bool {
        let pod = self.bodies.get(name).and_then(|body| body.member.pod.as_ref());
        let is_covered = pod.is_some_and(|pod| pod.is_labelled_voter);
        !is_covered || self.evictable() > 0
    }

    /// How many pods of voters may be evicted now.
    pub(in super::super) fn evictable(&self) -> i32 {
        let members = self.observed().members;
        let pods = members.values().filter_map(|member| member.pod.as_ref());
        let available = pods.filter(|pod| pod.is_labelled_voter && pod.is_ready).count();
        let available = i32::try_from(available).expect("few pods");
        available - self.min_available.unwrap_or(0)
    }
}
