//! Members on small disks, filled by their own data or by other files.

use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::{error_line, exit_status};
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, require, wait};
use rand::Rng as _;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::image::{Image, NEEDS};
use super::{NO_SPACE, names_the_disk};

/// Size of values. Puts overwrite `KEYS` keys, or each add a new key.
const VALUE_BYTES: usize = 100 << 10;
const KEYS: usize = 200;
/// Clients that write concurrently.
const WRITERS: usize = 8;
/// How long a change may take that comes without a request.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a member that waits for disk space may take to stop.
const END_WITHIN: Duration = Duration::from_secs(6);
/// Size of deletions' keys that fill a log. Only the request limit bounds a key.
const LONG_KEY: usize = 1 << 20;
/// How many times the member is killed.
const KILLS: usize = 6;
/// Logged by a member that waits for disk space.
const WAITS: &str = "waiting for disk space";

/// A cluster whose members have a disk each.
struct Members {
    cluster: Cluster,
    disks: Vec<Image>,
}

impl Members {
    fn start(size: usize, mib: u64) -> Option<Self> {
        if !require::met("full disk", &NEEDS) {
            return None;
        }
        let disks: Vec<Image> = (0..size).map(|_| Image::new(mib)).collect();
        let mut cluster = Cluster::new(&program::quorate(), size, &["--quota-backend-bytes=-1"]);
        for (member, disk) in cluster.members.iter_mut().zip(&disks) {
            member.set_data_dir(&disk.path().join("data"));
        }
        cluster.start();
        Some(Self { cluster, disks })
    }

    fn kv(&self, member: usize) -> KvClient<tonic::transport::Channel> {
        KvClient::new(self.cluster.channel(member))
    }

    /// Puts through a member until a put is refused. With `is_new`, each value gets a new key.
    fn write(&self, member: usize, is_new: bool) -> Status {
        let kv = self.kv(member);
        self.cluster.block_on(async {
            let mut writers = JoinSet::new();
            for writer in 0..WRITERS {
                let mut kv = kv.clone();
                writers.spawn(async move {
                    for number in (writer..).step_by(WRITERS) {
                        let number = if is_new { number } else { number % KEYS };
                        let value = vec![number.to_le_bytes()[0]; VALUE_BYTES].into();
                        let key = format!("key/{number:06}").into();
                        let put = pb::PutRequest { key, value, ..Default::default() };
                        if let Err(refused) = kv.put(put).await {
                            return refused;
                        }
                    }
                    unreachable!("numbers have no end")
                });
            }
            writers.join_next().await.unwrap().unwrap()
        })
    }

    fn put(&self, member: usize, key: &str) -> Result<(), Status> {
        let key = key.to_owned().into();
        let value = "v".into();
        let put = pb::PutRequest { key, value, ..Default::default() };
        let mut kv = self.kv(member);
        self.cluster.block_on(async { kv.put(put).await }).map(|_| ())
    }

    fn delete(&self, member: usize, key: Vec<u8>, range_end: &str) -> Result<i64, Status> {
        let range_end = range_end.to_owned().into();
        let delete = pb::DeleteRangeRequest { key: key.into(), range_end, prev_kv: false };
        let mut kv = self.kv(member);
        self.cluster
            .block_on(async { kv.delete_range(delete).await })
            .map(|a| a.into_inner().deleted)
    }

    /// Whether a key exists: in the member's own data if `serializable`, else in the cluster's.
    fn has(&self, member: usize, key: &str, serializable: bool) -> bool {
        let key = key.to_owned().into();
        let range = pb::RangeRequest { key, serializable, ..Default::default() };
        let mut kv = self.kv(member);
        let answer = self.cluster.block_on(async { kv.range(range).await });
        answer.unwrap().into_inner().count == 1
    }

    fn compact(&self, member: usize) {
        let revision = self.cluster.status(member).header.unwrap().revision;
        let compaction = pb::CompactionRequest { revision, physical: true };
        let mut kv = self.kv(member);
        let compacted = self.cluster.block_on(async { kv.compact(compaction).await });
        if let Err(error) = compacted {
            assert_eq!(error.code(), Code::OutOfRange, "{error}");
        }
    }

    /// Defragments. It may fail, because the nearly full disk may have no room for a copy.
    fn defragment(&self, member: usize) {
        let mut client = MaintenanceClient::new(self.cluster.channel(member));
        let done =
            self.cluster.block_on(async { client.defragment(pb::DefragmentRequest {}).await });
        if let Err(error) = done {
            assert!(error.message().contains("No space left on device"), "{error}");
        }
    }

