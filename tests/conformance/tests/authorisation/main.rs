//! Every RPC by every kind of caller: a model written here says which calls are permitted, and etcd
//! and Quorate must answer so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod advisories;
mod callers;
mod management;
mod matrix;
mod model;
mod requests;
mod setup;
mod transactions;

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::{FILE_DESCRIPTOR_SET, etcdserverpb::AlarmType};
use quorate_test_conformance::raw::Connection;
use quorate_test_conformance::server_pair::{PEER_URL, ServerPair};
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{block_on, program};

use matrix::{Cell, IN_FLIGHT, Matrix, Outcome, send};
use model::Verdict;
use requests::Shape;
use setup::{Tokens, prepare};

/// The work for a hash, as little as possible.
const FAST_HASHES: &str = "--bcrypt-cost=4";
/// The least number of cells.
const CELLS_MIN: usize = 20_000;

/// A sample has one of this many cells. No divisor of the number of callers, so that it has all.
const SAMPLED: usize = 4;

/// A prepared server, or members of a cluster.
struct Target {
    name: &'static str,
    matrix: Arc<Matrix>,
    connections: Arc<Vec<Connection>>,
    tokens: Tokens,
}

impl Target {
    async fn new(name: &'static str, peer_url: &str, addresses: &[String]) -> Self {
        let matrix = Arc::new(Matrix::new(peer_url));
        let mut connections = Vec::new();
        for address in addresses {
            connections.push(Connection::open(address).await);
        }
        let tokens = prepare(&connections[0], matrix.callers.len()).await;
        Self { name, matrix, connections: Arc::new(connections), tokens }
    }

    /// Sends cells, last of all those that change the data, and checks the answers.
    async fn check(&self, cells: &[Cell], has_space: bool) -> Vec<(Cell, Outcome)> {
        let mut parts = [(1, Vec::new()), (IN_FLIGHT, Vec::new()), (IN_FLIGHT, Vec::new())];
        for cell in cells {
            let request = &self.matrix.requests[cell.request];
            let part = match (request.changes_members(), request.is_last) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
            parts[part].1.push(*cell);
        }
        let mut answers = Vec::new();
        for (at_a_time, part) in parts {
            let outcomes =
                send(&self.matrix, &part, &self.connections, &self.tokens, at_a_time).await;
            answers.extend(part.into_iter().zip(outcomes));
        }
        let wrong = answers.iter().filter(|(cell, outcome)| {
            !self.matrix.is_right(*cell, outcome, has_space) && !self.may_differ(*cell, outcome)
        });
        let describe = |(cell, outcome): &(Cell, Outcome)| {
            let (name, verdict) = (self.matrix.name(*cell), self.matrix.verdict(*cell));
            format!("{name}: {outcome:?} instead of {verdict:?}")
        };
        let wrong: Vec<String> = wrong.map(describe).collect();
        let some = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{}: {} wrong answers:\n{some}", self.name, wrong.len());
        answers
    }

    /// Whether this answer of Quorate is a known difference from etcd.
    fn may_differ(&self, cell: Cell, outcome: &Outcome) -> bool {
        let request = &self.matrix.requests[cell.request];
        let is_missing = ["Snapshot", "Downgrade"].iter().any(|name| request.path.ends_with(name));
        let is_empty = request.path.ends_with("/Txn") && request.needs.keys.is_empty();
        let Outcome { code, text } = outcome;
        let is_refused = Verdict::NoUser.refusal() == Some((code.as_str(), text.as_str()));
        // etcd's observers get no error.
        let is_observer = request.shape == Shape::First && code != "0";
        let is_told = is_observer && self.matrix.verdict(cell) != Verdict::Passes;
        let differs = (is_missing && code == "12") || (is_empty && is_refused) || is_told;
        differs && self.name == "quorate"
    }

