//! The puts of the well-behaved client.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::runtime::{self, Runtime};

use crate::client::message::{self, Rpc};
use crate::client::{Connection, Drivers};

/// A key that no attack reads.
const KEY: u64 = 1 << 40;
const VALUE_BYTES: usize = 16;
/// Pause after a failed put, so that a dead server is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(10);

/// A client with one connection, which it opens anew after a failed put.
pub(super) struct Client {
    runtime: Runtime,
    address: String,
    connection: Option<(Connection, Drivers)>,
    put: Bytes,
}

impl Client {
    pub(super) fn open(address: &str) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let put = message::framed(&message::put(KEY, &message::value(VALUE_BYTES)));
        let connection = Some(runtime.block_on(connect(address)).context("a healthy client")?);
        Ok(Self { runtime, address: address.to_owned(), connection, put })
    }

    /// Makes one put, and returns whether it succeeded.
    pub(super) fn put(&mut self) -> bool {
        let outcome = self.runtime.block_on(async {
            if self.connection.is_none() {
                self.connection = Some(connect(&self.address).await?);
            }
            let (connection, _) = self.connection.as_ref().context("it is there")?;
            connection.call(Rpc::Put, self.put.clone(), drop).await
        });
        if outcome.is_err() {
            self.connection = None;
            std::thread::sleep(PAUSE);
        }
        outcome.is_ok()
    }
}

async fn connect(address: &str) -> Result<(Connection, Drivers)> {
    let mut drivers = Drivers::new();
    Ok((Connection::open(address, &mut drivers).await?, drivers))
}
