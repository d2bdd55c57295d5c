//! Finds the other founders by a discovery service.
//!
//! The service is an etcd or Quorate cluster where the founders of another cluster register. The
//! operator chooses a token and puts the number of founders under it. Each founder registers itself
//! under the token and waits until enough founders have registered:
//!
//! ```text
//!   /_etcd/registry/TOKEN/_config/size         3
//!   /_etcd/registry/TOKEN/members/ID           NAME=URL,NAME=URL
//! ```
//!
//! The first members to register found the cluster. The keys and the rules are etcd's.

mod client;
pub(super) mod error;
mod registrations;

use std::time::Duration;

use quorate_raft::root_cause;

use super::error::BootstrapError;
use crate::config::Discovery;
use crate::config::url::Url;
use client::Client;
use error::DiscoveryError;
use registrations::Registrations;

/// Prefix of the keys of all clusters.
const PREFIX: &str = "/_etcd/registry";
/// Limit of the pause between retries, which doubles with each failure: 2^8 seconds.
const DOUBLINGS_MAX: u32 = 8;

/// The keys of one cluster.
struct Keys {
    size: String,
    members: String,
}

impl Keys {
    fn new(token: &str) -> Self {
        // As in etcd, slashes around the token are ignored.
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

/// The number of failures so far. The pause between retries doubles with each.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    async fn wait(&mut self, failed: &tonic::Status) {
        self.0 = (self.0 + 1).min(DOUBLINGS_MAX);
        let pause = Duration::from_secs(1 << self.0);
        let error = root_cause(failed);
        tracing::warn!(error, ?pause, "the discovery service does not answer");
        tokio::time::sleep(pause).await;
    }
}

/// A founder that uses the service.
struct Founder<'a> {
    client: Client<'a>,
    keys: Keys,
    id: u64,
}

/// Registers this member and waits until all founders have registered. Returns the URLs of each
/// founder. Retries while the service cannot be reached.
///
/// # Errors
/// The registrations are invalid, or the cluster is full: waiting would not help.
pub(super) async fn join(
    service: &Discovery,
    id: u64,
    name: &str,
    peer_urls: &[Url],
) -> Result<Vec<Vec<Url>>, BootstrapError> {
    let members: Vec<String> = peer_urls.iter().map(|url| format!("{name}={url}")).collect();
    let client = Client::new(service)?;
    let mut founder = Founder { client, keys: Keys::new(&service.token), id };
    // A member that is too late must not even register.
    founder.check().await?;
    founder.register(&members.join(",")).await;
    Ok(founder.wait().await?)
}

impl Founder<'_> {
    /// The founders so far, the number of founders of the cluster, and the revision of the read.
    async fn check(&mut self) -> Result<(Registrations, usize, i64), DiscoveryError> {
        let mut backoff = Backoff::default();
        loop {
            match self.look().await {
                Ok((size, registrations, revision)) => {
                    let size = self.read_size(size)?;
                    return if registrations.has_room(&self.keys.member(self.id), size) {
                        Ok((registrations, size, revision))
                    } else {
                        Err(DiscoveryError::Full { size })
                    };
                }
                Err(failed) => backoff.wait(&failed).await,
            }
        }
    }

    /// Reads the unparsed size, the registrations and the revision.
    async fn look(&mut self) -> Result<(Option<String>, Registrations, i64), tonic::Status> {
        let size = self.client.get(&self.keys.size, false).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let size = size.kvs.first().map(|kv| text(&kv.value));
        let members = self.client.get(&self.keys.members, true).await?;
        let mut registrations = Registrations::default();
        for kv in &members.kvs {
            registrations.add(&text(&kv.key), &text(&kv.value), kv.create_revision);
        }
        Ok((size, registrations, members.header.map_or(0, |header| header.revision)))
    }

    fn read_size(&self, size: Option<String>) -> Result<usize, DiscoveryError> {
        let key = self.keys.size.clone();
        let value = size.ok_or_else(|| DiscoveryError::SizeNotFound { key: key.clone() })?;
        match value.parse() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(DiscoveryError::BadSize { key, value }),
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

    async fn wait(&mut self) -> Result<Vec<Vec<Url>>, DiscoveryError> {
        let mut backoff = Backoff::default();
        loop {
            let (mut registrations, size, revision) = self.check().await?;
            tracing::info!(size, found = registrations.len(), "waiting for founders");
            if let Err(failed) = self.follow(&mut registrations, size, revision).await {
                backoff.wait(&failed).await;
                continue;
            }
            tracing::info!(size, "found all founders");
            return registrations.founders(size);
        }
    }

    /// Watches for registrations after `revision` and adds them until there are enough.
    async fn follow(
        &mut self,
        registrations: &mut Registrations,
        size: usize,
        revision: i64,
    ) -> Result<(), tonic::Status> {
        if registrations.len() >= size {
            return Ok(());
        }
        let mut watch = self.client.watch(&self.keys.members, revision + 1).await?;
        while registrations.len() < size {
            for event in watch.next().await? {
                let Some(kv) = event.kv else { continue };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                registrations.add(&text(&kv.key), &text(&kv.value), kv.create_revision);
            }
        }
        Ok(())
    }
}