    /// Raises or lowers the alarm of a member without space.
    async fn set_space(&self, has_space: bool) {
        let action = if has_space { AlarmAction::Deactivate } else { AlarmAction::Activate };
        let connection = &self.connections[0];
        let status = "/etcdserverpb.Maintenance/Status";
        let answer = self.tokens.as_root(connection, status, &pb::StatusRequest {}).await;
        let member_id = answer.decode::<pb::StatusResponse>().header.unwrap().member_id;
        let alarm = AlarmType::Nospace as i32;
        let alarm = pb::AlarmRequest { action: action as i32, member_id, alarm };
        self.tokens.as_root(connection, "/etcdserverpb.Maintenance/Alarm", &alarm).await;
    }
}

/// A sample of the cells that can be sent again.
fn repeatable(matrix: &Matrix) -> Vec<Cell> {
    let is_repeatable = |cell: &Cell| {
        let request = &matrix.requests[cell.request];
        request.only.is_none() && !request.is_last && !request.is_claim()
    };
    matrix.cells().into_iter().filter(is_repeatable).step_by(SAMPLED).collect()
}

#[test]
fn every_request_is_permitted_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("permissions of etcd", &[FAST_HASHES]) else { return };
    let mut answers = Vec::new();
    for (name, server) in pair.both() {
        let of_server = block_on(async {
            let addresses = [server.address()];
            let target = Target::new(name, PEER_URL, &addresses).await;
            let sample = repeatable(&target.matrix);
            target.set_space(false).await;
            target.check(&sample, false).await;
            target.set_space(true).await;
            let cells = target.matrix.cells();
            assert!(cells.len() >= CELLS_MIN, "only {} cells", cells.len());
            (target.check(&cells, true).await, target)
        });
        answers.push(of_server);
    }
    let [(ours, quorate), (theirs, _)] = answers.try_into().ok().unwrap();
    let differ = ours
        .iter()
        .zip(&theirs)
        .filter(|((cell, ours), (_, theirs))| ours != theirs && !quorate.may_differ(*cell, ours));
    let differ = differ.map(|((cell, ours), (_, theirs))| {
        format!("{}: {ours:?}, etcd: {theirs:?}", quorate.matrix.name(*cell))
    });
    let differ: Vec<String> = differ.collect();
    assert!(differ.is_empty(), "{} answers differ:\n{}", differ.len(), differ.join("\n"));
    pair.assert_sound();
}

#[test]
fn members_of_a_cluster_permit_the_same() {
    let cluster = Cluster::start_new(&program::quorate(), 3, &[FAST_HASHES]);
    block_on(async {
        let addresses: Vec<String> = cluster.members.iter().map(|one| one.address()).collect();
        let target = Target::new("quorate", &cluster.members[0].peer_url(), &addresses).await;
        let cells: Vec<Cell> = target.matrix.cells().into_iter().step_by(SAMPLED).collect();
        target.check(&cells, true).await;
    });
}

#[test]
fn known_gaps_of_etcd_have_cells() {
    let matrix = Matrix::new(PEER_URL);
    assert_ne!(matrix.callers.len() % SAMPLED, 0, "a sample must have all callers");
    let sent = matrix.cells();
    for (advisory, rows) in advisories::ADVISORIES {
        for row in *rows {
            let cells = matrix.cells_of(row);
            assert!(cells.iter().any(|cell| sent.contains(cell)), "{advisory}: {row:?}");
            for cell in cells {
                assert_eq!(matrix.verdict(cell), row.3, "{advisory}: {}", matrix.name(cell));
            }
        }
    }
}

#[test]
fn every_rpc_has_cells() {
    let matrix = Matrix::new(PEER_URL);
    let asked: BTreeSet<String> =
        matrix.requests.iter().map(|request| request.path.to_owned()).collect();
    let mut defined = BTreeSet::new();
    for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
        for service in &file.service {
            let methods = service
                .method
                .iter()
                .map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            defined.extend(methods.filter(|path| !path.starts_with("/quorate.")));
        }
    }
    assert_eq!(asked, defined);
}
