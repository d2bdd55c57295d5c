//! Checks the Rust client etcd-client: see `../build.sh` for the arguments, the lines and the
//! pauses.

#![forbid(unsafe_code)]

mod keys;
mod leases;
mod users;

use std::env;
use std::io;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, KeyValue, WatchOptions, WatchStream};

/// The time limit of a request.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// The outcome of a check, or the error that fails the program.
type Outcome = Result<String, Error>;

/// The data of a check.
struct Run {
    members: Vec<String>,
    secure: Vec<String>,
    /// The folder of certificates.
    certificates: String,
    /// The start of all keys.
    prefix: String,
}

impl Run {
    /// A key of this run.
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A client of all members.
    async fn connect(&self, options: ConnectOptions) -> Result<Client, Error> {
        Client::connect(&self.members, Some(options)).await
    }

    /// A key with its value.
    fn pair(&self, pair: &KeyValue) -> String {
        let key = String::from_utf8_lossy(pair.key()).replacen(&self.prefix, "", 1);
        format!("{key}={}", text(pair))
    }

    fn list(&self, pairs: &[KeyValue]) -> String {
        pairs.iter().map(|pair| self.pair(pair)).collect::<Vec<_>>().join(" ")
    }

    /// Sets a key and returns the revision.
    async fn put(&self, client: &mut Client, name: &str, value: &str) -> Result<i64, Error> {
        let answer = client.put(self.key(name), value, None).await?;
        Ok(answer.header().expect("a header").revision())
    }

    /// A watch that the server has begun.
    async fn watch(
        &self,
        client: &mut Client,
        name: &str,
        options: WatchOptions,
    ) -> Result<WatchStream, Error> {
        let mut watch = client.watch(self.key(name), Some(options)).await?;
        let begun = watch.message().await?.expect("the watch goes on");
        assert!(begun.created() && !begun.canceled(), "{begun:?}");
        Ok(watch)
    }

    /// This many events of a watch.
    async fn events(&self, watch: &mut WatchStream, count: usize) -> Outcome {
        let mut texts = Vec::new();
        while texts.len() < count {
            let answer = watch.message().await?.expect("the watch goes on");
            assert!(!answer.canceled(), "{answer:?}");
            texts.extend(answer.events().iter().map(|event| {
                let before = event.prev_kv().map(|pair| format!(" was {}", text(pair)));
                let pair = self.pair(event.kv().expect("an event has a key"));
                format!("{:?} {pair}{}", event.event_type(), before.unwrap_or_default())
            }));
        }
        Ok(texts.join(", "))
    }
}

/// A value.
fn text(pair: &KeyValue) -> String {
    String::from_utf8_lossy(pair.value()).into_owned()
}

/// The error of a request that must fail.
fn failure<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => panic!("it does not fail"),
        Err(Error::GRpcStatus(status)) => format!("{:?} {}", status.code(), status.message()),
        Err(error) => error.to_string(),
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new().with_connect_timeout(REQUEST_WITHIN)
}

fn say(check: &str, outcome: &str) {
    println!("{check}: {outcome}");
}

/// Waits until the test lets the program continue.
fn pause(before: &str) -> Result<(), Error> {
    println!("before {before}");
    let read = io::stdin().read_line(&mut String::new())?;
    assert!(read > 0, "the test has ended");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().expect("four arguments");
    let urls = |scheme, addresses: String| {
        addresses.split(',').map(|address| format!("{scheme}://{address}")).collect()
    };
    let run = Run {
        members: urls("http", next()),
        secure: urls("https", next()),
        certificates: next(),
        prefix: next(),
    };
    let mut client = run.connect(options()).await?;
    say("put", &keys::put(&run, &mut client).await?);
    say("range", &keys::range(&run, &mut client).await?);
    say("delete", &keys::delete(&run, &mut client).await?);
    say("txn", &keys::txn(&run, &mut client).await?);
    say("lease", &leases::lease(&run, &mut client).await?);
    say("expiry", &leases::expiry(&run, &mut client).await?);
    say("watch", &keys::watch(&run, &mut client).await?);
    say("history", &keys::history(&run, &mut client).await?);
    say("lock", &leases::lock(&run, &mut client).await?);
    say("election", &leases::election(&run, &mut client).await?);
    say("users", &users::users(&run, &mut client).await?);
    pause("compaction")?;
    say("compaction", &keys::compaction(&run, &mut client).await?);
    drop(client);
    pause("authentication")?;
    say("login", &users::login(&run).await?);
    say("wrong password", &failure(run.connect(users::worker("wrong")).await));
    say("denied", &users::denied(&run).await?);
    say("TLS", &users::over_tls(&run).await?);
    say("no certificate", &users::without_certificate(&run).await?);
    Ok(())
}
