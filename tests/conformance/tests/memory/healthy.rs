//! A well-behaved client, beside others that misbehave.

use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::healthy_client;
use quorate_test_support::server::Server;

use super::PUT;

/// How long the client runs alone, before the attack.
const ALONE: Duration = Duration::from_secs(1);

/// Makes one small put after the other until it is finished.
pub(super) struct HealthyClient(healthy_client::HealthyClient);

impl HealthyClient {
    /// Starts the client, and returns after it has run alone for [`ALONE`].
    pub(super) fn start(server: &Server) -> Self {
        let runtime = super::runtime();
        let connection = runtime.block_on(Connection::open(&server.address()));
        let put = pb::PutRequest { key: "healthy".into(), ..Default::default() };
        let put = [put.encode_to_vec().into()];
        Self(healthy_client::HealthyClient::start(ALONE, move || {
            runtime.block_on(connection.method(PUT, &put)).assert_ok();
            true
        }))
    }

    /// Stops the client. Every put must have succeeded. Prints how long the puts took.
    pub(super) fn finish(self, attack: &str) {
        let within = self.0.finish().map(|puts| puts.within(99).unwrap_or_default());
        let [alone, attacked] = within;
        eprintln!("{attack}: 99% of puts within {attacked:?}, alone within {alone:?}");
    }
}