    /// Lists (0) or disarms (2) NOSPACE alarms.
    fn alarm(&self, member: usize, action: i32, member_id: u64) -> Vec<u64> {
        let request = pb::AlarmRequest { action, member_id, alarm: 1 };
        let mut client = MaintenanceClient::new(self.cluster.channel(member));
        let answer = self.cluster.block_on(async { client.alarm(request).await }).unwrap();
        answer.into_inner().alarms.into_iter().map(|alarm| alarm.member_id).collect()
    }

    fn wait_for_alarm(&self, member: usize, of: u64) {
        wait::until("the alarm of a member without space", WITHIN, || {
            self.alarm(member, 0, 0).contains(&of).then_some(())
        });
    }

    /// Deactivates the alarms until all members accept writes.
    fn disarm(&self) {
        wait::until("writes after the alarm was cleared", WITHIN, || {
            for id in self.alarm(0, 0, 0) {
                self.alarm(0, 2, id);
            }
            let mut members = 0..self.cluster.members.len();
            members.try_for_each(|member| self.put(member, "again")).ok()
        });
    }

    /// Starts a member on a full disk: it must become ready, log that it waits for room, or end
    /// with an error that names the disk.
    fn start_on_full_disk(&mut self, member: usize) {
        let server = &mut self.cluster.members[member];
        let disk = &self.disks[member];
        server.clear_log();
        server.spawn();
        let end = wait::within(WITHIN, || match server.is_ready_now() {
            Some(true) => Some(None),
            Some(false) => Some(server.exit_status()),
            None => server.log().contains(WAITS).then_some(None),
        });
        let Some(end) = end else { panic!("it says nothing:\n{}", server.log_tail()) };
        if let Some(end) = end {
            let line = error_line(server);
            assert_eq!(end.code(), Some(exit_status(&line)), "{line}");
            assert!(line.contains("\"reason\":\"disk-full\""), "{line}");
            names_the_disk(&server.log(), disk.path());
            server.kill();
        }
    }

    /// After its disk got room: starts the member if it has ended, and waits until it is ready.
    fn finish_start(&mut self, member: usize) {
        let server = &mut self.cluster.members[member];
        if !server.is_running() {
            server.spawn();
        }
        server.wait_until_ready();
    }

    fn assert_all_run(&mut self) {
        for member in &mut self.cluster.members {
            assert_eq!(member.exit_status(), None, "{}", member.log_tail());
        }
    }
}

/// Fills the disks by writes. The alarm must be raised while there is still room for compaction,
/// deletion and defragmentation.
fn fills_up(size: usize, mib: u64, rounds: &[bool]) {
    let Some(mut members) = Members::start(size, mib) else { return };
    for is_new in rounds {
        members.put(0, "first").unwrap();
        let refused = members.write(size - 1, *is_new);
        assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, NO_SPACE));
        for (member, disk) in members.disks.iter().enumerate() {
            assert!(disk.free() > 0, "the disk is full");
            assert!(members.has(member, "first", false) && members.has(member, "first", true));
            assert_eq!(members.put(member, "more").unwrap_err().message(), NO_SPACE);
        }
        // These run on a nearly full disk.
        members.compact(0);
        if *is_new {
            assert!(members.delete(0, b"key/".to_vec(), "key0").unwrap() > 0);
            members.compact(0);
        }
        (0..size).for_each(|member| members.compact(member));
        (0..size).for_each(|member| members.defragment(member));
        members.disarm();
        members.assert_all_run();
        for member in &members.cluster.members {
            assert!(!member.log().contains(WAITS), "{}", member.log_tail());
        }
    }
}

#[test]
fn one_member_refuses_overwrites_before_its_disk_is_full() {
    fills_up(1, 760, &[false]);
}

#[test]
fn three_members_refuse_writes_before_their_disks_are_full() {
    fills_up(3, 256, &[false, true]);
}

