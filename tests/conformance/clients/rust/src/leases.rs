//! Leases, locks and elections.

use std::time::Duration;

use etcd_client::{
    Client, Error, LeaseTimeToLiveOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions,
    WatchOptions,
};

use crate::{Outcome, Run, failure, text};

/// How long a lock that is held is tried.
const BUSY_FOR: Duration = Duration::from_millis(200);
const LONG_SECONDS: i64 = 60;

pub async fn lease(run: &Run, client: &mut Client) -> Outcome {
    let granted = client.lease_grant(LONG_SECONDS, None).await?;
    let (id, ttl) = (granted.id(), granted.ttl());
    let leased = PutOptions::new().with_lease(id);
    client.put(run.key("leased"), "1", Some(leased)).await?;
    let (mut keeper, mut renewals) = client.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    let renewed = renewals.message().await?.map(|renewal| renewal.ttl());
    let with_keys = LeaseTimeToLiveOptions::new().with_keys();
    let about = client.lease_time_to_live(id, Some(with_keys)).await?;
    client.lease_revoke(id).await?;
    let left = client.get(run.key("leased"), None).await?.count();
    let again = failure(client.lease_revoke(id).await);
    let (granted, keys) = (about.granted_ttl(), about.keys().len());
    let said = format!("{ttl}, renewed {renewed:?}, granted {granted} with {keys}");
    Ok(format!("{said}, then {left} keys; {again}"))
}

pub async fn expiry(run: &Run, client: &mut Client) -> Outcome {
    let granted = client.lease_grant(1, None).await?;
    let (id, ttl) = (granted.id(), granted.ttl());
    let leased = PutOptions::new().with_lease(id);
    let answer = client.put(run.key("expires"), "1", Some(leased)).await?;
    let from = answer.header().expect("a header").revision();
    let options = WatchOptions::new().with_start_revision(from);
    let mut watch = run.watch(client, "expires", options).await?;
    let seen = run.events(&mut watch, 2).await?;
    let left = client.lease_time_to_live(id, None).await?.ttl();
    Ok(format!("{ttl}, {seen}, then {left}"))
}

/// Two long leases.
async fn two(client: &mut Client) -> Result<[i64; 2], Error> {
    let first = client.lease_grant(LONG_SECONDS, None).await?.id();
    Ok([first, client.lease_grant(LONG_SECONDS, None).await?.id()])
}

pub async fn lock(run: &Run, client: &mut Client) -> Outcome {
    let [first, second] = (two(client).await?).map(|id| Some(LockOptions::new().with_lease(id)));
    let held = client.lock(run.key("lock"), first).await?;
    let mut other = client.clone();
    let waiting = tokio::spawn({
        let key = run.key("lock");
        async move { other.lock(key, second).await }
    });
    tokio::pin!(waiting);
    let is_busy = tokio::time::timeout(BUSY_FOR, &mut waiting).await.is_err();
    client.unlock(held.key()).await?;
    let taken = waiting.await.expect("it does not panic")?;
    client.unlock(taken.key()).await?;
    Ok(format!("{is_busy}, then taken: {}", taken.key() != held.key()))
}

pub async fn election(run: &Run, client: &mut Client) -> Outcome {
    let name = || run.key("election");
    let [first, second] = two(client).await?;
    let won = client.campaign(name(), "one", first).await?;
    let leader = won.leader().expect("it won").clone();
    let seen = client.leader(name()).await?.kv().map(text);
    let again = ProclaimOptions::new().with_leader(leader.clone());
    client.proclaim("one again", Some(again)).await?;
    let mut observed = client.observe(name()).await?;
    let proclaimed = observed.message().await?.and_then(|leader| leader.kv().map(text));
    let mut other = client.clone();
    let next = tokio::spawn({
        let name = name();
        async move { other.campaign(name, "two", second).await }
    });
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    let won = next.await.expect("it does not panic")?;
    let followed = observed.message().await?.and_then(|leader| leader.kv().map(text));
    let successor = won.leader().expect("it won").clone();
    client.resign(Some(ResignOptions::new().with_leader(successor))).await?;
    let none = failure(client.leader(name()).await);
    Ok(format!("{seen:?}, {proclaimed:?}, {followed:?}, {none}"))
}
