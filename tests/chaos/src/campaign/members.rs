//! Starts, ends and queries members.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::{StatusRequest, StatusResponse};
use quorate_test_support::client::channel;
use quorate_test_support::server::Server;
use quorate_test_support::{http, wait};
use rustix::process::Signal;

use super::Campaign;

/// How long members may take to start: another connection can hold a port for a while.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a cluster may be without a leader after recovery.
pub(super) const ELECT_WITHIN: Duration = Duration::from_secs(30);
/// How long a member may take to answer a status request.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// The number of SIGTERM.
const SIGTERM: i32 = 15;
/// The log message of a member that sees a leader in a term.
const ELECTED: &str = "\"msg\":\"leader elected\"";
/// The term in that message.
const TERM: &str = "\"term\":";
/// The metric that counts received snapshots.
const SNAPSHOTS: &str = "etcd_network_snapshot_receive_success";

/// The leader's place and its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) leader: usize,
    pub(super) term: u64,
}

/// The number of received snapshots, by process.
pub(super) type Snapshots = BTreeMap<u32, usize>;

impl Campaign {
    /// Sends SIGKILL to the member in a place, if it runs.
    pub(super) fn kill(&mut self, place: usize) {
        let member = &mut self.cluster.members[place];
        if !member.is_running() {
            return;
        }
        let ended = member.exit_status();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", member.log_tail());
        member.kill();
        self.effect.kills += 1;
    }

    /// Sends SIGTERM to the member in a place and waits until it has stopped in order.
    pub(super) fn stop(&mut self, place: usize) {
        let member = &mut self.cluster.members[place];
        let status = member.stop();
        let is_orderly = status.success() || status.signal() == Some(SIGTERM);
        assert!(is_orderly, "it was to stop: {status}\n{}", member.log_tail());
    }

    /// Spawns the member in a place, and ends it after a random part of its start time: by a power
    /// cut if it has a disk of its own, otherwise by SIGKILL.
    pub(super) fn interrupt_start(&mut self, place: usize) {
        self.cluster.members[place].spawn();
        self.sleep_within(self.timing.start);
        if self.disks.is_empty() {
            self.kill(place);
        } else {
            self.cut_power(&[place]);
            self.restore_power();
        }
    }

    /// Starts the members that do not run and waits until all are ready.
    pub(super) fn start_all(&mut self) {
        let started = Instant::now();
        let is_any_started = self.cluster.members.iter().any(|member| !member.is_running());
        for member in self.cluster.members.iter_mut().filter(|member| !member.is_running()) {
            member.spawn();
        }
        let members = &mut self.cluster.members;
        let ended = wait::within(START_WITHIN, || {
            let now: Vec<_> = members.iter_mut().map(Server::is_ready_now).collect();
            let ended = now.iter().position(|ready| *ready == Some(false));
            (ended.is_some() || now.iter().all(Option::is_some)).then_some(ended)
        });
        self.cluster.members.iter().for_each(assert_terms_rise);
        // A member that has ended goes first: the others may be waiting for it.
        let first = ended.flatten().unwrap_or(0);
        (0..self.size()).for_each(|turn| self.finish_start((first + turn) % self.size()));
        if is_any_started {
            self.timing.start = started.elapsed();
        }
    }

    /// Sends SIGSTOP to the member in a place.
    pub(super) fn pause(&mut self, place: usize) {
        self.cluster.members[place].signal(Signal::STOP);
        self.paused.push(place);
    }

    /// Sends SIGCONT to all paused members.
    pub(super) fn resume_paused(&mut self) {
        for place in std::mem::take(&mut self.paused) {
            if self.cluster.members[place].is_running() {
                self.cluster.members[place].signal(Signal::CONT);
            }
        }
    }

    /// The status of the member in a place; `None` when it does not answer.
    pub(super) fn status(&self, place: usize) -> Option<StatusResponse> {
        let member = &self.cluster.members[place];
        if !member.is_running() {
            return None;
        }
        self.runtime.block_on(async {
            let mut client = MaintenanceClient::new(channel(&member.url()));
            let asked = client.status(StatusRequest {});
            let answer = tokio::time::timeout(STATUS_WITHIN, asked).await.ok()?.ok()?;
            Some(answer.into_inner())
        })
    }

    /// The member that reports itself as the leader in the latest term.
    pub(super) fn leadership_now(&self) -> Option<Leadership> {
        let leading = (0..self.size()).filter_map(|place| {
            let status = self.status(place)?;
            let leads = status.leader == status.header.as_ref()?.member_id;
            leads.then_some(Leadership { leader: place, term: status.raft_term })
        });
        leading.max_by_key(|leadership| leadership.term)
    }

    /// Like [`leadership_now`](Self::leadership_now), but waits for a leader.
    pub(super) fn leadership(&self) -> Leadership {
        wait::until("a leader", ELECT_WITHIN, || self.leadership_now())
    }

    pub(super) fn snapshots(&self) -> Snapshots {
        let running = self.cluster.members.iter().filter(|member| member.is_running());
        let counts = running.filter_map(|member| {
            let count = http::metric(&member.address(), SNAPSHOTS)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a small count"
            )]
            let count = count as usize;
            Some((member.pid(), count))
        });
        counts.collect()
    }

    pub(super) fn snapshots_since(&self, before: &Snapshots) -> usize {
        let now = self.snapshots();
        now.iter().map(|(pid, count)| count - before.get(pid).copied().unwrap_or(0)).sum()
    }

    /// Waits until a started member is ready.
    pub(super) fn finish_start(&mut self, place: usize) {
        let member = &mut self.cluster.members[place];
        let ready = wait::within(START_WITHIN, || {
            if !member.is_running() {
                member.spawn();
            }
            if member.is_ready_now()? {
                return Some(());
            }
            // Another connection on this machine may have taken the port.
            let log = member.log_tail();
            assert!(log.contains("in use"), "it ends by itself as it starts:\n{log}");
            member.kill();
            None
        });
        assert_terms_rise(member);
        assert!(ready.is_some(), "it is not ready in {START_WITHIN:?}:\n{}", member.log_tail());
    }
}

/// Checks that the terms in a member's log never decrease.
fn assert_terms_rise(member: &Server) {
    let log = member.log();
    let term = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once(ELECTED)?.1.split_once(TERM)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let terms: Vec<u64> = log.lines().filter_map(term).collect();
    assert!(terms.is_sorted(), "a term moved back: {terms:?}\n{}", member.log_tail());
}
