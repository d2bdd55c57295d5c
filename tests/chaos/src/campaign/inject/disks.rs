//! Faults of disks.

use std::fs;
use std::time::Instant;

use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::{AlarmMember, AlarmRequest};
use quorate_test_support::client::channel;
use quorate_test_support::wait;
use rand::Rng;

use super::{ELECTION, NOTICE_WITHIN};
use crate::campaign::Campaign;
use crate::fault::disk::Disk;
use crate::workload::load::Load;
use crate::workload::traffic::{BULK, Traffic};

/// Clients that write large values while a disk is full.
const WRITERS: usize = 4;

impl Campaign {
    /// Cuts the power of the disks of members, and ends the members.
    pub(in crate::campaign) fn cut_power(&mut self, places: &[usize]) {
        for place in places {
            self.disks[*place].cut_power(&mut self.rng);
        }
        for place in places {
            // The member may already have noticed that its disk is gone.
            self.cluster.members[*place].kill();
            self.effect.kills += 1;
        }
        if self.rng.random() {
            self.sleep_in_fault();
        }
    }

    /// Restores the disks whose power is cut. Their members must not run.
    pub(in crate::campaign) fn restore_power(&mut self) {
        self.disks.iter_mut().filter(|disk| disk.is_off()).for_each(Disk::restore);
    }

    /// Fills the disk of a member, which must raise an alarm and keep running. When there is space
    /// again and the alarm is cleared, all must continue.
    pub(super) fn fill_disk(&mut self, place: usize) {
        let filler = self.disks[place].fill();
        let other = (place + 1) % self.size();
        wait::until("the alarm of a full disk", NOTICE_WITHIN, || {
            self.alarms(other).filter(|alarms| !alarms.is_empty())
        });
        self.effect.affected += 1;
        let mut load = Load::default();
        for _ in 0..WRITERS {
            let rng = self.client_rng();
            let client = self.failover_client(other);
            load.add(self.runtime.handle(), client, Traffic::new(rng), BULK);
        }
        let (written, _) = self.runtime.block_on(load.run());
        self.pending.extend(written);
        let ended = self.cluster.members[place].exit_status();
        assert_eq!(ended, None, "{}", self.cluster.members[place].log_tail());
        fs::remove_file(filler).expect("it was made");
        // A member that has not checked its disk since raises the alarm once more.
        let mut clear_since = None;
        wait::until("no alarm of a full disk", NOTICE_WITHIN, || {
            let alarms = self.alarms(other)?;
            if !alarms.is_empty() {
                alarms.iter().for_each(|alarm| self.clear(other, *alarm));
                clear_since = None;
            }
            (clear_since.get_or_insert_with(Instant::now).elapsed() > ELECTION).then_some(())
        });
    }

    /// The alarms that the member in a place lists.
    fn alarms(&self, place: usize) -> Option<Vec<AlarmMember>> {
        self.ask_alarm(place, AlarmRequest::default())
    }

    fn clear(&self, place: usize, AlarmMember { member_id, alarm }: AlarmMember) {
        let action = AlarmAction::Deactivate as i32;
        self.ask_alarm(place, AlarmRequest { action, member_id, alarm });
    }

    fn ask_alarm(&self, place: usize, request: AlarmRequest) -> Option<Vec<AlarmMember>> {
        let url = self.cluster.members[place].url();
        self.runtime.block_on(async {
            let mut client = MaintenanceClient::new(channel(&url));
            let asked = tokio::time::timeout(NOTICE_WITHIN, client.alarm(request));
            Some(asked.await.ok()?.ok()?.into_inner().alarms)
        })
    }

    /// Freezes the disk of the leader until another member leads.
    pub(super) fn hang_disk(&mut self, leader: usize) {
        let hanging = self.disks[leader].hang();
        self.await_another(leader);
        drop(hanging);
    }
}
