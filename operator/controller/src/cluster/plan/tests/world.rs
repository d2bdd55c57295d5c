//! A small model of the world around a plan: Kubernetes' objects, the members' processes and disks,
//! and the store. Time passes by ticks.

mod effect;
mod event;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use quorate_crd::names;
use quorate_crd::v1alpha1::{QuorateCluster, QuorateClusterSpec, QuorateClusterStatus};

use crate::cluster::failures::Failures;
use crate::cluster::observed::{Answer, Member, Observed, Pod, Store, StoreMember, Volume};
use crate::cluster::plan::{Plan, plan};
use crate::cluster::status::{member_statuses, status};
use crate::cluster::valid::{Valid, validate};

pub(super) use event::Event;

/// How much time a tick is.
const TICK: SignedDuration = SignedDuration::from_secs(10);
/// How many ticks a learner needs to catch up.
const CATCH_UP: u32 = 3;
/// Settings with this mark let no process start.
const BAD: &str = "bad";

/// The objects of a member, and its process.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    /// The observed state, but for the facts that follow from the processes.
    pub(super) member: Member,
    /// Whether the record is there; objects may outlive it.
    pub(super) is_recorded: bool,
    /// The id that the data on its disk belongs to.
    pub(super) data: Option<u64>,
    /// Ticks until the process runs.
    pub(super) starts_in: u32,
    /// Ticks until the pod that is being deleted is gone.
    pub(super) ends_in: u32,
    /// Whether the process hangs, or is cut off.
    pub(super) is_frozen: bool,
    /// Whether the data are damaged: no process starts with them.
    pub(super) is_damaged: bool,
    /// Whether the end of the pod hangs.
    pub(super) is_stuck: bool,
}

/// The store.
#[derive(Clone, Debug, Default)]
pub(super) struct Raft {
    pub(super) cluster_id: u64,
    pub(super) configuration: u64,
    pub(super) leader: u64,
    pub(super) members: Vec<StoreMember>,
    /// How long each learner has received data.
    pub(super) received: BTreeMap<u64, u32>,
}

/// The world.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) cluster: QuorateCluster,
    /// The version of the operator.
    pub(super) operator: &'static str,
    /// The version that all images have, if not the one that they should have.
    pub(super) program: Option<&'static str>,
    pub(super) settings: String,
    pub(super) status: QuorateClusterStatus,
    pub(super) bodies: BTreeMap<String, Body>,
    pub(super) raft: Option<Raft>,
    pub(super) min_available: Option<i32>,
    pub(super) has_objects: bool,
    pub(super) certified: BTreeSet<String>,
    /// Whether the Secret of an authority is lost.
    pub(super) is_authority_lost: bool,
    /// The members whose records another program deleted. Their ids are forgotten.
    pub(super) forgotten: BTreeSet<String>,
    /// Whether a claim has another owner than the user wants now.
    pub(super) has_stale_owners: bool,
    /// Whether steps are refused: of certificates, of the budget, of shared objects. No other step
    /// depends on them.
    pub(super) refuses: [bool; 3],
    /// The failures of this round.
    pub(super) failures: Failures,
    /// Counts the objects that need a unique number.
    pub(super) serial: u64,
}

impl World {
    /// A world with a cluster that is asked for, and nothing else.
    pub(super) fn new(members: i32) -> Self {
        let spec = QuorateClusterSpec { members, ..QuorateClusterSpec::default() };
        let mut cluster = QuorateCluster::new("main", spec);
        cluster.metadata.namespace = Some("team".to_owned());
        cluster.metadata.uid = Some("17".to_owned());
        cluster.metadata.generation = Some(1);
        Self {
            now: Timestamp::UNIX_EPOCH,
            cluster,
            operator: "0.1.0",
            program: None,
            settings: "1".to_owned(),
            status: QuorateClusterStatus::default(),
            bodies: BTreeMap::new(),
            raft: None,
            min_available: None,
            has_objects: false,
            certified: BTreeSet::new(),
            is_authority_lost: false,
            forgotten: BTreeSet::new(),
            has_stale_owners: false,
            refuses: [false; 3],
            failures: Failures::default(),
            serial: 0,
        }
    }

