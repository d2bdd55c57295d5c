//! The life of the process: bind the ports, open the data, start the member, serve; then stop all
//! of it in the opposite order.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use quorate_api::{ApiService, ETCD_VERSION, Server, VERSION};
use quorate_core::auth::Origin;
use quorate_core::{Command, MemberPublish};
use quorate_raft::{Dial, Exclusion, Member, RequestError};
use quorate_storage::OnFault;
use quorate_storage::data_dir::DataDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bootstrap::identify;
use crate::config::Config;
use crate::dial::Dialer;
use crate::listen::{self, Acceptor, Certificates, Connections, Http, Places, Port, Role};
use crate::process::Process;
use crate::telemetry::Telemetry;
use crate::tls_page::{TlsMetrics, TlsPage};
use crate::{ending, notify, tls};

/// Pause before the member proposes its name and client URLs again after a failed attempt.
const PUBLISH_PAUSE: Duration = Duration::from_millis(200);

/// Any error that stops the start. Its text names the cause and the fix.
pub(crate) type StartError = Box<dyn std::error::Error + Send + Sync>;

/// The signals that stop the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for a signal; returns its number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// Runs the member until a signal stops it, or until the cluster excludes it. Returns the number of
/// the signal.
///
/// # Errors
/// The member cannot start, or the [`Exclusion`].
pub(crate) async fn run(config: Config) -> Result<i32, StartError> {
    let mut signals = Signals::new()?;
    tracing::info!(
        version = VERSION,
        etcd_version = ETCD_VERSION,
        name = config.name,
        data_dir = %config.data_dir.display(),
        "starting"
    );
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for wanted in &config.self_signed {
        tls::self_signed::make(wanted)?;
    }
    // Checks that do not touch the data come first.
    let certificates = Certificates::new(&config)?;
    let dialer = Dialer::new(config.peer_tls.client.clone())?;
    let ports = listen::bind(&config.ports)?;
    let start = Running::start(&config, certificates, dialer, ports);
    let running = tokio::select! {
        running = start => match running? {
            Started::Serving(running) => running,
            Started::Excluded(member, exclusion) => {
                member.stop().await;
                return Err(exclusion.into());
            }
        },
        signal = signals.next() => return Ok(signal),
    };
    let stopped = tokio::select! {
        signal = signals.next() => Ok(signal),
        exclusion = running.member.excluded() => Err(exclusion),
    };
    match stopped {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(exclusion) => tracing::warn!(%exclusion, "stopping"),
    }
    tokio::select! {
        () = running.stop() => {}
        signal = signals.next() => return Ok(signal),
    }
    let signal = stopped?;
    tracing::info!("stopped");
    Ok(signal)
}

/// Ends the process: a member that cannot write must stop answering.
fn on_fault() -> OnFault {
    Arc::new(|ending| ending::end(&ending))
}

/// A member that serves clients.
struct Running {
    member: Arc<Member>,
    server: Server,
    clients: Connections,
    peers: Connections,
    telemetry: Option<Telemetry>,
}

/// The outcome of a start.
enum Started {
    Serving(Running),
    /// The cluster has excluded this member.
    Excluded(Arc<Member>, Exclusion),
}

