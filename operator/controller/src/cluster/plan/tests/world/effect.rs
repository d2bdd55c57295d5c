//! The effects of steps on the world.

use jiff::SignedDuration;

use super::{Body, Raft, World, new_pod, new_volume};
use crate::cluster::observed::StoreMember;
use crate::cluster::plan::view::hex;
use crate::cluster::step::Step;

/// Ticks until a process runs, or a pod is gone.
const DELAY: u32 = 2;
/// The time that Kubernetes gives a pod to end.
const GRACE: SignedDuration = SignedDuration::from_mins(1);

impl World {
    /// Carries out a step, as Kubernetes and the store do.
    ///
    /// # Errors
    /// The reason why the step is refused.
    pub(in super::super) fn apply(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::ApplyObjects => {
                self.has_stale_owners = false;
                self.has_objects |= !self.refuses[2] && !self.cluster.spec.paused;
            }
            Step::IssueCertificates if self.is_authority_lost => {
                return Err("the authority is lost".to_owned());
            }
            // Only the Secret of a client is refused. The Secrets of members are issued before it.
            Step::IssueCertificates => {
                self.certified = self.bodies.keys().cloned().collect();
            }
            Step::LimitDisruption { .. } if self.refuses[1] => {}
            Step::LimitDisruption { min_available } => self.min_available = Some(*min_available),
            Step::Begin { change, next_member } => {
                self.status.change = Some(change.clone());
                self.status.next_member = *next_member;
            }
            Step::End => self.status.change = None,
            Step::RecordCluster { id } => self.status.cluster_id = Some(hex(*id)),
            Step::AddLearner { member, configuration, .. } => self.add(member, *configuration)?,
            Step::Promote { id, configuration, .. } => {
                let raft = self.configured(*configuration)?;
                let found = raft.members.iter_mut().find(|stored| stored.id == *id);
                found.ok_or("not found")?.is_learner = false;
            }
            Step::RemoveFromStore { id, configuration, .. } => {
                let stays = |name: &String| self.stored(name).is_none_or(|it| it.id != *id);
                self.serves_with(stays)?;
                let raft = self.configured(*configuration)?;
                raft.members.retain(|stored| stored.id != *id);
                if raft.leader == *id {
                    raft.leader = 0;
                }
            }
            Step::MoveLeader { from, to, id } => {
                if self.leader().as_ref() != Some(from)
                    || !self.voters().contains(&(to.clone(), true))
                {
                    return Err("no such leader, or no such voter".to_owned());
                }
                let raft = self.raft.as_mut().ok_or("no store")?;
                raft.leader = *id;
            }
            Step::Wait { .. } => {}
            _ => self.apply_to_member(step),
        }
        Ok(())
    }

    /// Whether the step is refused. Only steps that no other step depends on are refused this way.
    pub(in super::super) fn refuses(&self, step: &Step) -> bool {
        match step {
            Step::IssueCertificates => self.refuses[0],
            Step::LimitDisruption { .. } => self.refuses[1],
            Step::ApplyObjects => self.refuses[2] && !self.has_objects,
            _ => false,
        }
    }

    fn configured(&mut self, configuration: u64) -> Result<&mut Raft, String> {
        if !self.has_quorum() {
            return Err("no quorum".to_owned());
        }
        let raft = self.raft.as_mut().ok_or("no store")?;
        if raft.configuration != configuration {
            return Err("the configuration has moved on".to_owned());
        }
        raft.configuration += 1;
        Ok(raft)
    }

    /// The store's own rule: a majority of the voters that stay must serve.
    fn serves_with(&self, stays: impl Fn(&String) -> bool) -> Result<(), String> {
        let voters: Vec<(String, bool)> =
            self.voters().into_iter().filter(|(name, _)| stays(name)).collect();
        let alive = voters.iter().filter(|(_, is_alive)| *is_alive).count();
        if alive > voters.len() / 2 { Ok(()) } else { Err("unhealthy cluster".to_owned()) }
    }

    fn add(&mut self, member: &str, configuration: u64) -> Result<(), String> {
        if self.stored(member).is_some() {
            return Ok(());
        }
        let id = 0x100 + self.next_serial();
        let peer_url = self.url(member);
        let raft = self.configured(configuration)?;
        raft.members.push(StoreMember { id, peer_url, is_learner: true, ..StoreMember::default() });
        Ok(())
    }

    fn apply_to_member(&mut self, step: &Step) {
        match step {
            Step::CreateMember { member, number, founds } => {
                let body = self.bodies.entry(member.clone()).or_default();
                body.is_recorded = true;
                body.member.number = *number;
                body.member.founds = *founds;
            }
            Step::CreateVolume { member, bytes } => {
                self.body(member).member.volume = Some(new_volume(*bytes));
            }
            Step::RecordId { member, id } => self.body(member).member.id = Some(*id),
            Step::CreatePod { member, founds, is_voter, version } => {
                let uid = self.next_serial();
                let pod = new_pod(uid, version, &self.settings, *is_voter, *founds);
                let body = self.body(member);
                body.starts_in = DELAY;
                body.member.pod = Some(pod);
            }
            Step::LabelVoter { member } => {
                if let Some(pod) = &mut self.body(member).member.pod {
                    pod.is_labelled_voter = true;
                }
            }
            Step::DeletePod { member, uid, force } => self.delete_pod(member, uid, *force),
            Step::KeepVolume { member, .. } => {
                if let Some(volume) = &mut self.body(member).member.volume {
                    volume.is_kept = true;
                }
            }
            Step::GrowVolume { member, bytes } => {
                if let Some(volume) = &mut self.body(member).member.volume {
                    volume.asked = *bytes;
                }
            }
            Step::DeleteMember { member } => self.forget(member),
            other => unreachable!("{other} concerns no member"),
        }
    }

    fn body(&mut self, member: &str) -> &mut Body {
        self.bodies.get_mut(member).expect("a step is about a member that is there")
    }

    fn delete_pod(&mut self, member: &str, uid: &str, force: bool) {
        let ends_by = self.now + GRACE;
        let body = self.body(member);
        let Some(pod) = body.member.pod.as_mut().filter(|pod| pod.uid == uid) else { return };
        if force {
            body.member.pod = None;
        } else if !pod.is_deleted {
            pod.is_deleted = true;
            pod.ends_by = Some(ends_by);
            body.ends_in = DELAY;
        }
    }

    /// Deletes the record and the pod of a member. The volume stays.
    pub(in super::super) fn forget(&mut self, member: &str) {
        let Some(body) = self.bodies.get_mut(member) else { return };
        body.is_recorded = false;
        body.member.pod = None;
        body.member.id = None;
        body.member.version.clear();
        body.member.unreachable_since = None;
        self.certified.remove(member);
        self.bodies.retain(|_, body| body.is_recorded || body.member.volume.is_some());
    }
}
