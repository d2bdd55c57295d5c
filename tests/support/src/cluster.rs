//! Several servers that are members of one cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::certs::Pki;
use crate::client::channel;
use crate::net::Net;
use crate::proxy::Proxies;
use crate::server::Server;
use crate::wait;

/// How often founding is tried again with other ports.
const ATTEMPTS: usize = 3;
/// How long a request may be tried again: members may be electing, or a change may have to wait
/// until they have been connected for a while.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// How long a member may take to say something of itself.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// What is said of a member that is to be promoted and has been already.
const IS_NO_LEARNER: &str = "etcdserver: can only promote a learner member";
/// Pause before a request is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The members of a cluster: `m1`, `m2` and so on. Clients are served without TLS.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    flags: Vec<String>,
    pki: Option<Pki>,
    /// The members, running or not.
    pub members: Vec<Server>,
    /// The machines that they run on, when those are not this one.
    net: Option<Net>,
    /// What stands between them, if anything does.
    proxies: Option<Proxies>,
    runtime: tokio::runtime::Runtime,
    // Holds the certificates.
    _folder: TempDir,
}

impl Cluster {
    /// Members that are not running yet and are to found a cluster; they speak to each other
    /// without TLS. All are started with `flags`.
    ///
    /// # Panics
    /// When a folder cannot be made.
    pub fn new(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, false, None)
    }

    /// Members, not running yet and without TLS, each on a machine of its own; the network can be
    /// split.
    ///
    /// # Panics
    /// When the network cannot be made; see [`Net::can_be_made`].
    pub fn on_machines(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, false, Some(Net::new(size)))
    }

    /// Like [`on_machines`](Self::on_machines); the members speak to each other over TLS.
    ///
    /// # Panics
    /// When the network cannot be made; see [`Net::can_be_made`].
    pub fn on_machines_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, true, Some(Net::new(size)))
    }

    /// Members, not running yet and with TLS between them or not, each of which is reached by the
    /// others through a proxy. What the proxies do at random follows from `seed`.
    ///
    /// # Panics
    /// When a folder or the proxies cannot be made.
    pub fn behind_proxies(
        program: &Path,
        size: usize,
        flags: &[&str],
        is_secure: bool,
        seed: u64,
    ) -> Self {
        let mut cluster = Self::with(program, size, flags, is_secure, None);
        let targets: Vec<String> = cluster.members.iter().map(Server::peer_address).collect();
        let proxies = Proxies::new(&targets, seed);
        for (i, member) in cluster.members.iter_mut().enumerate() {
            member.set_advertised_port(proxies.port(i));
        }
        cluster.proxies = Some(proxies);
        cluster.name_origin();
        cluster
    }

    /// Has a member, which is not running yet, say that it is reached at another port than its own.
    pub fn advertise(&mut self, member: usize, port: u16) {
        self.members[member].set_advertised_port(port);
        self.name_origin();
    }

    /// Like [`new`](Self::new); the members speak to each other over TLS, with certificates of one
    /// authority.
    ///
    /// # Panics
    /// When a folder cannot be made.
    pub fn new_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, true, None)
    }

    /// A running cluster without TLS.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_new(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::founded(|| Self::new(program, size, flags))
    }

    /// Like [`start_new`](Self::start_new), with [`spawn_in_turn`](Self::spawn_in_turn).
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_new_in_turn(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::founded(|| {
            let mut cluster = Self::new(program, size, flags);
            cluster.spawn_in_turn();
            cluster
        })
    }

    /// A running cluster whose members speak to each other over TLS.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_new_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::founded(|| Self::new_with_tls(program, size, flags))
    }

    /// Another process may have taken a port: then it is tried with others.
    fn founded(make: impl Fn() -> Self) -> Self {
        for _ in 1..ATTEMPTS {
            let mut cluster = make();
            if cluster.try_start() {
                return cluster;
            }
        }
        let mut cluster = make();
        cluster.start();
        cluster
    }

    fn with(
        program: &Path,
        size: usize,
        flags: &[&str],
        is_secure: bool,
        net: Option<Net>,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("quorate-test-").tempdir().expect("a folder");
        // A member's certificate must be for the address that it calls from.
        let machines = net.iter().flat_map(|net| (1..=size).map(|i| net.peer_address(i)));
        let hosts: Vec<String> = machines.collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        // With a thread of its own, so that connections are kept up between requests too.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut cluster = Self {
            program: program.to_path_buf(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            pki: is_secure.then(|| Pki::for_hosts(folder.path(), &hosts)),
            members: Vec::new(),
            net,
            proxies: None,
            runtime: runtime.expect("a runtime"),
            _folder: folder,
        };
        cluster.members = (1..=size).map(|number| cluster.member(number)).collect();
        cluster.name_origin();
        cluster
    }

    /// Tells all members who founds the cluster: all of them.
    fn name_origin(&mut self) {
        let origin = format!("--initial-cluster={}", self.listed());
        for member in &mut self.members {
            member.set_origin(&[&origin]);
        }
    }

    fn member(&self, number: usize) -> Server {
        let secure = self.pki.as_ref().map(Pki::peer_flags).unwrap_or_default();
        let flags: Vec<&str> = self.flags.iter().chain(&secure).map(String::as_str).collect();
        let server = Server::new(&self.program, &flags).named(&format!("m{number}"));
        let server = if self.pki.is_some() { server.with_peer_tls() } else { server };
        match &self.net {
            Some(net) => server.on_machine(&net.place(number)),
            None => server,
        }
    }

    /// The members as `--initial-cluster` names them.
    pub fn listed(&self) -> String {
        let listed = self.members.iter().map(|m| format!("{}={}", m.name(), m.peer_url()));
        listed.collect::<Vec<_>>().join(",")
    }

    /// The machines that the members run on.
    ///
    /// # Panics
    /// When all of them run on this one.
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("the members have machines of their own")
    }

    /// What stands between the members.
    ///
    /// # Panics
    /// When nothing does.
    pub fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().expect("there are proxies between the members")
    }

    /// The certificates that members show to each other.
    pub fn pki(&self) -> Option<&Pki> {
        self.pki.as_ref()
    }

    /// Starts the members that do not run and waits until all are ready.
    ///
    /// # Panics
    /// When one does not become ready.
    pub fn start(&mut self) {
        self.spawn();
        self.members.iter_mut().for_each(Server::wait_until_ready);
    }

    /// Like [`start`](Self::start); kills all and returns false when one does not become ready.
    pub fn try_start(&mut self) -> bool {
        self.spawn();
        let is_ready = self.members.iter_mut().all(Server::is_ready);
        if !is_ready {
            self.kill();
        }
        is_ready
    }

    fn spawn(&mut self) {
        for member in self.members.iter_mut().filter(|member| !member.is_running()) {
            member.spawn();
        }
    }

    /// Starts the members one by one. They found a cluster sooner than all at once: then they ask
    /// each other who they are while nobody answers yet.
    pub fn spawn_in_turn(&mut self) {
        for member in &mut self.members {
            member.spawn();
            member.wait_until_it_listens();
        }
    }

    /// SIGKILL to all that run.
    pub fn kill(&mut self) {
        self.members.iter_mut().for_each(Server::kill);
    }

    /// SIGTERM to all that run; returns when all have ended.
    ///
    /// # Panics
    /// When one does not end.
    pub fn stop(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.is_running()) {
            member.stop();
        }
    }

    /// A client's channel to a member.
    pub fn channel(&self, member: usize) -> Channel {
        self.channel_to(&self.members[member].url())
    }

    fn channel_to(&self, url: &str) -> Channel {
        let _entered = self.runtime.enter();
        channel(url)
    }

    /// Runs requests to their end.
    pub fn block_on<T>(&self, requests: impl Future<Output = T>) -> T {
        self.runtime.block_on(requests)
    }

    /// What a member says of itself.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&self, member: usize) -> pb::StatusResponse {
        self.status_at(&self.members[member].url())
    }

    /// What the server at `url` says of itself.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status_at(&self, url: &str) -> pb::StatusResponse {
        let client = MaintenanceClient::new(self.channel_to(url));
        let asked = async || client.clone().status(pb::StatusRequest {}).await;
        self.retry("status", asked).into_inner()
    }

    /// The place of the member that leads, and its term, once all that run say the same.
    ///
    /// # Panics
    /// When they do not agree.
    pub fn leader(&self) -> (usize, u64) {
        wait::until("a leader whom all know", REQUEST_WITHIN, || {
            let running = (0..self.members.len()).filter(|place| self.members[*place].is_running());
            let said: Option<Vec<_>> =
                running.map(|place| Some((place, self.try_status(place)?))).collect();
            let said = said?;
            let (leader, term) = said.first().map(|(_, first)| (first.leader, first.raft_term))?;
            let agreed = said.iter().all(|(_, s)| (s.leader, s.raft_term) == (leader, term));
            let its = said.iter().find(|(_, status)| agreed && id(status) == leader);
            its.map(|(place, _)| (*place, term))
        })
    }

    /// Has another member lead than the one that does.
    ///
    /// # Panics
    /// When it does not take over.
    pub fn move_leader(&self, to: usize) {
        let target_id = id(&self.status(to));
        let request = pb::MoveLeaderRequest { target_id };
        let client = MaintenanceClient::new(self.channel(self.leader().0));
        let asked = async { client.clone().move_leader(request).await };
        let moved = self.block_on(asked);
        moved.unwrap_or_else(|refused| panic!("{} does not take over: {refused}", to + 1));
    }

    /// Makes a request until it succeeds.
    ///
    /// # Panics
    /// When it never does; the message has the last refusal.
    pub fn retry<T>(&self, what: &str, request: impl AsyncFn() -> Result<T, Status>) -> T {
        self.block_on(async {
            let deadline = tokio::time::Instant::now() + REQUEST_WITHIN;
            loop {
                match request().await {
                    Ok(done) => return done,
                    Err(refused) if tokio::time::Instant::now() > deadline => {
                        panic!("{what}: {refused}")
                    }
                    Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            }
        })
    }

    /// Sets a key by way of a member.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn put(&self, member: usize, key: &str, value: &str) {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest { key, value, ..Default::default() };
        let client = KvClient::new(self.channel(member));
        self.retry("put", async || client.clone().put(request.clone()).await);
    }

    /// The value of a key, as a member says after it asked the leader.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&self, member: usize, key: &str) -> Option<String> {
        let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let client = KvClient::new(self.channel(member));
        let answer = self.retry("get", async || client.clone().range(request.clone()).await);
        let kvs = answer.into_inner().kvs;
        kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
    }

    /// The members, as a member says after it asked the leader.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn list(&self, member: usize) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        let client = ClusterClient::new(self.channel(member));
        let answer = self.retry("list", async || client.clone().member_list(request).await);
        answer.into_inner().members
    }

    /// Adds a member by way of another one, and returns its place. It is not started.
    ///
    /// # Panics
    /// When it is not added.
    pub fn add(&mut self, by: usize) -> usize {
        let place = self.new_place();
        self.add_again(by, place);
        place
    }

    /// The place of a member that is yet to be added.
    pub fn new_place(&mut self) -> usize {
        self.members.push(self.member(self.members.len() + 1));
        self.members.len() - 1
    }

    /// Adds a member that has the URLs of one that was removed, by way of another one. It is not
    /// started.
    ///
    /// # Panics
    /// When it is not added.
    pub fn add_again(&mut self, by: usize, place: usize) {
        self.admit(by, place, false);
    }

    /// Like [`add_again`](Self::add_again); the member gets no vote before it is promoted.
    ///
    /// # Panics
    /// When it is not added.
    pub fn add_learner(&mut self, by: usize, place: usize) {
        self.admit(by, place, true);
    }

    fn admit(&mut self, by: usize, place: usize, is_learner: bool) {
        let peer_urls = vec![self.members[place].peer_url()];
        let request = pb::MemberAddRequest { peer_urls, is_learner };
        let client = ClusterClient::new(self.channel(by));
        let added = async || match client.clone().member_add(request.clone()).await {
            // A try whose answer was lost.
            Err(refused) if refused.message().contains("Peer URLs already exists") => Ok(()),
            added => added.map(drop),
        };
        self.retry("add", added);
        let known = self.list(by);
        let is_known = |url: &String| known.iter().any(|member| member.peer_urls.contains(url));
        let members = self.members.iter().filter(|member| is_known(&member.peer_url()));
        let listed = members.map(|m| format!("{}={}", m.name(), m.peer_url()));
        let listed = listed.collect::<Vec<_>>().join(",");
        let origin = format!("--initial-cluster={listed}");
        self.members[place].set_origin(&[&origin, "--initial-cluster-state=existing"]);
    }

    /// Gives a learner its vote by way of another member, as soon as it may have one.
    ///
    /// # Panics
    /// When it never may.
    pub fn promote(&self, by: usize, place: usize) {
        let request = pb::MemberPromoteRequest { id: self.id(by, place) };
        let client = ClusterClient::new(self.channel(by));
        let promoted = async || match client.clone().member_promote(request).await {
            // A try whose answer was lost.
            Err(refused) if refused.message() == IS_NO_LEARNER => Ok(()),
            promoted => promoted.map(drop),
        };
        self.retry("promote", promoted);
    }

    /// The id of a member, as another one knows it.
    fn id(&self, by: usize, place: usize) -> u64 {
        let url = self.members[place].peer_url();
        let known = self.list(by);
        let member = known.iter().find(|member| member.peer_urls.contains(&url));
        member.unwrap_or_else(|| panic!("{url} is no member: {known:?}")).id
    }

    /// What a member says of itself, if it answers.
    pub fn try_status(&self, member: usize) -> Option<pb::StatusResponse> {
        let mut client = MaintenanceClient::new(self.channel(member));
        let asked = self.block_on(async {
            tokio::time::timeout(STATUS_WITHIN, client.status(pb::StatusRequest {})).await
        });
        Some(asked.ok()?.ok()?.into_inner())
    }

    /// Removes a member by way of another one; its process is left alone.
    ///
    /// # Panics
    /// When it is not removed.
    pub fn remove(&self, by: usize, place: usize) {
        let request = pb::MemberRemoveRequest { id: self.id(by, place) };
        let client = ClusterClient::new(self.channel(by));
        let removed = async || match client.clone().member_remove(request).await {
            // A try whose answer was lost.
            Err(refused) if refused.code() == Code::NotFound => Ok(()),
            removed => removed.map(drop),
        };
        self.retry("remove", removed);
    }
}

/// The id of the member that says this.
fn id(status: &pb::StatusResponse) -> u64 {
    status.header.expect("every answer has a header").member_id
}
