//! Injects the faults of a campaign.

mod clocks;
mod disks;
mod network;
mod processes;
mod snapshots;

use std::time::Duration;

use quorate_test_support::wait;
use rand::Rng;

use super::Campaign;
use crate::fault::Fault;
use crate::history::Request;
use crate::workload::load::Load;

/// The election timeout: ten heartbeat intervals.
const ELECTION: Duration = Duration::from_secs(1);
/// Shortest and longest duration of most faults: enough for an election and for writes at the new
/// leader.
const DURATION: (Duration, Duration) = (Duration::from_millis(1300), Duration::from_millis(3500));
/// How long members may take to react to a fault.
const NOTICE_WITHIN: Duration = Duration::from_secs(30);

impl Campaign {
    /// Injects a fault and waits for its duration. [`recover`](Self::recover) ends it.
    pub(super) fn inject(&mut self, fault: Fault, load: &mut Load) {
        use Fault as F;
        let leader = self.leadership().leader;
        let one = self.any_place();
        let follower = self.any_follower(leader);
        let size = self.size();
        let all: Vec<usize> = (0..size).map(|turn| (one + turn) % size).collect();
        self.target = target(fault, one, follower);
        match fault {
            F::KillLeader => self.kill_for_a_while(&[leader]),
            F::KillFollower => self.kill_for_a_while(&[follower]),
            F::KillMajority => self.kill_for_a_while(&[(one + 1) % size, (one + 2) % size]),
            F::KillAll => self.kill_for_a_while(&all),
            F::KillTwice => self.kill_twice(leader),
            F::KillStarting => {
                self.kill(one);
                self.interrupt_starts(one);
            }
            F::KillCompacting | F::KillDefragmenting => {
                self.sleep_in_upkeep(fault, one, load);
                self.kill_for_a_while(&[one]);
            }
            F::FallBehind => self.fall_behind(follower),
            F::FallBehindRunning => self.fall_behind_running(follower),
            F::KillReceivingSnapshot => self.kill_receiving_snapshot(follower),
            F::ClosePeerPort => self.close_peer_port(one),
            F::StopLeader => {
                self.stop(leader);
                self.sleep_in_fault();
            }
            F::PauseLeader => self.pause_leader(leader, load),
            F::PauseLeaderBriefly => self.pause_for(leader, (ELECTION / 5, ELECTION * 4 / 5)),
            F::PauseFollower => self.pause_for(follower, DURATION),
            F::ReplaceMember => self.replace_member(one),
            F::CutPowerOfOne => self.cut_power(&[one]),
            F::CutPowerOfAll => self.cut_power(&all),
            F::CutPowerCompacting | F::CutPowerDefragmenting => {
                self.sleep_in_upkeep(fault, one, load);
                self.cut_power(&[one]);
            }
            F::CutPowerStarting => {
                self.cut_power(&[one]);
                self.restore_power();
                self.interrupt_starts(one);
            }
            F::FillDisk => self.fill_disk(one),
            F::HangDisk => self.hang_disk(leader),
            F::DelayTraffic | F::CorruptTraffic | F::HoldTraffic => {
                self.distort_traffic(fault, one);
            }
            F::JumpClock | F::StrobeClocks => self.change_clocks(fault, one),
            F::IsolateLeader
            | F::IsolateFollower
            | F::IsolateAll
            | F::DropFromLeader
            | F::DropToLeader
            | F::OneWayRing
            | F::Flap
            | F::Bridge
            | F::LosePackets => self.disturb_network(fault, leader, follower),
            F::SlowDisks
            | F::PauseWatches
            | F::UnreadRanges
            | F::UnreadWatches
            | F::SilentConnections
            | F::CancelRanges
            | F::SlowFollower
            | F::BlockLogs => self.overload(fault, leader, follower),
        }
    }

    /// Resumes paused members, restores disks and starts the members that do not run.
    pub(super) fn recover(&mut self) {
        self.resume_paused();
        self.restore_power();
        self.start_all();
    }

    /// The place of a random follower; of the leader in a cluster of one member.
    fn any_follower(&mut self, leader: usize) -> usize {
        let size = self.size();
        if size == 1 { leader } else { (leader + self.rng.random_range(1..size)) % size }
    }

    /// Sleeps for the duration of a fault. A fault of a single member has no duration: no other
    /// member could react to it.
    pub(super) fn sleep_in_fault(&mut self) {
        if self.size() > 1 {
            self.sleep_between(DURATION.0, DURATION.1);
        }
    }

    /// Starts the compaction or defragmentation of a fault, and sleeps for a part of its duration.
    fn sleep_in_upkeep(&mut self, fault: Fault, place: usize, load: &mut Load) {
        let (request, took) = match fault {
            Fault::KillCompacting | Fault::CutPowerCompacting => {
                (self.compaction(), self.timing.compact)
            }
            _ => (Request::Defragment, self.timing.defragment),
        };
        self.ask_member_beside(load, place, request);
        self.sleep_within(took);
    }

    /// Waits until a member other than `leader` leads.
    fn await_another(&self, leader: usize) {
        wait::until("another leader", NOTICE_WITHIN, || {
            let now = self.leadership_now()?;
            (now.leader != leader).then_some(())
        });
    }
}

/// The place that a fault of a single member targets, unless the member is chosen as the leader.
fn target(fault: Fault, one: usize, follower: usize) -> Option<usize> {
    use Fault as F;
    match fault {
        F::KillFollower | F::PauseFollower | F::IsolateFollower | F::SlowFollower => Some(follower),
        F::CutPowerOfOne | F::FillDisk => Some(one),
        _ => None,
    }
}
