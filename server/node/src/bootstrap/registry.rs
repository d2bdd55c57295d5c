//! Meeting the other founders at a discovery service.
//!
//! The service is an etcd or Quorate cluster that serves other clusters to find together. Whoever
//! founds one with it puts their number under a token; each founder registers itself there and
//! waits until enough have:
//!
//! ```text
//!   /_etcd/registry/TOKEN/_config/size         3
//!   /_etcd/registry/TOKEN/members/ID           NAME=URL,NAME=URL
//! ```
//!
//! Those who were there first found the cluster. The keys and the rules are etcd's.

mod client;
mod roll;

use std::time::Duration;

use super::BootstrapError;
use crate::config::Registry;
use crate::config::url::Url;
use client::Client;
use roll::Roll;

/// Under this, all clusters have their keys.
const PREFIX: &str = "/_etcd/registry";
/// The pause before the service is asked again doubles with each failure, this often at most.
const DOUBLINGS_MAX: u32 = 8;

/// Why there is no cluster for this member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("discovery: size key not found; put the number of founders into {key}")]
    SizeNotFound { key: String },
    #[error("discovery: size key is bad: {key} holds {value:?}, which is no number of founders")]
    BadSize { key: String, value: String },
    #[error(
        "discovery: cluster is full: {size} others have registered before; do not reuse a token, \
         generate a new one for a new cluster"
    )]
    Full { size: usize },
    #[error("discovery: invalid peer URL: {problem}")]
    InvalidUrl { problem: String },
}

/// The keys of one cluster.
struct Keys {
    size: String,
    members: String,
}

impl Keys {
    fn new(token: &str) -> Self {
        // As etcd joins them: a token may have slashes around it.
        let token = token.trim_matches('/');
        Self {
            size: format!("{PREFIX}/{token}/_config/size"),
            members: format!("{PREFIX}/{token}/members"),
        }
    }

    fn member(&self, id: u64) -> String {
        format!("{}/{id:x}", self.members)
    }
}

/// Doubles from failure to failure.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    async fn wait(&mut self, failed: &tonic::Status) {
        self.0 = (self.0 + 1).min(DOUBLINGS_MAX);
        let pause = Duration::from_secs(1 << self.0);
        let error = client::reason(failed);
        tracing::warn!(error, ?pause, "the discovery service does not answer");
        tokio::time::sleep(pause).await;
    }
}

/// A founder at the service.
struct Founder<'a> {
    client: Client<'a>,
    keys: Keys,
    id: u64,
}

/// Registers this member, of this id and with these URLs, and waits until all founders have.
/// Returns the URLs of each founder.
///
/// # Errors
/// What makes waiting pointless. While the service cannot be reached, it is tried again.
pub(super) async fn join(
    registry: &Registry,
    id: u64,
    name: &str,
    peer_urls: &[Url],
) -> Result<Vec<Vec<Url>>, BootstrapError> {
    let members: Vec<String> = peer_urls.iter().map(|url| format!("{name}={url}")).collect();
    let client = Client::new(registry)?;
    let mut founder = Founder { client, keys: Keys::new(&registry.token), id };
    // Who comes too late must not even register.
    founder.check().await?;
    founder.register(&members.join(",")).await;
    Ok(founder.wait().await?)
}

impl Founder<'_> {
    /// The founders so far, how many there are to be, and the revision at which that was so.
    async fn check(&mut self) -> Result<(Roll, usize, i64), RegistryError> {
        let mut backoff = Backoff::default();
        loop {
            match self.look().await {
                Ok((size, roll, revision)) => {
                    let size = self.read_size(size)?;
                    return match roll.has_room(&self.keys.member(self.id), size) {
                        true => Ok((roll, size, revision)),
                        false => Err(RegistryError::Full { size }),
                    };
                }
                Err(failed) => backoff.wait(&failed).await,
            }
        }
    }

    /// What the service says, not judged.
    async fn look(&mut self) -> Result<(Option<String>, Roll, i64), tonic::Status> {
        let size = self.client.get(&self.keys.size, false).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let size = size.kvs.first().map(|kv| text(&kv.value));
        let members = self.client.get(&self.keys.members, true).await?;
        let mut roll = Roll::new();
        for kv in &members.kvs {
            roll.add(&text(&kv.key), &text(&kv.value), kv.create_revision);
        }
        Ok((size, roll, members.header.map_or(0, |header| header.revision)))
    }

    fn read_size(&self, size: Option<String>) -> Result<usize, RegistryError> {
        let key = self.keys.size.clone();
        let value = size.ok_or_else(|| RegistryError::SizeNotFound { key: key.clone() })?;
        match value.parse() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(RegistryError::BadSize { key, value }),
        }
    }

    async fn register(&mut self, members: &str) {
        let key = self.keys.member(self.id);
        let mut backoff = Backoff::default();
        while let Err(failed) = self.client.put(&key, members).await {
            backoff.wait(&failed).await;
        }
        tracing::info!(key, members, "registered at the discovery service");
    }

    async fn wait(&mut self) -> Result<Vec<Vec<Url>>, RegistryError> {
        let mut backoff = Backoff::default();
        loop {
            let (mut roll, size, revision) = self.check().await?;
            tracing::info!(size, found = roll.len(), "waiting for founders");
            if let Err(failed) = self.follow(&mut roll, size, revision).await {
                backoff.wait(&failed).await;
                continue;
            }
            tracing::info!(size, "found all founders");
            return roll.founders(size);
        }
    }

    /// Adds who registers behind `revision`, until there are enough.
    async fn follow(
        &mut self,
        roll: &mut Roll,
        size: usize,
        revision: i64,
    ) -> Result<(), tonic::Status> {
        if roll.len() >= size {
            return Ok(());
        }
        let mut watch = self.client.watch(&self.keys.members, revision + 1).await?;
        while roll.len() < size {
            for event in watch.next().await? {
                let Some(kv) = event.kv else { continue };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                roll.add(&text(&kv.key), &text(&kv.value), kv.create_revision);
            }
        }
        Ok(())
    }
}
