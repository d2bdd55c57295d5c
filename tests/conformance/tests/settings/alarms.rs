//! Which alarms can be raised: only known types, and a limited number for unknown members.

use quorate_core::limits::STRANGERS_ALARMS_MAX;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use tonic::Code;

use super::{alarm, alarms, put};

const RAISE: i32 = 1;
const CLEAR: i32 = 2;

#[test]
fn the_number_of_alarms_is_bounded() {
    let cluster = Cluster::start_new(&program::quorate(), 1, &[]);
    for kind in [i32::MIN, -1, 3, 99, i32::MAX] {
        for member in [0, 1, cluster.member_id(0)] {
            let refused = alarm(&cluster, 0, [RAISE, kind], member).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{kind}: {refused}");
            assert_eq!(refused.message(), "etcdserver: unknown alarm type");
            assert_eq!(alarm(&cluster, 0, [CLEAR, kind], member).unwrap(), []);
        }
    }
    assert_eq!(alarms(&cluster, 0), []);
    // As in etcd, alarms of unknown members can be raised, but only a limited number of them.
    let strangers = 1..=STRANGERS_ALARMS_MAX as u64;
    for member in strangers.clone() {
        assert_eq!(alarm(&cluster, 0, [RAISE, 1], member).unwrap().len(), 1);
    }
    let refused = alarm(&cluster, 0, [RAISE, 1], u64::MAX).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert_eq!(refused.message(), "etcdserver: member not found");
    for member in strangers {
        assert_eq!(alarm(&cluster, 0, [CLEAR, 1], member).unwrap().len(), 1);
    }
    put(&cluster, 0, "k", 1).unwrap();
    // etcd itself raises alarms of member 0, for corruption whose place is unknown.
    let raised = [(1, cluster.member_id(0)), (1, 0), (2, cluster.member_id(0)), (2, 0)];
    for (kind, member) in raised {
        for _ in 0..2 {
            assert_eq!(alarm(&cluster, 0, [RAISE, kind], member).unwrap().len(), 1);
        }
    }
    assert_eq!(alarms(&cluster, 0).len(), raised.len());
    for (kind, member) in raised {
        assert_eq!(alarm(&cluster, 0, [CLEAR, kind], member).unwrap().len(), 1);
    }
    put(&cluster, 0, "k", 1).unwrap();
}

/// A member's alarms are removed with the member; those of the whole cluster stay.
#[test]
fn alarms_of_a_removed_member_are_removed() {
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    let leaving = cluster.member_id(2);
    assert_eq!(alarm(&cluster, 0, [RAISE, 1], leaving).unwrap().len(), 1);
    assert_eq!(alarm(&cluster, 0, [RAISE, 2], 0).unwrap().len(), 1);
    cluster.members[2].kill();
    cluster.remove(0, 2);
    let left = alarms(&cluster, 0);
    assert_eq!(left.iter().map(|a| (a.alarm, a.member_id)).collect::<Vec<_>>(), [(2, 0)]);
}
