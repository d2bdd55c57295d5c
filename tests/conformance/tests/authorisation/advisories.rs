//! Known gaps of etcd's authorisation, each with the cells that would show it again. The verdicts
//! are written by hand, and the model must agree.

use crate::callers::Token::{self, Absent, Of};
use crate::matrix::{Cell, Matrix};
use crate::model::Verdict::{self, Denied, NoUser, Passes};

/// Requests by the beginning and the end of their names, the token of the caller, and the answer.
type Row = (&'static str, &'static str, Token, Verdict);

/// The rows of each advisory.
pub(crate) const ADVISORIES: &[(&str, &[Row])] = &[
    (
        "CVE-2026-33413: members, alarms, leases and compaction without a user",
        &[
            ("/etcdserverpb.Cluster/MemberList", "", Absent, NoUser),
            ("/etcdserverpb.Maintenance/Alarm", "GET", Absent, NoUser),
            ("/etcdserverpb.Maintenance/Alarm", "GET", Of("no-role"), Passes),
            ("/etcdserverpb.Maintenance/Alarm", "ACTIVATE", Of("owner"), Denied),
            ("/etcdserverpb.Maintenance/Status", "", Absent, NoUser),
            ("grant", "", Absent, NoUser),
            ("revoke nothing", "", Absent, NoUser),
            ("keep alive", "", Absent, NoUser),
            ("time to live", "", Absent, NoUser),
            ("leases", "", Absent, NoUser),
            ("compact", "", Absent, NoUser),
            ("compact", "", Of("owner"), Denied),
        ],
    ),
    (
        "CVE-2026-33343: keys in nested transactions",
        &[
            ("txn 2 ", ": range (\"b5\", \"\")", Of("a-owner"), Denied),
            ("txn 8 ", ": range (\"b5\", \"\")", Of("a-owner"), Denied),
            ("txn 8 ", ": compare (\"b5\", \"\")", Of("a-owner"), Denied),
            ("txn 3 ", ": delete (\"b/void\", \"\") false", Of("a-owner"), Denied),
            ("txn 5 ", ": Put { key: \"b5\", lease: 0, prev_kv: false }", Of("reader"), Denied),
            ("txn 8 ", ": Put { key: \"a5\", lease: 0, prev_kv: false }", Of("a-owner"), Passes),
        ],
    ),
    (
        "CVE-2026-44283: previous values and leases of puts in transactions",
        &[
            ("txn 1 ", ": Put { key: \"a5\", lease: 0, prev_kv: true }", Of("a-writer"), Denied),
            ("txn 4 ", ": Put { key: \"a5\", lease: 0, prev_kv: true }", Of("writer"), Denied),
            ("txn 1 ", ": Put { key: \"a9\", lease: 7004, prev_kv: false }", Of("a-owner"), Denied),
            ("txn 6 ", ": Put { key: \"a9\", lease: 7004, prev_kv: false }", Of("a-owner"), Denied),
            ("Put { key: \"a9\", lease: 7004, prev_kv: false }", "", Of("a-owner"), Denied),
            ("txn 1 ", ": delete (\"a/void\", \"\") true", Of("a-writer"), Denied),
        ],
    ),
    (
        "GHSA-xg4h-6gfc-h4m8: ranges without end",
        &[
            ("watch (\"a\", \"\\0\")", "", Of("a-owner"), Denied),
            ("watch (\"a\", \"\\0\")", "", Of("key-owner"), Denied),
            ("watch (\"n5\", \"\\0\")", "", Of("m-owner"), Passes),
            ("watch (\"\", \"\\0\")", "", Of("m-owner"), Denied),
            ("range (\"a\", \"\\0\")", "", Of("ab-owner"), Denied),
            ("stream (\"\\0\", \"\\0\")", "", Of("m-owner"), Denied),
        ],
    ),
    (
        "CVE-2023-32082: the keys of a lease",
        &[
            ("time to live 7003 true", "", Of("a-owner"), Denied),
            ("time to live 7003 false", "", Of("a-owner"), Passes),
            ("time to live 7002 true", "", Of("a-reader"), Passes),
            ("leases", "", Of("ab-owner"), Denied),
            ("leases", "", Of("reader"), Passes),
        ],
    ),
];

impl Matrix {
    /// The cells of a row, sent or not.
    pub(crate) fn cells_of(&self, (start, end, token, _): &Row) -> Vec<Cell> {
        let is_sender = |caller: &usize| self.callers[*caller].token == *token;
        let caller = (0..self.callers.len()).find(is_sender).expect("there is such a caller");
        let requests = self.requests.iter().enumerate();
        let named =
            requests.filter(|(_, one)| one.name.starts_with(start) && one.name.ends_with(end));
        named.map(|(request, _)| Cell { request, caller }).collect()
    }
}
