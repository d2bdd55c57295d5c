//! Users, logins and certificates.

use std::fs;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Error, Identity, Permission, PutOptions, TlsOptions,
    WatchStream,
};

use crate::{Outcome, Run, failure, options};

/// How long a connection that is to be refused is tried.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// The user that may use the keys of this run.
pub fn worker(password: &str) -> ConnectOptions {
    // The members learn of a token one after the other.
    options().with_user("worker", password).with_auto_token_refresh(true)
}

/// Changes users and roles of its own, while authentication is off.
pub async fn users(run: &Run, client: &mut Client) -> Outcome {
    let name = || run.key("user");
    client.user_add(name(), "password", None).await?;
    let again = failure(client.user_add(name(), "password", None).await);
    client.role_add(name()).await?;
    let permission = Permission::read_write("a").with_range_end("b");
    client.role_grant_permission(name(), permission).await?;
    client.user_grant_role(name(), name()).await?;
    let roles = client.user_get(name()).await?.roles().len();
    let permissions = client.role_get(name()).await?.permissions();
    client.user_delete(name()).await?;
    client.role_delete(name()).await?;
    let gone = failure(client.user_get(name()).await);
    Ok(format!("{again}; {roles} role, {permissions:?}; {gone}"))
}

/// Watches a key. The members learn of a token one after the other, and the client does not try a
/// watch again.
async fn begin(run: &Run, client: &mut Client, name: &str) -> Result<WatchStream, Error> {
    loop {
        let mut watch = client.watch(run.key(name), None).await?;
        let begun = watch.message().await?.expect("the watch goes on");
        if begun.created() && !begun.canceled() {
            return Ok(watch);
        }
        assert!(begun.cancel_reason().contains("invalid auth token"), "{begun:?}");
    }
}

/// Uses a key as the user.
async fn use_keys(run: &Run, mut client: Client, name: &str) -> Outcome {
    let mut watch = begin(run, &mut client, name).await?;
    let id = client.lease_grant(60, None).await?.id();
    client.put(run.key(name), "1", Some(PutOptions::new().with_lease(id))).await?;
    let seen = run.events(&mut watch, 1).await?;
    client.lease_revoke(id).await?;
    let left = client.get(run.key(name), None).await?.count();
    Ok(format!("{seen}, then {left} keys"))
}

pub async fn login(run: &Run) -> Outcome {
    use_keys(run, run.connect(worker("work")).await?, "login").await
}

pub async fn denied(run: &Run) -> Outcome {
    let mut client = run.connect(worker("work")).await?;
    let foreign = failure(client.put("elsewhere", "1", None).await);
    let admin = failure(client.user_list().await);
    let mut stranger = run.connect(options()).await?;
    let anonymous = failure(stranger.get(run.key("login"), None).await);
    Ok(format!("{foreign}; {admin}; {anonymous}"))
}

/// The certificate of the servers' authority.
fn trust(run: &Run) -> Result<TlsOptions, Error> {
    let authority = fs::read(format!("{}/ca.crt", run.certificates))?;
    Ok(TlsOptions::new().ca_certificate(Certificate::from_pem(authority)))
}

pub async fn over_tls(run: &Run) -> Outcome {
    let [certificate, key] =
        ["client.crt", "client.key"].map(|name| fs::read(format!("{}/{name}", run.certificates)));
    let tls = trust(run)?.identity(Identity::from_pem(certificate?, key?));
    let client = Client::connect(&run.secure, Some(worker("work").with_tls(tls))).await?;
    use_keys(run, client, "tls").await
}

pub async fn without_certificate(run: &Run) -> Outcome {
    let options = options().with_tls(trust(run)?);
    let mut stranger = Client::connect(&run.secure, Some(options)).await?;
    let asked = tokio::time::timeout(REFUSED_WITHIN, stranger.get(run.key("tls"), None)).await;
    Ok(format!("refused: {}", !matches!(asked, Ok(Ok(_)))))
}
