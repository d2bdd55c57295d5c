//! The program: arguments, logging, the Lease, and the order of life.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Config};
use quorate_controller::args::Args;
use quorate_controller::cluster::plan::plan;
use quorate_controller::context::{Context, Defaults};
use quorate_controller::controller;
use quorate_controller::gate::Gate;
use quorate_controller::lease::Lease;
use quorate_controller::listen::{self, Readiness};
use quorate_controller::members::Grpc;
use quorate_controller::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Longest time to connect to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for rounds to end after SIGTERM. It is within the grace period of pods, 30 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::of_process();
    tracing_subscriber::fmt().with_max_level(args.log_level).init();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be made");
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

/// Runs the operator until SIGTERM, or until it has lost the Lease.
async fn run(args: Args) -> Result<(), Failure> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| "there is a TLS provider already")?;
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let client = Client::try_from(config)?;
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    let listener = TcpListener::bind(args.listen).await?;
    let pages = listen::serve(listener, metrics.clone(), readiness.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = pages => Err("the pages are no longer served".into()),
        ended = lead(args, client, metrics, readiness, stopped) => ended,
    }
}

/// Waits for the Lease, and works while this process holds it.
async fn lead(
    args: Args,
    client: Client,
    metrics: Metrics,
    readiness: Readiness,
    stopped: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(stopped);
    let gate = Gate::closed();
    let leases = Api::namespaced(client.clone(), &args.lease_namespace);
    // A restarted process is another holder: requests of the earlier process may still arrive.
    let me = format!("{}_{:016x}", args.pod, rand::random::<u64>());
    let mut lease = Lease::new(leases, args.lease.clone(), me, gate.clone());
    tokio::select! {
        () = lease.acquire(|| readiness.set()) => {}
        () = &mut stopped => return Ok(()),
    }
    readiness.set();
    metrics.leads(true);
    tracing::info!("this operator holds the Lease");
    let context = Arc::new(context(&args, client, metrics, gate));
    let stop = CancellationToken::new();
    let work = controller::run(context, &args.namespaces, stop.clone());
    tokio::pin!(work);
    let released = tokio::select! {
        lost = lease.keep() => return Err(lost.into()),
        () = &mut work => return Err("no watch is left".into()),
        () = &mut stopped => lease,
    };
    stop.cancel();
    // Rounds that do not end in time are dropped with the process.
    if tokio::time::timeout(STOP_TIMEOUT, work).await.is_err() {
        tracing::warn!("a round of work did not end in time");
    }
    released.release().await;
    Ok(())
}

fn context(args: &Args, client: Client, metrics: Metrics, gate: Gate) -> Context {
    let reporter =
        Reporter { controller: "quorate-operator".to_owned(), instance: Some(args.pod.clone()) };
    Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        members: Arc::new(Grpc),
        now: Arc::new(Timestamp::now),
        plan,
        defaults: Defaults {
            image: args.image.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            domain: args.domain.clone(),
        },
        metrics,
        gate,
    }
}
