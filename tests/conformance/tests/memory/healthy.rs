//! A client that does nothing wrong while others do.

use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::healthy;
use quorate_test_support::server::Server;

use super::{PUT, succeeded};

/// How long its puts take alone, before anything else happens.
const ALONE: Duration = Duration::from_secs(1);

/// Puts one small value after the other until it is asked how that went.
pub(super) struct Healthy(healthy::Healthy);

impl Healthy {
    /// Begins, and returns when it has been alone for a while.
    pub(super) fn start(server: &Server) -> Self {
        let runtime = super::runtime();
        let connection = runtime.block_on(Connection::open(&server.address()));
        let put = pb::PutRequest { key: "healthy".into(), ..Default::default() };
        let put = [put.encode_to_vec().into()];
        Self(healthy::Healthy::start(ALONE, move || {
            succeeded(&runtime.block_on(connection.method(PUT, &put)));
            true
        }))
    }

    /// Ends; every put must have succeeded. Says how long they took.
    pub(super) fn finish(self, attack: &str) {
        let within = self.0.finish().map(|puts| puts.within(99).unwrap_or_default());
        let [alone, attacked] = within;
        eprintln!("{attack}: 99% of puts within {attacked:?}, alone within {alone:?}");
    }
}
