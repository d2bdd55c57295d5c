//! One server process, Quorate or etcd, with its own data directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::log_pipe::LogSwitch;
use crate::usage::Usage;
use crate::{port, wait};

/// How long a server may take to become ready. Generous, because suites run in parallel on small
/// machines.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Log message of a server that serves clients; etcd and Quorate share it.
const READY: &str = "ready to serve client requests";
/// Log messages of a server that serves peers: etcd's and Quorate's.
const LISTENS: [&str; 2] = ["serving peer traffic", "\"traffic\":\"peers\""];
/// Marks a panic in Quorate's log.
const PANIC: &str = "panic";
/// How many times a start is tried, each time with other ports.
const ATTEMPTS: usize = 3;

/// A program with its arguments and data directory, running or not.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    /// The launcher and its arguments; empty to start the program itself.
    launcher: Vec<String>,
    name: String,
    flags: Vec<String>,
    scheme: &'static str,
    peer_scheme: &'static str,
    client_host: String,
    peer_host: String,
    /// The host on which it listens for peers.
    peer_listen: String,
    client_port: u16,
    peer_port: u16,
    /// The peer port to advertise, if a proxy stands in front of the real one.
    advertised_port: Option<u16>,
    /// The flags that name its cluster's members; `None` for a cluster of this server alone.
    initial_cluster: Option<Vec<String>>,
    log_from: u64,
    // Removed on drop, unless the test panics.
    own_folder: Option<TempDir>,
    folder: PathBuf,
    data_dir: PathBuf,
    child: Option<Child>,
    /// If set, its output reaches the log through this pipe; if not, directly.
    log_switch: Option<LogSwitch>,
    /// Copies the pipe to the log while the server runs.
    log_carrier: Option<JoinHandle<io::Result<()>>>,
}

/// A machine of a [`Net`](crate::net::Net).
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its network namespace.
    pub namespace: String,
    /// Its address for clients.
    pub client_address: String,
    /// Its address for peers.
    pub peer_address: String,
}

impl Server {
    /// A server that is not running yet, with a new folder for its data and log. `flags` follow
    /// those for name, data directory and addresses.
    pub fn new(program: &Path, flags: &[&str]) -> Self {
        let own = tempfile::Builder::new().prefix("quorate-test-").tempdir().expect("a folder");
        let mut server = Self::in_folder(program, own.path(), flags);
        server.own_folder = Some(own);
        server
    }

    /// Like [`new`](Self::new), in the caller's folder.
    pub fn in_folder(program: &Path, folder: &Path, flags: &[&str]) -> Self {
        let [client_port, peer_port] = port::free();
        Self {
            program: program.to_path_buf(),
            launcher: Vec::new(),
            name: "m1".to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            scheme: "http",
            peer_scheme: "http",
            client_host: "127.0.0.1".to_owned(),
            peer_host: "127.0.0.1".to_owned(),
            peer_listen: "127.0.0.1".to_owned(),
            client_port,
            peer_port,
            advertised_port: None,
            initial_cluster: None,
            log_from: 0,
            own_folder: None,
            folder: folder.to_path_buf(),
            data_dir: folder.join("data"),
            child: None,
            log_switch: None,
            log_carrier: None,
        }
    }

