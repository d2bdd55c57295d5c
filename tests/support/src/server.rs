//! One server process, Quorate's or etcd's, with a data directory of its own.

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
use crate::{port, wait};

/// How long a server may take to be ready. Generous: suites run beside each other on small
/// machines.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to end when asked to.
const END_WITHIN: Duration = Duration::from_secs(30);
/// What the log says when clients are served; etcd's words, and Quorate's.
const READY: &str = "ready to serve client requests";
/// What the log says when other members are served; etcd's words, and Quorate's.
const LISTENS: [&str; 2] = ["serving peer traffic", "\"traffic\":\"peers\""];
/// How often a start is tried again with other ports.
const ATTEMPTS: usize = 3;

/// A program, its arguments and where its data lie; running or not.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    /// What runs the program, with its arguments; nothing for the program itself.
    through: Vec<String>,
    name: String,
    flags: Vec<String>,
    scheme: &'static str,
    peer_scheme: &'static str,
    client_host: String,
    peer_host: String,
    /// Where it listens for other members.
    peer_listen: String,
    client_port: u16,
    peer_port: u16,
    /// Where other members reach it, when something stands in between.
    advertised_port: Option<u16>,
    /// The flags that say who is in its cluster; `None` for this server alone.
    origin: Option<Vec<String>>,
    log_from: u64,
    // Removed at the end, unless the test failed.
    own_folder: Option<TempDir>,
    folder: PathBuf,
    data_dir: PathBuf,
    child: Option<Child>,
    /// What it says goes through a pipe that can stand still; straight into its log otherwise.
    log_switch: Option<LogSwitch>,
    /// What carries it, while it runs.
    log_carrier: Option<JoinHandle<io::Result<()>>>,
}

/// A machine of a [`Net`](crate::net::Net).
#[derive(Clone, Debug)]
pub struct Place {
    /// Its network namespace.
    pub namespace: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Where other members reach it.
    pub peer_address: String,
}

impl Server {
    /// A server that is not running yet, with a fresh folder for its data and log. `flags` come
    /// after those for name, data directory and addresses.
    pub fn new(program: &Path, flags: &[&str]) -> Self {
        let own = tempfile::Builder::new().prefix("quorate-test-").tempdir().expect("a folder");
        let mut server = Self::in_folder(program, own.path(), flags);
        server.own_folder = Some(own);
        server
    }

    /// Like [`new`](Self::new), in a folder that is the caller's.
    pub fn in_folder(program: &Path, folder: &Path, flags: &[&str]) -> Self {
        let [client_port, peer_port] = port::free();
        Self {
            program: program.to_path_buf(),
            through: Vec::new(),
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
            origin: None,
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

    /// Is a member of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Serves other members over TLS; the flags must name the certificates.
    #[must_use]
    pub fn with_peer_tls(mut self) -> Self {
        self.peer_scheme = "https";
        self
    }

    /// Serves other members over TLS, from the next start on.
    pub fn set_peer_tls(&mut self) {
        self.peer_scheme = "https";
    }

    /// Is known to other members as this host, which must be the local one.
    #[must_use]
    pub fn at_host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.peer_host);
        self
    }

    /// Runs on a machine of its own, at etcd's ports.
    #[must_use]
    pub fn on_machine(mut self, place: &Place) -> Self {
        (self.client_port, self.peer_port) = (2379, 2380);
        self.client_host.clone_from(&place.client_address);
        self.peer_host.clone_from(&place.peer_address);
        self.peer_listen.clone_from(&place.peer_address);
        self.through(&["ip", "netns", "exec", &place.namespace])
    }

    /// Is started by another program, which must become it.
    #[must_use]
    pub fn through(mut self, launcher: &[&str]) -> Self {
        self.set_launcher(launcher);
        self
    }

    /// Is started by another program, which must become it, from the next start on.
    pub fn set_launcher(&mut self, launcher: &[&str]) {
        self.through = launcher.iter().map(|&part| part.to_owned()).collect();
    }

    /// Is reached by other members at another port than its own.
    pub fn set_advertised_port(&mut self, port: u16) {
        self.advertised_port = Some(port);
    }

    /// Where it listens for other members, without the scheme.
    pub fn peer_address(&self) -> String {
        format!("{}:{}", self.peer_listen, self.peer_port)
    }

