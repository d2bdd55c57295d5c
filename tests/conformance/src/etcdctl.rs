//! etcdctl against Quorate and against etcd, with the same commands.
//!
//! In a script, each line is one etcdctl command:
//!
//! ```text
//!   # a comment
//!   put 'a key' value              words may be quoted
//!   txn                            lines behind a bar are the command's standard input
//!   | mod("a") > "0"
//!   lease grant 100                the first lease granted is `$lease1` from here on
//!   put k $x300                    the letter x 300 times
//!   start watch a --prefix         runs in the background, until `stop`
//!   await 3                        waits until it has printed three more lines
//!   await progress notify: 2       waits until it has printed this line
//!   tell progress                  a line for its standard input
//!   stop
//! ```
//!
//! Each side is one member, or a cluster of three whose clients use a follower.
//!
//! A command's output and exit code must be the same on both sides after [`normalize::RULES`] are
//! applied.

mod background;
pub mod normalize;
mod parse;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::{http, program, wait};

use crate::cluster_pair::ClusterPair;
use crate::server_pair::ServerPair;
use background::Background;
use parse::{Line, Variables};

/// How long a watch may take to print what a script waits for.
const PRINTED_WITHIN: Duration = Duration::from_secs(30);

/// The etcdctl flag that asks every member.
const OF_ALL: &str = "--cluster";

/// A command's exit code and output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The servers under comparison.
#[derive(Debug)]
enum Servers {
    Members(Box<ServerPair>),
    Clusters(Box<ClusterPair>),
}

/// One side of the comparison: a server or cluster, as etcdctl addresses it.
#[derive(Debug)]
struct Side {
    etcdctl: PathBuf,
    /// Addresses of all members; etcdctl uses the first one.
    addresses: Vec<String>,
    /// Ids of the granted leases, in the order of the grants.
    leases: Vec<i64>,
    background: Option<Background>,
}

impl Side {
    fn address(&self) -> &str {
        &self.addresses[0]
    }

    fn command(&self, words: &[String]) -> Command {
        let words = words.iter().map(|word| self.variables().fill(word));
        let mut command = Command::new(&self.etcdctl);
        command.arg("--endpoints").arg(self.address()).args(words);
        command
    }

    fn variables(&self) -> Variables<'_> {
        Variables { leases: &self.leases }
    }

    fn run(&self, words: &[String], stdin: &str) -> Outcome {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl can be started");
        let mut input = child.stdin.take().expect("it is piped");
        // A command that reads nothing may have exited already.
        input.write_all(self.variables().fill(stdin).as_bytes()).ok();
        drop(input);
        let output = child.wait_with_output().expect("it is our child");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The outcome after all rules; remembers the lease id if a lease was granted.
    fn normalized(&mut self, outcome: &Outcome) -> Outcome {
        self.leases.extend(normalize::granted_lease(&outcome.stdout));
        let normalized = |text: &str| normalize::normalize(text, &self.addresses, &self.leases);
        Outcome {
            code: outcome.code,
            stdout: normalized(&outcome.stdout),
            stderr: normalized(&outcome.stderr),
        }
    }

    /// Number of open watchers, from the server's metrics.
    fn watchers(&self) -> Option<f64> {
        http::metric(self.address(), "etcd_debugging_mvcc_watcher_total")
    }

    fn start(&mut self, words: &[String], stdin: &str) {
        assert!(self.background.is_none(), "stop the command in the background first");
        let stdin = self.variables().fill(stdin);
        self.background = Some(Background::start(self.command(words), &stdin));
        wait::until("the watch is registered", PRINTED_WITHIN, || {
            (self.watchers()? > 0.0).then_some(())
        });
    }

    fn background(&mut self) -> &mut Background {
        self.background.as_mut().expect("a command was started")
    }
}

/// Both servers, and the differences so far.
#[derive(Debug)]
pub struct Comparison {
    servers: Servers,
    /// Quorate's, then etcd's.
    sides: [Side; 2],
    commands: usize,
    differences: Vec<String>,
}

impl Comparison {
    /// Starts both servers with these additional flags; `None`, reported as a skip, without Go.
    ///
    /// # Panics
    /// If a server does not start.
    pub fn start(suite: &str, flags: &[&str]) -> Option<Self> {
        let pair = ServerPair::start(suite, flags)?;
        let addresses = [&pair.quorate, &pair.etcd].map(|server| vec![server.address()]);
        Self::of(suite, Servers::Members(Box::new(pair)), addresses)
    }

