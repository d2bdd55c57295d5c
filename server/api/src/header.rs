//! The header of answers and watch messages.

use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::Member;

/// A header with this member's ids, the given revision, and the current term.
pub(crate) fn header(member: &Member, revision: i64) -> ResponseHeader {
    let identity = member.identity();
    let raft_term = member.status_now().term;
    let cluster_id = identity.cluster_id;
    let member_id = identity.member_id;
    ResponseHeader { cluster_id, member_id, revision, raft_term }
}