    /// Serves clients over TLS; the flags must name the certificates.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.scheme = "https";
        self
    }

    /// Sets the member's name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Serves peers over TLS; the flags must name the certificates.
    #[must_use]
    pub fn with_peer_tls(mut self) -> Self {
        self.peer_scheme = "https";
        self
    }

    /// Serves clients over TLS, from the next start on.
    pub fn set_tls(&mut self) {
        self.scheme = "https";
    }

    /// Serves peers over TLS, from the next start on.
    pub fn set_peer_tls(&mut self) {
        self.peer_scheme = "https";
    }

    /// Advertises this host to peers; it must resolve to the loopback address.
    #[must_use]
    pub fn at_host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.peer_host);
        self
    }

    /// Runs on a machine of a net, with etcd's default ports.
    #[must_use]
    pub fn on_machine(mut self, machine: &Machine) -> Self {
        (self.client_port, self.peer_port) = (2379, 2380);
        self.client_host.clone_from(&machine.client_address);
        self.peer_host.clone_from(&machine.peer_address);
        self.peer_listen.clone_from(&machine.peer_address);
        // Unlike `ip netns exec`, `nsenter` keeps the mounts: a copy of them would hold the disks
        // of other tests until this server ends.
        let namespace = format!("--net=/run/netns/{}", machine.namespace);
        self.with_launcher(&["nsenter", &namespace])
    }

    /// Starts the program through a launcher, which must exec it.
    #[must_use]
    pub fn with_launcher(mut self, launcher: &[&str]) -> Self {
        self.set_launcher(launcher);
        self
    }

    /// Like [`with_launcher`](Self::with_launcher), from the next start on.
    pub fn set_launcher(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|&part| part.to_owned()).collect();
    }

    /// Advertises a peer port other than its own.
    pub fn set_advertised_port(&mut self, port: u16) {
        self.advertised_port = Some(port);
    }

    /// The address on which it listens for peers, without the scheme.
    pub fn peer_address(&self) -> String {
        format!("{}:{}", self.peer_listen, self.peer_port)
    }

    /// Runs another program, from the next start on.
    pub fn set_program(&mut self, program: &Path) {
        self.program = program.to_path_buf();
    }

    /// Sets the flags that name its cluster's members, from the next start on.
    pub fn set_initial_cluster(&mut self, flags: &[&str]) {
        self.initial_cluster = Some(flags.iter().map(|&flag| flag.to_owned()).collect());
    }

    /// Uses another data directory, from the next start on.
    pub fn set_data_dir(&mut self, data_dir: &Path) {
        self.data_dir = data_dir.to_path_buf();
    }

    /// Sends its output through a pipe that `switch` can block, from the next start on.
    pub fn log_through(&mut self, switch: &LogSwitch) {
        self.log_switch = Some(switch.clone());
    }

    /// Adds flags, from the next start on.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    /// Removes flags, from the next start on.
    pub fn remove_flags(&mut self, flags: &[&str]) {
        self.flags.retain(|flag| !flags.contains(&flag.as_str()));
    }

    /// Starts a new server and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_new(program: &Path, flags: &[&str]) -> Self {
        let mut server = Self::new(program, flags);
        for _ in 1..ATTEMPTS {
            if server.try_start() {
                return server;
            }
            let [client_port, peer_port] = port::free();
            (server.client_port, server.peer_port) = (client_port, peer_port);
        }
        server.start();
        server
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; the message has the end of its log.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Waits until it is ready, after [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// If it does not become ready; the message has the end of its log.
    pub fn wait_until_ready(&mut self) {
        assert!(self.is_ready(), "{} is not ready:\n{}", self.program.display(), self.log_tail());
    }

    /// Waits until it serves peers or has ended, after [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// If it does neither in time.
    pub fn wait_until_it_listens(&mut self) {
        wait::until("other members are served, or it has ended", READY_WITHIN, || {
            let log = self.log_of_run();
            let listens = LISTENS.iter().any(|said| log.contains(said));
            (listens || self.exit_status().is_some()).then_some(())
        });
    }

    /// Starts it; false if it ended, or was not ready in time and was killed.
    pub fn try_start(&mut self) -> bool {
        self.spawn();
        self.is_ready()
    }

    /// Waits until it is ready. If it is not ready in time, kills it and returns false.
    pub fn is_ready(&mut self) -> bool {
        let ready = wait::within(READY_WITHIN, || self.is_ready_now()).unwrap_or(false);
        if !ready {
            self.kill();
        }
        ready
    }

    /// Whether it is ready: `None` while it is starting, false if it has ended.
    pub fn is_ready_now(&mut self) -> Option<bool> {
        if self.exit_status().is_some() {
            return Some(false);
        }
        let said = self.log_of_run().contains(READY);
        (said && TcpStream::connect(self.address()).is_ok()).then_some(true)
    }

    /// Starts it and waits until it is ready (`None`) or has ended (its exit status).
    ///
    /// # Panics
    /// If it does neither in time.
    pub fn start_or_end(&mut self) -> Option<ExitStatus> {
        self.spawn();
        let outcome = wait::within(READY_WITHIN, || match self.exit_status() {
            Some(status) => Some(Some(status)),
            None => self.log_of_run().contains(READY).then_some(None),
        });
        let outcome = outcome.unwrap_or_else(|| {
            panic!("{} does not become ready:\n{}", self.program.display(), self.log_tail())
        });
        if outcome.is_some() {
            self.child = None;
        }
        outcome
    }

    /// Starts it without waiting for anything.
    ///
    /// # Panics
    /// If it is running already or cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        fs::create_dir_all(&self.folder).expect("the folder can be made");
        let log = self.open_log();
        self.log_from = log.metadata().expect("it is open").len();
        let mut line = self.launcher.clone();
        line.push(self.program.display().to_string());
        let mut says = OwnedFd::from(log.try_clone().expect("a handle"));
        if let Some(switch) = &self.log_switch {
            let (pipe, carrier) = switch.pipe(log);
            (says, self.log_carrier) = (pipe, Some(carrier));
        }
        let child = Command::new(&line[0])
            .args(&line[1..])
            .args(self.arguments())
            .env("PATH", crate::program::search_path())
            .stdin(Stdio::null())
            .stdout(says.try_clone().expect("a handle"))
            .stderr(says)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// All arguments of the program.
    pub fn arguments(&self) -> Vec<String> {
        let peer = self.peer_url();
        let listen = format!("{}://{}", self.peer_scheme, self.peer_address());
        let pairs = [
            ("--name", self.name.clone()),
            ("--data-dir", self.data_dir().display().to_string()),
            ("--listen-client-urls", self.url()),
            ("--advertise-client-urls", self.url()),
            ("--listen-peer-urls", listen),
            ("--initial-advertise-peer-urls", peer.clone()),
        ];
        let mut arguments: Vec<String> =
            pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let alone = || vec![format!("--initial-cluster={}={peer}", self.name)];
        arguments.extend(self.initial_cluster.clone().unwrap_or_else(alone));
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.client_host, self.client_port)
    }

    /// The address for clients, without the scheme.
    pub fn address(&self) -> String {
        format!("{}:{}", self.client_host, self.client_port)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The peer URL that it advertises.
    pub fn peer_url(&self) -> String {
        let port = self.advertised_port.unwrap_or(self.peer_port);
        format!("{}://{}:{port}", self.peer_scheme, self.peer_host)
    }

    /// Whether it was started and its end has not been collected.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The resource usage of its process.
    ///
    /// # Panics
    /// If it is not running.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid()).expect("it runs")
    }

    /// Its exit status, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("it is our child"))
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let status = wait::within(END_WITHIN, || self.exit_status());
        let status =
            status.unwrap_or_else(|| panic!("{} does not end:\n{}", self.url(), self.log_tail()));
        self.child = None;
        self.finish_log();
        status
    }

    /// After its end: waits until all its output is in the log.
    fn finish_log(&mut self) {
        // A blocked pipe must be unblocked first.
        if let (Some(carrier), Some(switch)) = (self.log_carrier.take(), &self.log_switch) {
            switch.set_blocked(false);
            carrier.join().expect("it does not panic").expect("the log can be written");
        }
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has already ended.
            let _ended = child.kill();
            child.wait().expect("it is our child");
            self.finish_log();
        }
    }

    /// Sends SIGTERM and returns the exit status.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is not running.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is our child and not yet waited for");
    }

    /// All its output so far, over all its runs.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    /// The log line of a panic, if the program has panicked in any of its runs.
    pub fn panic_line(&self) -> Option<String> {
        self.log().lines().find(|line| line.contains(PANIC)).map(str::to_owned)
    }

    /// Deletes its output so far.
    ///
    /// # Panics
    /// If the log cannot be written.
    pub fn clear_log(&self) {
        fs::create_dir_all(&self.folder).expect("the folder can be made");
        File::create(self.log_path()).expect("the log can be written");
    }

    /// Its output since the last start.
    pub fn log_of_run(&self) -> String {
        self.log_since(self.log_from)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn log_since(&self, from: u64) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn open_log(&self) -> File {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(self.log_path()).expect("the log can be opened")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking()
            && let Some(folder) = self.own_folder.take()
        {
            let kept = folder.keep();
            eprintln!("data and log are kept in {}", kept.display());
        }
    }
}
