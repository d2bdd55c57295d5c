//! Operations in transactions that nest up to eight deep, in branches that are executed and in
//! those that are not: both need the same rights.

use bytes::Bytes;
use quorate_proto::authpb::permission::Type::Read;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request as Op;

use crate::model::{Need, Needs};
use crate::requests::{LEASES, Put, RANGES, Range, Request, VOIDS, delete, needs_of_delete, range};

const PATH: &str = "/etcdserverpb.KV/Txn";
/// How deep transactions nest.
const DEPTHS: std::ops::RangeInclusive<usize> = 1..=8;

/// Where the operation is in each transaction around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the branches that are executed.
    Executed,
    /// In the branches that are not.
    Skipped,
    /// Only the outermost branch is not executed.
    OutermostSkipped,
    /// Only the innermost branch is not executed.
    InnermostSkipped,
}

impl Place {
    const ALL: [Self; 4] =
        [Self::Executed, Self::Skipped, Self::OutermostSkipped, Self::InnermostSkipped];

    /// Whether the branch around `inner` transactions of `depth` is executed.
    fn is_executed(self, inner: usize, depth: usize) -> bool {
        match self {
            Self::Executed => true,
            Self::Skipped => false,
            Self::OutermostSkipped => inner + 1 < depth,
            Self::InnermostSkipped => inner > 0,
        }
    }
}

/// An operation or comparison in a transaction.
struct Part {
    name: String,
    txn: Inner,
    needs: Vec<Need>,
    /// The code of the answer if it is executed.
    after: &'static str,
    /// Whether it adds data.
    adds: bool,
    /// Whether it may be executed.
    is_harmless: bool,
}

/// What the innermost transaction has.
enum Inner {
    Op(Op),
    Compare(pb::Compare),
    Nothing,
}

impl Part {
    fn new(name: String, txn: Inner, needs: Vec<Need>) -> Self {
        Self { name, txn, needs, after: "0", adds: false, is_harmless: true }
    }

    fn op(name: String, op: Op, needs: Vec<Need>) -> Self {
        Self::new(name, Inner::Op(op), needs)
    }

    /// The transaction with it, nested this deep.
    fn nested(&self, depth: usize, place: Place) -> pb::TxnRequest {
        let branch = |op: Op, inner: usize| {
            let ops = vec![pb::RequestOp { request: Some(op) }];
            if place.is_executed(inner, depth) {
                pb::TxnRequest { success: ops, ..Default::default() }
            } else {
                pb::TxnRequest { failure: ops, ..Default::default() }
            }
        };
        let innermost = match &self.txn {
            Inner::Op(op) => branch(op.clone(), 0),
            Inner::Compare(compare) => {
                pb::TxnRequest { compare: vec![compare.clone()], ..Default::default() }
            }
            Inner::Nothing => pb::TxnRequest::default(),
        };
        (1..depth).fold(innermost, |txn, inner| branch(Op::RequestTxn(txn), inner))
    }

    fn request(&self, depth: usize, place: Place) -> Request {
        let name = format!("txn {depth} {place:?}: {}", self.name);
        let needs = Needs::keys(self.needs.clone());
        let request = Request::new(name, PATH, &self.nested(depth, place), needs);
        let request = if self.adds { request.adding() } else { request };
        let is_executed = (0..depth).all(|inner| place.is_executed(inner, depth));
        if is_executed { request.after(self.after) } else { request }
    }
}

/// A comparison whose result does not matter.
fn compare((key, range_end): Range) -> pb::Compare {
    pb::Compare {
        result: CompareResult::NotEqual as i32,
        target: CompareTarget::Value as i32,
        key: key.into(),
        range_end: range_end.into(),
        target_union: Some(TargetUnion::Value(Bytes::from_static(b"other"))),
    }
}

fn parts() -> Vec<Part> {
    let mut parts = vec![Part::new("nothing".to_owned(), Inner::Nothing, Vec::new())];
    for one in RANGES {
        let read = || vec![(Read, one.0, one.1)];
        parts.push(Part::op(format!("range {one:?}"), Op::RequestRange(range(one)), read()));
        parts.push(Part::new(format!("compare {one:?}"), Inner::Compare(compare(one)), read()));
    }
    for prev_kv in [false, true] {
        for one in RANGES.into_iter().chain(VOIDS) {
            let op = Op::RequestDeleteRange(delete(one, prev_kv));
            let name = format!("delete {one:?} {prev_kv}");
            let is_harmless = VOIDS.contains(&one);
            parts.push(Part { is_harmless, ..Part::op(name, op, needs_of_delete(one, prev_kv)) });
        }
    }
    // Attaches a key to a lease without keys, so that the lease would have one.
    let attaching = Put { key: "a5", lease: LEASES[0].id, prev_kv: false };
    for put in Put::all().into_iter().chain([attaching]) {
        let op = Op::RequestPut(put.message());
        let part = Part::op(format!("{put:?}"), op, put.needs());
        let is_harmless = put.lease != attaching.lease;
        parts.push(Part { after: put.after(), adds: true, is_harmless, ..part });
    }
    parts
}

/// Two branches with one operation each: the first is permitted to more callers than the second.
fn mixed(depth: usize) -> Request {
    let [first, second] = [("a5", ""), ("b5", "")].map(|one| {
        let op = Op::RequestRange(range(one));
        Part::op(String::new(), op, Vec::new()).nested(depth, Place::Skipped)
    });
    let op = |txn| pb::RequestOp { request: Some(Op::RequestTxn(txn)) };
    let txn = pb::TxnRequest { success: vec![op(first), op(second)], ..pb::TxnRequest::default() };
    let needs = vec![(Read, "a5", ""), (Read, "b5", "")];
    Request::new(format!("txn {depth} of two"), PATH, &txn, Needs::keys(needs))
}

/// All transactions.
pub(crate) fn all() -> Vec<Request> {
    let mut requests: Vec<Request> = DEPTHS.map(mixed).collect();
    for (number, part) in parts().iter().enumerate() {
        for depth in DEPTHS {
            let places = Place::ALL.into_iter().filter(|place| {
                let is_executed = (0..depth).all(|inner| place.is_executed(inner, depth));
                part.is_harmless || !is_executed
            });
            let places: Vec<Place> = places.collect();
            // Two of the places at each depth, so that all meet all depths over the parts.
            let chosen = [number + depth, number + depth + 1].map(|at| places[at % places.len()]);
            requests.extend(chosen.map(|place| part.request(depth, place)));
        }
    }
    requests
}