    /// Sets the flags that say who is in its cluster, from the next start on.
    pub fn set_origin(&mut self, flags: &[&str]) {
        self.origin = Some(flags.iter().map(|&flag| flag.to_owned()).collect());
    }

    /// Keeps its data somewhere else, from the next start on.
    pub fn set_data_dir(&mut self, data_dir: &Path) {
        self.data_dir = data_dir.to_path_buf();
    }

    /// Says what it has to say to a pipe, from the next start on, which the switch can block.
    pub fn log_through(&mut self, switch: &LogSwitch) {
        self.log_switch = Some(switch.clone());
    }

    /// Adds flags, from the next start on.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    /// Takes flags away, from the next start on.
    pub fn remove_flags(&mut self, flags: &[&str]) {
        self.flags.retain(|flag| !flags.contains(&flag.as_str()));
    }

    /// A new server that is ready.
    ///
    /// # Panics
    /// When it does not become ready.
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

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message has the end of its log.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Waits until it is ready, after [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// When it does not become ready; the message has the end of its log.
    pub fn wait_until_ready(&mut self) {
        assert!(self.is_ready(), "{} is not ready:\n{}", self.program.display(), self.log_tail());
    }

    /// Waits until it serves other members, or has ended, after [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// When it does neither.
    pub fn wait_until_it_listens(&mut self) {
        wait::until("other members are served, or it has ended", READY_WITHIN, || {
            let log = self.log_of_run();
            let listens = LISTENS.iter().any(|said| log.contains(said));
            (listens || self.exit_status().is_some()).then_some(())
        });
    }

    /// Starts it; false when it ended or is not ready in time.
    pub fn try_start(&mut self) -> bool {
        self.spawn();
        self.is_ready()
    }

    /// Waits until it is ready; kills it, and returns false, when it is not in time.
    pub fn is_ready(&mut self) -> bool {
        let ready = wait::within(READY_WITHIN, || self.is_ready_now()).unwrap_or(false);
        if !ready {
            self.kill();
        }
        ready
    }

    /// Whether it is ready: `None` while that may come, false when it has ended.
    pub fn is_ready_now(&mut self) -> Option<bool> {
        if self.exit_status().is_some() {
            return Some(false);
        }
        let said = self.log_of_run().contains(READY);
        (said && TcpStream::connect(self.address()).is_ok()).then_some(true)
    }

    /// Starts it; returns how it ended if it did so before it was ready.
    ///
    /// # Panics
    /// When it neither becomes ready nor ends.
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
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        fs::create_dir_all(&self.folder).expect("the folder can be made");
        let log = self.open_log();
        self.log_from = log.metadata().expect("it is open").len();
        let mut line = self.through.clone();
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

    /// All arguments it is started with.
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
        arguments.extend(self.origin.clone().unwrap_or_else(alone));
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.client_host, self.client_port)
    }

    /// Where clients reach it, without the scheme.
    pub fn address(&self) -> String {
        format!("{}:{}", self.client_host, self.client_port)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where other members reach it.
    pub fn peer_url(&self) -> String {
        let port = self.advertised_port.unwrap_or(self.peer_port);
        format!("{}://{}:{port}", self.peer_scheme, self.peer_host)
    }

    /// Whether it was started and has not been seen to end.
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
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("it is our child"))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it goes on running.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let status = wait::within(END_WITHIN, || self.exit_status());
        let status =
            status.unwrap_or_else(|| panic!("{} does not end:\n{}", self.url(), self.log_tail()));
        self.child = None;
        self.finish_log();
        status
    }

    /// Waits until all that it said is in its log, once it has ended.
    fn finish_log(&mut self) {
        // A pipe that stands still goes on before that.
        if let (Some(carrier), Some(switch)) = (self.log_carrier.take(), &self.log_switch) {
            switch.set_blocked(false);
            carrier.join().expect("it does not panic").expect("the log can be written");
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended already.
            let _ended = child.kill();
            child.wait().expect("it is our child");
            self.finish_log();
        }
    }

    /// SIGTERM; returns how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is our child and not yet waited for");
    }

    /// Everything it said so far, in all its runs.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    /// Forgets what it said so far.
    ///
    /// # Panics
    /// When the log cannot be written.
    pub fn clear_log(&self) {
        fs::create_dir_all(&self.folder).expect("the folder can be made");
        File::create(self.log_path()).expect("the log can be written");
    }

    /// What it said since it was started last.
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
