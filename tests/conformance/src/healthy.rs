//! A well-behaved client beside others that misbehave: it must be served meanwhile.

use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_support::server::Server;
use quorate_test_support::{healthy_client, wait};

use crate::raw::Connection;

/// How long the client runs alone, before the attack.
const ALONE: Duration = Duration::from_secs(1);
/// Puts that must succeed while the attack lasts.
const PUTS_MIN: usize = 20;
/// How long they may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes one small put after the other until it is finished.
pub struct HealthyClient(healthy_client::HealthyClient);

impl HealthyClient {
    /// Starts the client, and returns after it has run alone for a second.
    ///
    /// # Panics
    /// If the server does not serve it.
    pub fn start(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let address = server.address();
        let mut connection = None;
        let put = pb::PutRequest { key: "healthy".into(), ..Default::default() };
        let put = [put.encode_to_vec().into()];
        Self(healthy_client::HealthyClient::start(ALONE, move || {
            runtime.block_on(async {
                if connection.is_none() {
                    connection = Some(Connection::open(&address).await);
                }
                let connection = connection.as_ref().expect("it is open");
                connection.method("/etcdserverpb.KV/Put", &put).await.assert_ok();
            });
            true
        }))
    }

    /// Waits until the server has served the client during the attack, which must go on as long as
    /// that, and stops the client. Prints how long its puts took.
    ///
    /// # Panics
    /// If a put has failed, or too few have succeeded.
    pub fn finish(self, attack: &str) {
        let Self(client) = self;
        let served = wait::within(PATIENCE, || {
            (client.served() >= PUTS_MIN || client.has_ended()).then_some(())
        });
        let puts = client.served();
        assert!(served.is_some(), "{attack}: the healthy client made only {puts} puts");
        let within = client.finish().map(|puts| puts.within(99).unwrap_or_default());
        let [alone, attacked] = within;
        eprintln!("{attack}: 99% of puts within {attacked:?}, alone within {alone:?}");
    }
}