    pub(super) fn valid(&self) -> Valid {
        validate(&self.cluster, self.operator).expect("the tests ask for what can be done")
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.valid(), &self.observed(), self.now)
    }

    /// Writes the statuses of this moment, as the operator does in each round.
    pub(super) fn write_status(&mut self, plan: &Plan) {
        let (valid, observed) = (self.valid(), self.observed());
        self.status = status(&valid, &observed, self.now, plan);
        for (name, status) in member_statuses(&valid, &observed, self.now) {
            let Some(body) = self.bodies.get_mut(&name) else { continue };
            body.member.unreachable_since = status.unreachable_since.map(|since| since.0);
            body.member.version = status.version;
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whether the process of a member runs and is reached.
    pub(super) fn is_alive(&self, name: &str) -> bool {
        let Some(body) = self.bodies.get(name) else { return false };
        let Some(pod) = &body.member.pod else { return false };
        let runs = body.starts_in == 0 && !pod.is_deleted && !pod.has_ended && pod.exit.is_none();
        runs && !body.is_frozen && !pod.is_node_lost && pod.settings != BAD
    }

    pub(super) fn url(&self, name: &str) -> String {
        names::peer_url("main", name, "team")
    }

    /// The name of a member of the store; empty if it is not the operator's.
    pub(super) fn name(&self, stored: &StoreMember) -> String {
        let found = self.bodies.keys().find(|name| self.url(name) == stored.peer_url);
        found.cloned().unwrap_or_default()
    }

    /// The names of the voters, with whether they are alive. A learner that has become one counts.
    pub(super) fn voters(&self) -> Vec<(String, bool)> {
        let members = self.raft.iter().flat_map(|raft| &raft.members);
        let voters = members.filter(|stored| !stored.is_learner);
        let named = voters.map(|stored| self.name(stored));
        named.map(|name| (name.clone(), self.is_alive(&name))).collect()
    }

    pub(super) fn leader(&self) -> Option<String> {
        let raft = self.raft.as_ref()?;
        let stored = raft.members.iter().find(|stored| stored.id == raft.leader)?;
        Some(self.name(stored))
    }

    pub(super) fn has_quorum(&self) -> bool {
        let voters = self.voters();
        voters.iter().filter(|(_, is_alive)| *is_alive).count() > voters.len() / 2
    }

    pub(super) fn stored(&self, name: &str) -> Option<&StoreMember> {
        let url = self.url(name);
        self.raft.as_ref()?.members.iter().find(|stored| stored.peer_url == url)
    }

    /// The state as the operator sees it.
    pub(super) fn observed(&self) -> Observed {
        let recorded = self.bodies.iter().filter(|(_, body)| body.is_recorded);
        let members: BTreeMap<String, Member> =
            recorded.map(|(name, body)| (name.clone(), self.member(name, body))).collect();
        let uncertified = members.keys().filter(|name| !self.certified.contains(*name)).cloned();
        let objects = (!self.has_objects).then_some("Service/main-peer").into_iter();
        let claims = self.has_stale_owners.then_some("PersistentVolumeClaim/data-main-1");
        let client = self.refuses[0].then(|| "main-client-app".to_owned());
        let lost = self.is_authority_lost.then_some("main-peer-ca");
        Observed {
            is_deleted: self.cluster.metadata.deletion_timestamp.is_some(),
            status: self.status.clone(),
            last_number: self.last_number(),
            orphans: self.orphans(),
            store: self.raft.as_ref().filter(|_| self.has_quorum()).map(|raft| self.store(raft)),
            min_available: self.min_available,
            stale_objects: objects.chain(claims).map(str::to_owned).collect(),
            stale_certificates: uncertified.chain(client).collect(),
            failures: self.failures.clone(),
            lost_authorities: lost.map(str::to_owned).into_iter().collect(),
            members,
            certificates: quorate_crd::v1alpha1::Certificates::default(),
        }
    }

    /// The highest number of a member or volume.
    pub(super) fn last_number(&self) -> i64 {
        let there =
            self.bodies.values().filter(|body| body.is_recorded || body.member.volume.is_some());
        there.map(|body| body.member.number).max().unwrap_or_default()
    }

    pub(super) fn orphans(&self) -> BTreeSet<String> {
        let is_orphan = |body: &Body| {
            let volume = body.member.volume.as_ref();
            !body.is_recorded && volume.is_some_and(|volume| !volume.is_kept && !volume.is_deleted)
        };
        let orphans = self.bodies.iter().filter(|(_, body)| is_orphan(body));
        orphans.map(|(name, _)| name.clone()).collect()
    }

    fn store(&self, raft: &Raft) -> Store {
        let mut members = raft.members.clone();
        for member in &mut members {
            let received = raft.received.get(&member.id).copied().unwrap_or_default();
            member.is_caught_up = member.is_learner && received >= CATCH_UP;
        }
        Store {
            cluster_id: raft.cluster_id,
            configuration: raft.configuration,
            leader: raft.leader,
            members,
        }
    }

    fn member(&self, name: &str, body: &Body) -> Member {
        let stored = self.stored(name);
        let is_alive = self.is_alive(name) && stored.is_some();
        let votes = stored.is_some_and(|stored| !stored.is_learner);
        let is_serving = is_alive && votes && self.has_quorum();
        let mut member = body.member.clone();
        member.settings = self.settings.clone();
        member.answer = stored.filter(|_| is_alive).map(|stored| Answer {
            id: stored.id,
            version: match (self.program, &member.pod) {
                (Some(program), _) => program.to_owned(),
                (None, Some(pod)) => pod.version.clone(),
                (None, None) => String::new(),
            },
            is_serving,
            ..Answer::default()
        });
        if let Some(pod) = &mut member.pod {
            pod.is_ready = is_serving;
        }
        member
    }

    /// Lets a tick pass.
    pub(super) fn tick(&mut self) {
        self.now += TICK;
        let names: Vec<String> = self.bodies.keys().cloned().collect();
        for name in names {
            self.tick_member(&name);
        }
        self.bodies.retain(|_, body| body.is_recorded || body.member.volume.is_some());
        let alive: Vec<u64> = self
            .raft
            .iter()
            .flat_map(|raft| &raft.members)
            .filter(|stored| self.is_alive(&self.name(stored)))
            .map(|stored| stored.id)
            .collect();
        let has_quorum = self.has_quorum();
        let Some(raft) = &mut self.raft else { return };
        if !has_quorum {
            raft.leader = 0;
        } else if !alive.contains(&raft.leader) {
            let mut voters = raft.members.iter().filter(|stored| !stored.is_learner);
            let next = voters.find(|stored| alive.contains(&stored.id));
            raft.leader = next.map_or(0, |stored| stored.id);
        }
        for learner in raft.members.iter().filter(|stored| stored.is_learner) {
            if has_quorum && alive.contains(&learner.id) {
                *raft.received.entry(learner.id).or_default() += 1;
            }
        }
    }

    fn tick_member(&mut self, name: &str) {
        let Some(body) = self.bodies.get_mut(name) else { return };
        if let Some(volume) = &mut body.member.volume {
            volume.size = Some(volume.asked);
        }
        let is_claim_deleted = body.member.volume.as_ref().is_some_and(|it| it.is_deleted);
        if is_claim_deleted && body.member.pod.is_none() {
            body.member.volume = None;
            body.data = None;
        }
        let Some(pod) = &mut body.member.pod else { return };
        if pod.is_deleted && !pod.is_node_lost {
            body.ends_in = body.ends_in.saturating_sub(1);
            if body.ends_in == 0 && !body.is_stuck {
                body.member.pod = None;
            }
            return;
        }
        // Kubernetes restarts a process that has ended.
        if pod.exit.take().is_some() {
            body.starts_in = 1;
        }
        let volume = body.member.volume.as_ref();
        let has_volume = volume.is_some_and(|volume| !volume.is_lost);
        let runs = has_volume && !pod.is_node_lost && !body.is_frozen && pod.settings != BAD;
        if body.starts_in > 0 && runs {
            body.starts_in -= 1;
            if body.starts_in == 0 {
                self.start(name);
            }
        }
    }

    /// The start of a process: it takes its place in the store, or ends with a reason.
    fn start(&mut self, name: &str) {
        let id = self.stored(name).map(|stored| stored.id);
        let Some(body) = self.bodies.get_mut(name) else { return };
        let Some(pod) = &mut body.member.pod else { return };
        let founds = pod.message == "founds";
        pod.message.clear();
        match (body.data, id) {
            _ if body.is_damaged => pod.exit = Some("damaged".to_owned()),
            (None, None) if founds => self.found(name),
            (data, Some(id)) if data.is_none_or(|data| data == id) => {
                let is_new = self.raft.as_ref().is_some_and(|raft| {
                    raft.members.iter().any(|stored| stored.id == id && stored.name.is_empty())
                });
                if body.data.is_none() && !is_new {
                    pod.exit = Some("other-data".to_owned());
                    return;
                }
                body.data = Some(id);
                let members = self.raft.iter_mut().flat_map(|raft| &mut raft.members);
                members.filter(|stored| stored.id == id).for_each(|stored| {
                    name.clone_into(&mut stored.name);
                });
            }
            (_, Some(_)) => pod.exit = Some("other-data".to_owned()),
            (_, None) => pod.exit = Some("removed".to_owned()),
        }
    }

    fn found(&mut self, name: &str) {
        let id = 0x100 + self.next_serial();
        let founder = StoreMember {
            id,
            name: name.to_owned(),
            peer_url: self.url(name),
            ..StoreMember::default()
        };
        self.raft = Some(Raft {
            cluster_id: 0xc000 + id,
            configuration: 1,
            leader: id,
            members: vec![founder],
            received: BTreeMap::new(),
        });
        if let Some(body) = self.bodies.get_mut(name) {
            body.data = Some(id);
        }
    }

    /// Whether anything moves by itself.
    pub(super) fn moves(&self) -> bool {
        let is_moving = |body: &Body| {
            let Some(pod) = &body.member.pod else { return false };
            let starts =
                body.starts_in > 0 && pod.exit.is_none() && pod.settings != BAD && !body.is_frozen;
            let ends = pod.is_deleted && !body.is_stuck;
            let starts = starts && !body.is_damaged;
            (starts || ends) && !pod.is_node_lost
        };
        let learns = |raft: &Raft| {
            raft.members.iter().any(|stored| {
                let received = raft.received.get(&stored.id).copied().unwrap_or_default();
                stored.is_learner && received < CATCH_UP && self.is_alive(&self.name(stored))
            })
        };
        self.bodies.values().any(is_moving) || self.raft.as_ref().is_some_and(learns)
    }
}

/// A pod that has just been made.
fn new_pod(uid: u64, version: &str, settings: &str, is_voter: bool, founds: bool) -> Pod {
    Pod {
        uid: uid.to_string(),
        settings: settings.to_owned(),
        version: version.to_owned(),
        is_labelled_voter: is_voter,
        // The arguments of the process, as far as the model needs them.
        message: if founds { "founds".to_owned() } else { String::new() },
        ..Pod::default()
    }
}

fn new_volume(bytes: u64) -> Volume {
    Volume { asked: bytes, ..Volume::default() }
}
