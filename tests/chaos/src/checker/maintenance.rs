//! Compaction and hashes.

use std::collections::BTreeMap;

use quorate_proto::etcdserverpb::HashKvResponse;
use quorate_proto::etcdserverpb::request_op::Request as Op;
use tonic::Code;

use super::order::Floor;
use super::violation::{Rule, Violation, ensure};
use crate::history::{History, Operation, Outcome, Request, Response};

/// The known compacted revision and hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct Maintenance {
    /// Everything below this revision is compacted.
    compacted: i64,
    /// Hashes by compacted revision and the revision up to which they were taken.
    hashes: BTreeMap<(i64, i64), u32>,
    /// Whether the campaign fills disks.
    disks_fill: bool,
}

impl Maintenance {
    /// Disks may be full: requests that add data may be refused for lack of space.
    pub(super) fn expect_full_disks(&mut self) {
        self.disks_fill = true;
    }

    /// The compacted revision. After the check of a period, exactly the revisions below it are
    /// compacted.
    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Checks compactions, refusals and hashes. Returns how many hashes were compared with an
    /// earlier one.
    pub(super) fn check(
        &mut self,
        history: &History,
        floors: &[Floor],
    ) -> Result<usize, Violation> {
        let operations = &history.operations;
        let asked: Vec<(i64, &Operation)> = operations
            .iter()
            .filter_map(|operation| match operation.request {
                Request::Compact(compact) => Some((compact.revision, operation)),
                _ => None,
            })
            .collect();
        let mut compared = 0;
        for (operation, floor) in operations.iter().zip(floors) {
            let surely = self.surely_compacted(&asked, operation);
            let possibly = self.possibly_compacted(&asked, operation);
            check_reads(operation, surely)?;
            check_refusal(operation, possibly, floor, self.disks_fill)?;
            if let Some(Response::HashKv(hash)) = operation.response() {
                let known = surely..=possibly;
                ensure(
                    known.contains(&hash.compact_revision.max(0)),
                    Rule::WrongCompaction,
                    || {
                        format!(
                            "the compacted revision must lie in {known:?}, but is in {operation}"
                        )
                    },
                )?;
                compared += usize::from(self.check_hash(hash, operation)?);
            }
        }
        self.learn_compaction(history);
        Ok(compared)
    }

    fn surely_compacted(&self, asked: &[(i64, &Operation)], before: &Operation) -> i64 {
        let done = asked.iter().filter(|(_, compaction)| {
            // A member that answers from its own state may lag behind: only its own compactions
            // count.
            let known = !before.request.is_local() || compaction.member == before.member;
            compaction.response().is_some() && compaction.returned < before.invoked && known
        });
        done.map(|(revision, _)| *revision).max().unwrap_or(0).max(self.compacted)
    }

    fn possibly_compacted(&self, asked: &[(i64, &Operation)], before: &Operation) -> i64 {
        let begun = asked.iter().filter(|(_, compaction)| {
            let never = matches!(compaction.outcome, Outcome::Refused(..) | Outcome::NotSent(_));
            !never && compaction.invoked < before.returned && compaction.id != before.id
        });
        begun.map(|(revision, _)| *revision).max().unwrap_or(0).max(self.compacted)
    }

    /// Returns whether an earlier hash of the same revisions was known.
    fn check_hash(&mut self, hash: &HashKvResponse, by: &Operation) -> Result<bool, Violation> {
        let covers = (hash.compact_revision, hash.hash_revision);
        let Some(before) = self.hashes.insert(covers, hash.hash) else { return Ok(false) };
        ensure(before == hash.hash, Rule::WrongHash, || {
            format!("the hash of the same revisions was {before}, but not in {by}")
        })?;
        Ok(true)
    }

    /// Takes the compacted revision from the hashes of the audit.
    fn learn_compaction(&mut self, history: &History) {
        let since = history.audit.since;
        let audited = history.operations.iter().filter(|operation| operation.invoked > since);
        for operation in audited {
            if let Some(Response::HashKv(hash)) = operation.response() {
                self.compacted = self.compacted.max(hash.compact_revision);
            }
        }
        let compacted = self.compacted;
        self.hashes.retain(|(at, _), _| (*at).max(0) >= compacted);
    }
}

/// The past revisions that a request reads explicitly.
fn past_revisions(request: &Request) -> Vec<i64> {
    let revisions = match request {
        Request::Range(range) => vec![range.revision],
        Request::Txn(txn) => {
            let ops = txn.success.iter().chain(&txn.failure);
            let revisions = ops.map(|op| match &op.request {
                Some(Op::RequestRange(range)) => range.revision,
                _ => 0,
            });
            revisions.collect()
        }
        Request::HashKv(hash) => vec![hash.revision],
        _ => Vec::new(),
    };
    revisions.into_iter().filter(|revision| *revision > 0).collect()
}

/// The error text of a write for which there is no space.
const NO_SPACE: &str = "database space exceeded";

/// A read below a revision that is certainly compacted must not be answered.
fn check_reads(operation: &Operation, surely: i64) -> Result<(), Violation> {
    let answered = operation.response().is_some();
    let low = past_revisions(&operation.request).into_iter().find(|revision| *revision < surely);
    ensure(!answered || low.is_none(), Rule::WrongCompaction, || {
        format!("{surely} was compacted before {operation}")
    })
}

/// Every refusal must have a reason; `leases` checks the refusals for a missing lease.
fn check_refusal(
    operation: &Operation,
    possibly: i64,
    floor: &Floor,
    disks_fill: bool,
) -> Result<(), Violation> {
    let Outcome::Refused(code, text) = &operation.outcome else { return Ok(()) };
    if *code == Code::NotFound && operation.request.lease() != 0 {
        return Ok(());
    }
    // The checker does not know which disk was full at which time.
    let adds = operation.request.may_write() || matches!(operation.request, Request::LeaseGrant(_));
    if disks_fill && *code == Code::ResourceExhausted && text.contains(NO_SPACE) && adds {
        return Ok(());
    }
    // A member that lags behind refuses reads of revisions that it has not applied.
    let because_future = *code == Code::OutOfRange && text.contains("future revision");
    let has_come_to = floor.member_revision();
    let lags = past_revisions(&operation.request).into_iter().any(|past| past > has_come_to);
    if because_future && operation.request.is_local() && lags {
        return Ok(());
    }
    let because_compacted = *code == Code::OutOfRange && text.contains("compacted");
    let compacted = match &operation.request {
        Request::Compact(compact) => compact.revision <= possibly,
        request => past_revisions(request).into_iter().any(|revision| revision < possibly),
    };
    ensure(because_compacted && compacted, Rule::WrongRefusal, || {
        format!("no reason to refuse {operation}; at most {possibly} was compacted")
    })
}