/// Another file fills the leader's disk completely.
#[test]
fn a_disk_filled_by_another_program_stops_only_writes() {
    let Some(mut members) = Members::start(3, 128) else { return };
    for number in 0..100 {
        members.put(number % 3, &format!("key/{number:03}")).unwrap();
    }
    let (leader, _) = members.cluster.leader();
    let other = (leader + 1) % 3;
    let id = members.cluster.member_id(leader);
    let filler = members.disks[leader].fill();
    members.wait_for_alarm(other, id);
    for member in 0..3 {
        assert_eq!(members.put(member, "more").unwrap_err().message(), NO_SPACE);
        assert!(members.has(member, "key/099", false) && members.has(member, "key/099", true));
    }
    // Requests that free space are still accepted.
    for number in 0..20 {
        let key = format!("key/{number:03}").into_bytes();
        assert_eq!(members.delete(number % 3, key, "").unwrap(), 1);
    }
    members.compact(other);
    // A leader without room for its log gives up leadership.
    let mut number = 0;
    wait::until("another leader", WITHIN, || {
        if !members.cluster.members[leader].log().contains(WAITS) {
            number += 1;
            // The deletion may be lost when the leader steps down.
            members.delete(other, long_key(number), "").ok();
        }
        // Asked of another member, because the former leader cannot store the new term.
        let now = members.cluster.status(other).leader;
        (now != 0 && now != id).then_some(())
    });
    wait::until("a deletion", WITHIN, || members.delete(other, b"key/050".to_vec(), "").ok());
    assert!(members.has(leader, "key/099", true) && members.has(other, "key/099", false));
    members.assert_all_run();
    // Killed with a full disk, the member starts or logs why it does not.
    members.cluster.members[leader].kill();
    members.start_on_full_disk(leader);
    drop(filler);
    members.finish_start(leader);
    members.disarm();
    for member in 0..3 {
        assert!(members.has(member, "key/099", false) && !members.has(member, "key/000", false));
    }
}

fn long_key(number: u8) -> Vec<u8> {
    let mut key = vec![b'x'; LONG_KEY];
    key[0] = number;
    key
}

/// Fills the log's reserved space with deletions, which are still accepted. Returns the error of
/// the first deletion that failed.
fn exhaust(members: &Members) -> Status {
    for number in 0..100 {
        if let Err(failed) = members.delete(0, long_key(number), "") {
            return failed;
        }
    }
    panic!("the log takes everything");
}

/// Even the log has no room. Requests that do not fit are not acknowledged. Once there is room, the
/// member continues without a restart.
#[test]
fn a_log_without_space_acknowledges_nothing_and_recovers() {
    let Some(mut members) = Members::start(1, 128) else { return };
    members.put(0, "kept").unwrap();
    let filler = members.disks[0].fill();
    members.wait_for_alarm(0, members.cluster.member_id(0));
    let failed = exhaust(&members);
    assert_eq!(failed.message(), "etcdserver: request timed out", "{failed}");
    assert!(members.has(0, "kept", true) && members.has(0, "kept", false));
    assert!(members.cluster.members[0].log().contains(WAITS));
    members.assert_all_run();
    drop(filler);
    wait::until("a deletion", WITHIN, || members.delete(0, b"other".to_vec(), "").ok());
    members.disarm();
    // A stop does not wait for room.
    let filler = members.disks[0].fill();
    members.wait_for_alarm(0, members.cluster.member_id(0));
    exhaust(&members);
    let asked = Instant::now();
    members.cluster.members[0].stop();
    assert!(asked.elapsed() < END_WITHIN, "{:?}", asked.elapsed());
    drop(filler);
    members.cluster.members[0].start();
    assert!(members.has(0, "kept", false));
    members.disarm();
}

/// Killed at any moment on a full disk, a member starts again once there is room, and has all
/// acknowledged writes.
#[test]
fn a_member_killed_on_a_full_disk_loses_no_write() {
    let Some(mut members) = Members::start(1, 96) else { return };
    let mut rng = rand::rng();
    let mut keys = Acknowledged::default();
    for round in 0..KILLS {
        let filler = std::thread::scope(|scope| {
            let server = &members.cluster.members[0];
            let disk = &members.disks[0];
            let keys = &mut keys;
            // Ends at the alarm, or when the server is killed.
            let writer = scope.spawn(move || keys.write(server, 100_000, 20_000));
            std::thread::sleep(Duration::from_millis(rng.random_range(0..300)));
            let filler = disk.fill();
            std::thread::sleep(Duration::from_millis(rng.random_range(0..600)));
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(server.pid().try_into().unwrap()).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
            writer.join().unwrap();
            filler
        });
        members.cluster.members[0].kill();
        members.start_on_full_disk(0);
        if round % 2 == 0 {
            members.cluster.members[0].kill();
        }
        drop(filler);
        members.finish_start(0);
        let server = &members.cluster.members[0];
        assert_eq!(keys.missing(server), None, "{}", server.log_tail());
        members.disarm();
        members.delete(0, b"gone".to_vec(), "").unwrap();
    }
    assert!(!keys.is_empty());
}