impl Running {
    async fn start(
        config: &Config,
        tls: Certificates,
        dialer: Dialer,
        ports: Vec<Port>,
    ) -> Result<Started, StartError> {
        let places = Places::new();
        let mut data_dir = DataDir::open(&config.data_dir, config.wal_dir.as_deref())?;
        let tls_page = Arc::new(TlsPage::new(tls.clone(), dialer.clone()));
        let dial: Arc<dyn Dial> = Arc::new(dialer);
        let (identity, mode) =
            identify(&mut data_dir, &config.initial_cluster, dial.clone()).await?;
        tracing::info!(
            member_id = format!("{:x}", identity.member_id),
            cluster_id = format!("{:x}", identity.cluster_id),
            wal_dir = %data_dir.wal().display(),
            "opening the data directory"
        );
        let options = config.raft.clone();
        let member = Member::start(data_dir, identity, mode, options, dial, on_fault()).await?;
        let member = Arc::new(member);
        let telemetry = config.tracing.as_ref().map(Telemetry::start).transpose()?;
        let mut options = config.api.clone();
        options.tracer = telemetry.as_ref().map(Telemetry::tracer);
        let server = Server::new(member.clone(), options)?;
        let registry = registry(&member, &server, tls_page.clone())?;
        let api = Arc::new(ApiService::new(server.clone(), registry, tls_page));
        let clients = Connections::default();
        let peers = Connections::default();
        let http = |connections: &Connections| {
            Http::new(api.clone(), member.clone(), &config.ports, connections.clone())
        };
        let acceptor = |http: Http| Acceptor::new(http, tls.clone(), places.clone());
        let for_clients = acceptor(http(&clients));
        let for_peers = acceptor(http(&peers).for_members());
        let serve = |port: Port| {
            port.announce();
            match port.role() {
                Role::Peers => for_peers.serve(port),
                _ => for_clients.serve(port),
            }
        };
        // The metrics and peer ports are served first: monitoring must see why the member is not
        // ready yet, and the member gets ready only by talking to its peers.
        let (early, late): (Vec<_>, Vec<_>) =
            ports.into_iter().partition(|port| matches!(port.role(), Role::Metrics | Role::Peers));
        early.into_iter().for_each(serve);
        let is_plain = config.ports.peers.iter().any(|url| !url.scheme.is_secure());
        member.offer_reverse_connections(for_peers.reverse_server(is_plain));
        tokio::select! {
            // The exclusion is checked first: it makes the announcement fail too, and that failure
            // would hide the cause.
            biased;
            exclusion = member.excluded() => {
                clients.close();
                peers.close();
                return Ok(Started::Excluded(member, exclusion));
            }
            announced = announce(&member, config) => announced?,
        }
        tracing::info!("ready to serve client requests");
        late.into_iter().for_each(serve);
        notify::ready();
        Ok(Started::Serving(Self { member, server, clients, peers, telemetry }))
    }

    /// Stops the member: transfers the leadership, refuses new connections and requests, ends
    /// streams, answers the requests in flight, and then closes the state.
    async fn stop(self) {
        notify::stopping();
        self.member.prepare_shutdown().await;
        self.clients.close();
        self.server.stop().await;
        self.clients.drain(self.member.request_timeout()).await;
        self.member.close_peer_streams();
        self.peers.close();
        self.peers.drain(self.member.request_timeout()).await;
        self.member.stop().await;
        if let Some(telemetry) = self.telemetry {
            telemetry.stop().await;
        }
    }
}

fn registry(
    member: &Member,
    server: &Server,
    tls_page: Arc<TlsPage>,
) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    member.register_metrics(&registry)?;
    server.metrics().register(&registry)?;
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))?;
    registry.register(Box::new(Process::new()?))?;
    registry.register(Box::new(TlsMetrics::new(tls_page)))?;
    Ok(registry)
}

/// Makes this member known to the cluster. Returns once the cluster knows its name and it has its
/// vote; a learner waits for no vote. Before that, the initial corruption check runs if it is
/// enabled.
async fn announce(member: &Member, config: &Config) -> Result<(), StartError> {
    member.check_start().await?;
    publish(member, config).await?;
    member.wait_for_vote().await;
    Ok(())
}

/// Publishes this member's name and client URLs. Returns once the entry is applied, so requests
/// can be answered from then on.
async fn publish(member: &Member, config: &Config) -> Result<(), StartError> {
    let command = Command::MemberPublish(MemberPublish {
        id: member.identity().member_id,
        name: config.name.clone(),
        client_urls: config.advertised_client_urls.iter().map(ToString::to_string).collect(),
        incarnation: member.identity().incarnation,
    });
    let mut status = member.status();
    loop {
        status.wait_for(|status| status.leader.is_some()).await?;
        match member.propose(&command, &Origin::Unknown, None).await {
            Ok(_) => return Ok(()),
            Err(RequestError::Stopped) => {
                // An exclusion stops the member too. The pause lets the caller see it first.
                tokio::time::sleep(PUBLISH_PAUSE).await;
                return Err("the member stopped while it started".into());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot publish this member yet");
                tokio::time::sleep(PUBLISH_PAUSE).await;
            }
        }
    }
}
