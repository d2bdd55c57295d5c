//! Each integrity check finds members whose data differ because of a planted mistake, and passes
//! members with equal data.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use quorate_core::planted::Mistake;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};

/// How long a check that runs every second may take to find a difference.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// Each member writes a wrong version at one revision in 200, and each at another revision.
const WRITES: usize = 250;
/// Enables the check before a member serves.
const AT_START: &str = "--feature-gates=InitialCorruptCheck=true";

/// Three members with different data because of a `mistake`, or with equal data without one.
fn written(program: &Path, mistake: Option<Mistake>, flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(program, 3, flags);
    let set = mistake.map(|mistake| format!("QUORATE_PLANTED={}", mistake.name()));
    if let Some(set) = &set {
        cluster.members.iter_mut().for_each(|member| member.set_launcher(&["env", set]));
    }
    cluster.start();
    let client = KvClient::new(cluster.channel(0));
    for number in 0..WRITES {
        let key = format!("key {number}").into();
        let value = "value".into();
        let put = pb::PutRequest { key, value, ..Default::default() };
        let written = cluster.block_on(async { client.clone().put(put).await });
        // Once a check has found the difference, the cluster refuses writes.
        if let Err(refusal) = written {
            assert_eq!(refusal.message(), "etcdserver: corrupt cluster");
        }
    }
    cluster
}

fn alarms(cluster: &Cluster) -> Vec<pb::AlarmMember> {
    let request = pb::AlarmRequest { action: AlarmAction::Get as i32, ..Default::default() };
    let mut client = MaintenanceClient::new(cluster.channel(0));
    cluster.block_on(async { client.alarm(request).await }).unwrap().into_inner().alarms
}

fn raises_an_alarm(flags: &[&str], compact: bool) {
    let cluster = written(&program::planted(), Some(Mistake::RandomApply), flags);
    if compact {
        let revision = i64::try_from(WRITES).unwrap();
        let request = pb::CompactionRequest { revision, physical: true };
        let client = KvClient::new(cluster.channel(0));
        cluster.retry("compact", async || client.clone().compact(request).await);
    }
    let raised = wait::until("an alarm", FOUND_WITHIN, || {
        Some(alarms(&cluster)).filter(|alarms| !alarms.is_empty())
    });
    assert!(raised.iter().all(|alarm| alarm.alarm() == pb::AlarmType::Corrupt), "{raised:?}");
    let put = pb::PutRequest { key: "later".into(), ..Default::default() };
    let mut client = KvClient::new(cluster.channel(1));
    let refused = cluster.block_on(async { client.put(put).await }).unwrap_err();
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
}

#[test]
fn the_periodic_check_finds_different_data() {
    raises_an_alarm(&["--corrupt-check-time=1s"], false);
}

#[test]
fn the_check_after_a_compaction_finds_different_data() {
    let flags = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=1s"];
    raises_an_alarm(&flags, true);
}

#[test]
fn a_member_with_different_data_does_not_start() {
    let mut cluster = written(&program::planted(), Some(Mistake::RandomApply), &[]);
    let member = &mut cluster.members[2];
    member.stop();
    member.add_flags(&[AT_START]);
    let ended = member.start_or_end();
    assert!(ended.is_some_and(|status| !status.success()), "{}", member.log_tail());
    assert!(member.log_tail().contains("the data differ from those of"), "{}", member.log_tail());
}

#[test]
fn members_with_equal_data_raise_no_alarm() {
    let flags = ["--corrupt-check-time=100ms", AT_START];
    let mut cluster = written(&program::quorate(), None, &flags);
    for place in 0..3 {
        cluster.members[place].stop();
        cluster.members[place].start();
    }
    assert_eq!(alarms(&cluster), []);
}