    /// Like [`start`](Self::start), with three members on each side; clients use a follower. If
    /// `killed_every` is given, Quorate's other follower is killed at that interval. `None`,
    /// reported as a skip, also if networks cannot be made.
    ///
    /// # Panics
    /// If a server does not start.
    pub fn start_clusters(
        suite: &str,
        flags: &[&str],
        killed_every: Option<Duration>,
    ) -> Option<Self> {
        let clusters = ClusterPair::start(suite, flags, killed_every)?;
        let addresses = [&clusters.quorate, &clusters.etcd].map(FollowerCluster::addresses);
        Self::of(suite, Servers::Clusters(Box::new(clusters)), addresses)
    }

    fn of(suite: &str, servers: Servers, addresses: [Vec<String>; 2]) -> Option<Self> {
        let etcdctl = program::etcd(suite, "etcdctl")?;
        let sides = addresses.map(|addresses| Side {
            etcdctl: etcdctl.clone(),
            addresses,
            leases: Vec::new(),
            background: None,
        });
        Some(Self { servers, sides, commands: 0, differences: Vec::new() })
    }

    /// Runs a script on both sides.
    ///
    /// # Panics
    /// If the script is malformed, or a watch does not print what the script waits for.
    pub fn run(&mut self, script: &str) {
        for line in parse::lines(script) {
            match line {
                Line::Command { words, stdin } => self.command(&words, &stdin),
                Line::Start { words, stdin } => {
                    for side in &mut self.sides {
                        side.start(&words, &stdin);
                    }
                    self.commands += 1;
                }
                Line::Await(lines) => {
                    self.sides.iter_mut().for_each(|side| side.background().expected += lines);
                    self.printed(|background| background.lines() >= background.expected);
                }
                Line::AwaitText(line) => self.printed(|background| background.has_line(&line)),
                Line::Tell(text) => {
                    for side in &mut self.sides {
                        side.background().tell(&text);
                    }
                }
                Line::Stop => self.stop(),
            }
        }
    }

    /// Reports the result of the comparison.
    ///
    /// # Panics
    /// If there was a difference, or Quorate ended or panicked.
    pub fn finish(self) {
        match self.servers {
            Servers::Members(mut pair) => pair.assert_sound(),
            Servers::Clusters(clusters) => clusters.finish(),
        }
        let count = self.differences.len();
        let commands = self.commands;
        assert!(commands > 0, "the script is empty");
        assert!(
            self.differences.is_empty(),
            "{count} of {commands} commands differ:\n\n{}",
            self.differences.join("\n")
        );
    }

    fn command(&mut self, words: &[String], stdin: &str) {
        let [quorate, etcd] = {
            let _paused = match &self.servers {
                Servers::Clusters(clusters) if words.iter().any(|word| word == OF_ALL) => {
                    clusters.wait_until_in_sync()
                }
                _ => None,
            };
            std::thread::scope(|scope| {
                let runs = self.sides.each_ref().map(|side| scope.spawn(|| side.run(words, stdin)));
                runs.map(|run| run.join().expect("running a command does not panic"))
            })
        };
        self.commands += 1;
        self.compare(&words.join(" "), &quorate, &etcd);
    }

    fn compare(&mut self, what: &str, quorate: &Outcome, etcd: &Outcome) {
        let [left, right] = &mut self.sides;
        let quorate = left.normalized(quorate);
        let etcd = right.normalized(etcd);
        let mut difference = String::new();
        for (which, left, right) in [
            ("code", &format!("{:?}", quorate.code), &format!("{:?}", etcd.code)),
            ("stdout", &quorate.stdout, &etcd.stdout),
            ("stderr", &quorate.stderr, &etcd.stderr),
        ] {
            if left != right {
                difference +=
                    &format!("  {which}, quorate: {left:?}\n  {which}, etcd:    {right:?}\n");
            }
        }
        if !difference.is_empty() {
            self.differences.push(format!("etcdctl {what}\n{difference}"));
        }
    }

    /// Waits until `enough` holds for the background command on both sides.
    fn printed(&mut self, enough: impl Fn(&Background) -> bool) {
        for (side, name) in self.sides.iter_mut().zip(["quorate", "etcd"]) {
            let background = side.background();
            let printed = wait::within(PRINTED_WITHIN, || enough(background).then_some(()));
            let output = background.stdout();
            assert!(printed.is_some(), "on {name}, the watch printed only:\n{output}");
        }
    }

    fn stop(&mut self) {
        let ends = self.sides.each_mut().map(|side| {
            let background = side.background.take().expect("a command was started");
            let address = side.address().to_owned();
            let outcome = background.stop();
            wait::until(&format!("{address}: the watch has ended"), PRINTED_WITHIN, || {
                (side.watchers()? == 0.0).then_some(())
            });
            outcome
        });
        let [(what, quorate), (_, etcd)] = ends;
        self.compare(&what, &quorate, &etcd);
    }
}
