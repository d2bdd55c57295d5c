//! The Lease: of several operators, only its holder acts.
//!
//! The holder renews the Lease at a third of its duration. It stops acting some time before another
//! operator may take the Lease, by a clock that only goes forward and that also counts suspended
//! time. Another operator takes the Lease once that operator has seen no change of the Lease for
//! the whole duration of the Lease, by its own clock. The times in the Lease are for people,
//! because clocks of machines differ.
//!
//! A process that was stopped and goes on finds its gate closed. Its earlier requests may still
//! arrive. They do no harm: writes to objects name the state that they expect, and changes of the
//! store's members name the configuration index that they expect.

mod rules;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::{sleep, timeout};

use self::rules::{Decision, decide};
use crate::error::is_conflict;
use crate::gate::{Gate, Moment};

/// How long a Lease that does not change belongs to its holder.
const DURATION: Duration = Duration::from_secs(15);
/// How often the holder renews the Lease, and how often others look at it.
const PERIOD: Duration = Duration::from_secs(5);
/// How long before the end of the Lease its holder stops acting. Its last requests have this time
/// to arrive.
const MARGIN: Duration = Duration::from_secs(4);
/// How soon a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

const _: () = assert!(DURATION.as_millis() == 3 * PERIOD.as_millis());
const _: () = assert!(
    PERIOD.as_millis() + REQUEST_TIMEOUT.as_millis() + RETRY.as_millis()
        < DURATION.as_millis() - MARGIN.as_millis(),
    "a renewal that fails once must not end the holder's work"
);

/// Another operator holds the Lease, or this one could not renew it in time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the Lease is lost: {0}")]
pub struct Lost(String);

/// The Lease, as one process uses it.
pub struct Lease {
    api: Api<v1::Lease>,
    name: String,
    /// The name of this process, which no other one ever has.
    me: String,
    gate: Gate,
    /// The Lease as it was read or written last, and the time of that.
    seen: Option<(v1::Lease, Moment)>,
}

impl Lease {
    /// A Lease that this process does not hold.
    #[must_use]
    pub fn new(api: Api<v1::Lease>, name: String, me: String, gate: Gate) -> Self {
        Self { api, name, me, gate, seen: None }
    }

    /// Waits until this process holds the Lease. `looked` is called after each look at it.
    pub async fn acquire(&mut self, looked: impl Fn()) {
        loop {
            match self.try_acquire().await {
                Ok(true) => return,
                Ok(false) => looked(),
                Err(error) => tracing::warn!(%error, "the Lease cannot be read or taken"),
            }
            sleep(PERIOD).await;
        }
    }

    async fn try_acquire(&mut self) -> Result<bool, String> {
        let lease = self.read().await?;
        let now = Moment::now();
        let version = |lease: &v1::Lease| lease.metadata.resource_version.clone();
        let is_new = match (&self.seen, &lease) {
            (Some((seen, _)), Some(lease)) => version(seen) != version(lease),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if is_new {
            self.seen = lease.clone().map(|lease| (lease, now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        match decide(lease.as_ref(), &self.me, now.since(since), DURATION) {
            Decision::Wait => Ok(false),
            Decision::Create | Decision::Take => self.write(lease, true).await,
        }
    }

    /// Renews the Lease until it is lost.
    pub async fn keep(&mut self) -> Lost {
        loop {
            sleep(PERIOD).await;
            loop {
                match self.renew().await {
                    Ok(true) => break,
                    Ok(false) => return Lost("another operator has taken it".to_owned()),
                    Err(error) if self.gate.check().is_err() => return Lost(error),
                    Err(error) => tracing::warn!(%error, "the Lease is not renewed"),
                }
                sleep(RETRY).await;
            }
        }
    }

    async fn renew(&mut self) -> Result<bool, String> {
        let seen = self.seen.as_ref().map(|(lease, _)| lease.clone());
        if self.write(seen, false).await? {
            return Ok(true);
        }
        // Another writer changed it: perhaps only a label, or an earlier renewal without an answer.
        let lease = self.read().await?;
        let is_mine = |lease: &v1::Lease| holder(lease) == Some(self.me.as_str());
        match lease {
            Some(lease) if is_mine(&lease) => self.write(Some(lease), false).await,
            _ => Ok(false),
        }
    }

    /// Gives the Lease up, so that another operator need not wait for its end. This process must
    /// not act any more.
    pub async fn release(mut self) {
        self.gate.open_until(Moment::now());
        let Some((mut lease, _)) = self.seen.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        let parameters = PostParams::default();
        let replaced = self.api.replace(&self.name, &parameters, &lease);
        match timeout(REQUEST_TIMEOUT, replaced).await {
            Ok(Ok(_)) => tracing::info!("the Lease is released"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease is not released"),
            Err(_) => tracing::warn!("the Lease is not released in time"),
        }
    }

    async fn read(&self) -> Result<Option<v1::Lease>, String> {
        let lease = timeout(REQUEST_TIMEOUT, self.api.get_opt(&self.name)).await;
        lease.map_err(|_| "timed out".to_owned())?.map_err(|error| error.to_string())
    }

    /// Writes this process as the holder. False if the Lease was written by another one since.
    async fn write(&mut self, lease: Option<v1::Lease>, is_taken: bool) -> Result<bool, String> {
        let now = Moment::now();
        let is_there = lease.is_some();
        let lease = self.held(lease, is_taken);
        let parameters = PostParams::default();
        let written = async {
            if is_there {
                self.api.replace(&self.name, &parameters, &lease).await
            } else {
                self.api.create(&parameters, &lease).await
            }
        };
        match timeout(REQUEST_TIMEOUT, written).await {
            Ok(Ok(lease)) => {
                // This process counts from before the request: the others count from after it.
                self.gate.open_until(now.after(DURATION - MARGIN));
                self.seen = Some((lease, now));
                Ok(true)
            }
            Ok(Err(error)) if is_conflict(&error) => Ok(false),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        }
    }

    fn held(&self, lease: Option<v1::Lease>, is_taken: bool) -> v1::Lease {
        let mut lease = lease.unwrap_or_else(|| v1::Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now.clone());
        if is_taken {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count + 1));
        }
        lease
    }
}

/// The holder of a Lease; none if it is free.
fn holder(lease: &v1::Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}
