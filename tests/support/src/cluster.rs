//! Several servers that form one cluster.

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

/// How many times a new cluster is started, each time with other ports.
const ATTEMPTS: usize = 3;
/// How long a request may be retried: an election may be running, and a membership change may have
/// to wait until the members have been connected for a while.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// How long a member may take to answer a status request.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// The refusal to promote a member that already has a vote.
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
    /// The network that the members run on, unless they run on this machine.
    net: Option<Net>,
    /// The proxies in front of the members' peer ports, if any.
    proxies: Option<Proxies>,
    runtime: tokio::runtime::Runtime,
    // Holds the certificates; removed on drop.
    _folder: TempDir,
}

impl Cluster {
    /// The members of a new cluster, not started yet. They speak to each other without TLS. All are
    /// started with `flags`.
    ///
    /// # Panics
    /// If a folder cannot be made.
    pub fn new(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, false, None)
    }

    /// Members on a machine each, not started yet, without TLS. Their network can be split.
    ///
    /// # Panics
    /// If the network cannot be made; see [`Net::can_be_made`].
    pub fn on_machines(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, false, Some(Net::new(size)))
    }

    /// Like [`on_machines`](Self::on_machines); the members speak to each other over TLS.
    ///
    /// # Panics
    /// If the network cannot be made; see [`Net::can_be_made`].
    pub fn on_machines_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, true, Some(Net::new(size)))
    }

    /// Members that reach each other through proxies, with or without TLS, not started yet. `seed`
    /// determines the proxies' random choices.
    ///
    /// # Panics
    /// If a folder or the proxies cannot be made.
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
        cluster.set_initial_clusters();
        cluster
    }

    /// Makes a member that has not been started advertise a peer port other than its own.
    pub fn advertise(&mut self, member: usize, port: u16) {
        self.members[member].set_advertised_port(port);
        self.set_initial_clusters();
    }

    /// Like [`new`](Self::new); the members speak to each other over TLS, with certificates of one
    /// authority.
    ///
    /// # Panics
    /// If a folder cannot be made.
    pub fn new_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::with(program, size, flags, true, None)
    }

    /// A running cluster without TLS.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_new(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::start_with_retries(|| Self::new(program, size, flags))
    }

    /// Like [`start_new`](Self::start_new), with [`spawn_in_turn`](Self::spawn_in_turn).
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_new_in_turn(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::start_with_retries(|| {
            let mut cluster = Self::new(program, size, flags);
            cluster.spawn_in_turn();
            cluster
        })
    }

    /// A running cluster whose members speak to each other over TLS.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_new_with_tls(program: &Path, size: usize, flags: &[&str]) -> Self {
        Self::start_with_retries(|| Self::new_with_tls(program, size, flags))
    }

    /// Starts a new cluster; retries with other ports, since another process may have taken one.
    fn start_with_retries(make: impl Fn() -> Self) -> Self {
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
        // A member's certificate must cover the address that it connects from.
        let machines = net.iter().flat_map(|net| (1..=size).map(|i| net.peer_address(i)));
        let hosts: Vec<String> = machines.collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        // A worker thread keeps connections alive between requests.
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
        cluster.set_initial_clusters();
        cluster
    }

    /// Gives every member `--initial-cluster` with all members in it.
    fn set_initial_clusters(&mut self) {
        let flag = format!("--initial-cluster={}", self.initial_cluster());
        for member in &mut self.members {
            member.set_initial_cluster(&[&flag]);
        }
    }

    fn member(&self, number: usize) -> Server {
        let secure = self.pki.as_ref().map(Pki::peer_flags).unwrap_or_default();
        let flags: Vec<&str> = self.flags.iter().chain(&secure).map(String::as_str).collect();
        let server = Server::new(&self.program, &flags).named(&format!("m{number}"));
        let server = if self.pki.is_some() { server.with_peer_tls() } else { server };
        match &self.net {
            Some(net) => server.on_machine(&net.machine(number)),
            None => server,
        }
    }

    /// The value of `--initial-cluster` with all members.
    pub fn initial_cluster(&self) -> String {
        let listed = self.members.iter().map(|m| format!("{}={}", m.name(), m.peer_url()));
        listed.collect::<Vec<_>>().join(",")
    }

    /// The network of machines that the members run on.
    ///
    /// # Panics
    /// If all members run on this machine.
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("the members have machines of their own")
    }

    /// The proxies between the members.
    ///
    /// # Panics
    /// If there are none.
    pub fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().expect("there are proxies between the members")
    }

    /// The certificates of the members' peer TLS, if they use it.
    pub fn pki(&self) -> Option<&Pki> {
        self.pki.as_ref()
    }

    /// Starts the members that are not running and waits until all are ready.
    ///
    /// # Panics
    /// If one does not become ready.
    pub fn start(&mut self) {
        self.spawn();
        self.members.iter_mut().for_each(Server::wait_until_ready);
    }

    /// Like [`start`](Self::start), but if a member does not become ready, kills all and returns
    /// false.
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

    /// Starts the members one by one, each once the one before listens. They found a cluster sooner
    /// this way: members started all at once ask each other for their ids before any of them
    /// answers.
    pub fn spawn_in_turn(&mut self) {
        for member in &mut self.members {
            member.spawn();
            member.wait_until_it_listens();
        }
    }

    /// Sends SIGKILL to all running members.
    pub fn kill(&mut self) {
        self.members.iter_mut().for_each(Server::kill);
    }

    /// Sends SIGTERM to all running members and waits until they have ended.
    ///
    /// # Panics
    /// If one does not end.
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

    /// A member's status.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn status(&self, member: usize) -> pb::StatusResponse {
        self.status_at(&self.members[member].url())
    }

    /// The status of the server at `url`.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn status_at(&self, url: &str) -> pb::StatusResponse {
        let client = MaintenanceClient::new(self.channel_to(url));
        let asked = async || client.clone().status(pb::StatusRequest {}).await;
        self.retry("status", asked).into_inner()
    }

    /// A member's id.
    ///
    /// # Panics
    /// If the member does not answer.
    pub fn member_id(&self, member: usize) -> u64 {
        id(&self.status(member))
    }

    /// The leader's index and its term, once all running members agree on them.
    ///
    /// # Panics
    /// If they do not agree in time.
    pub fn leader(&self) -> (usize, u64) {
        wait::until("a leader that all members report", REQUEST_WITHIN, || {
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

    /// Moves leadership to the member at `to`.
    ///
    /// # Panics
    /// If the leader refuses to move it.
    pub fn move_leader(&self, to: usize) {
        let target_id = self.member_id(to);
        let request = pb::MoveLeaderRequest { target_id };
        let client = MaintenanceClient::new(self.channel(self.leader().0));
        let asked = async { client.clone().move_leader(request).await };
        let moved = self.block_on(asked);
        moved.unwrap_or_else(|refused| panic!("{} does not take over: {refused}", to + 1));
    }

    /// Retries a request until it succeeds.
    ///
    /// # Panics
    /// If it does not succeed in time; the message has the last refusal.
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

    /// Puts a key through a member.
    ///
    /// # Panics
    /// If it cannot be set.
    pub fn put(&self, member: usize, key: &str, value: &str) {
        let key = key.to_owned().into();
        let value = value.to_owned().into();
        let request = pb::PutRequest { key, value, ..Default::default() };
        let client = KvClient::new(self.channel(member));
        self.retry("put", async || client.clone().put(request.clone()).await);
    }

    /// The value of a key, by a linearizable read through a member.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn get(&self, member: usize, key: &str) -> Option<String> {
        let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let client = KvClient::new(self.channel(member));
        let answer = self.retry("get", async || client.clone().range(request.clone()).await);
        let kvs = answer.into_inner().kvs;
        kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
    }

    /// The member list, by a linearizable read through a member.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn list(&self, member: usize) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        let client = ClusterClient::new(self.channel(member));
        let answer = self.retry("list", async || client.clone().member_list(request).await);
        answer.into_inner().members
    }

    /// Adds a new member through member `by`, and returns its index. The new member is not started.
    ///
    /// # Panics
    /// If it is not added.
    pub fn add(&mut self, by: usize) -> usize {
        let place = self.new_place();
        self.add_again(by, place);
        place
    }

    /// Makes a member that is yet to be added, and returns its index.
    pub fn new_place(&mut self) -> usize {
        self.members.push(self.member(self.members.len() + 1));
        self.members.len() - 1
    }

    /// Adds the member at `place` through member `by`; its URLs may be those of a removed member.
    /// It is not started.
    ///
    /// # Panics
    /// If it is not added.
    pub fn add_again(&mut self, by: usize, place: usize) {
        self.add_member(by, place, false);
    }

    /// Like [`add_again`](Self::add_again), but adds a learner.
    ///
    /// # Panics
    /// If it is not added.
    pub fn add_learner(&mut self, by: usize, place: usize) {
        self.add_member(by, place, true);
    }

    fn add_member(&mut self, by: usize, place: usize, is_learner: bool) {
        let peer_urls = vec![self.members[place].peer_url()];
        let request = pb::MemberAddRequest { peer_urls, is_learner };
        let client = ClusterClient::new(self.channel(by));
        let added = async || match client.clone().member_add(request.clone()).await {
            // An earlier attempt succeeded and its answer was lost.
            Err(refused) if refused.message().contains("Peer URLs already exists") => Ok(()),
            added => added.map(drop),
        };
        self.retry("add", added);
        let known = self.list(by);
        let is_known = |url: &String| known.iter().any(|member| member.peer_urls.contains(url));
        let members = self.members.iter().filter(|member| is_known(&member.peer_url()));
        let listed = members.map(|m| format!("{}={}", m.name(), m.peer_url()));
        let listed = listed.collect::<Vec<_>>().join(",");
        let flag = format!("--initial-cluster={listed}");
        self.members[place].set_initial_cluster(&[&flag, "--initial-cluster-state=existing"]);
    }

    /// Promotes a learner through member `by`, as soon as the cluster allows it.
    ///
    /// # Panics
    /// If it is not allowed in time.
    pub fn promote(&self, by: usize, place: usize) {
        let request = pb::MemberPromoteRequest { id: self.id(by, place) };
        let client = ClusterClient::new(self.channel(by));
        let promoted = async || match client.clone().member_promote(request).await {
            // An earlier attempt succeeded and its answer was lost.
            Err(refused) if refused.message() == IS_NO_LEARNER => Ok(()),
            promoted => promoted.map(drop),
        };
        self.retry("promote", promoted);
    }

    /// A member's id, as member `by` lists it.
    fn id(&self, by: usize, place: usize) -> u64 {
        let url = self.members[place].peer_url();
        let known = self.list(by);
        let member = known.iter().find(|member| member.peer_urls.contains(&url));
        member.unwrap_or_else(|| panic!("{url} is no member: {known:?}")).id
    }

    /// A member's status; `None` if it does not answer.
    pub fn try_status(&self, member: usize) -> Option<pb::StatusResponse> {
        let mut client = MaintenanceClient::new(self.channel(member));
        let asked = self.block_on(async {
            tokio::time::timeout(STATUS_WITHIN, client.status(pb::StatusRequest {})).await
        });
        Some(asked.ok()?.ok()?.into_inner())
    }

    /// Removes a member through member `by`; its process keeps running.
    ///
    /// # Panics
    /// If it is not removed.
    pub fn remove(&self, by: usize, place: usize) {
        let request = pb::MemberRemoveRequest { id: self.id(by, place) };
        let client = ClusterClient::new(self.channel(by));
        let removed = async || match client.clone().member_remove(request).await {
            // An earlier attempt succeeded and its answer was lost.
            Err(refused) if refused.code() == Code::NotFound => Ok(()),
            removed => removed.map(drop),
        };
        self.retry("remove", removed);
    }
}

/// The id of the member that sent this status.
fn id(status: &pb::StatusResponse) -> u64 {
    status.header.expect("every answer has a header").member_id
}
