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
//!   as alice                       shows the client certificate of this name from here on
//! ```
//!
//! Each side is one member, or a cluster of three whose clients use a follower.
//!
//! A command's output and exit code must be the same on both sides after [`normalize::RULES`] are
//! applied.

mod background;
pub mod normalize;
mod parse;
mod side;

use std::time::Duration;

use quorate_test_support::certs::Pki;
use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::server::Server;
use quorate_test_support::{port, program, wait};

use crate::cluster_pair::ClusterPair;
use crate::server_pair::ServerPair;
use background::Background;
use parse::Line;
use side::{Outcome, Side, Tls};

/// How long a watch may take to print the lines that a script waits for.
const PRINTED_WITHIN: Duration = Duration::from_secs(30);

/// The etcdctl flag that asks every member.
const OF_ALL: &str = "--cluster";

/// The servers under comparison.
#[derive(Debug)]
enum Servers {
    Members(Box<ServerPair>),
    Clusters(Box<ClusterPair>),
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
        let sides = addresses.map(|addresses| Side::new(etcdctl.clone(), addresses));
        Some(Self { servers, sides, commands: 0, differences: Vec::new() })
    }

    /// Runs a script on both sides.
    ///
    /// # Panics
    /// If the script is malformed, or a watch does not print the lines that the script waits for.
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
                Line::As(name) => self.sides.iter_mut().for_each(|side| side.show(&name)),
            }
        }
    }

    /// Stops both members by SIGTERM, and starts them again.
    ///
    /// # Panics
    /// If a server is not ready again, or there are clusters on both sides.
    pub fn restart(&mut self) {
        for member in self.members() {
            member.stop();
            member.start();
        }
    }

    /// Like [`restart`](Self::restart). From here on, the members have these additional flags and
    /// serve clients over TLS, with the certificates of `pki`. The members require a certificate
    /// from each client.
    ///
    /// # Panics
    /// As [`restart`](Self::restart).
    pub fn restart_with_tls(&mut self, flags: &[&str], pki: &Pki) {
        let metrics = port::free::<2>().map(|port| format!("127.0.0.1:{port}"));
        for (member, metrics) in self.members().into_iter().zip(&metrics) {
            member.set_tls();
            member.add_flags(&[&format!("--listen-metrics-urls=http://{metrics}")]);
            for flag in pki.client_flags() {
                member.add_flags(&[&flag]);
            }
            member.add_flags(flags);
        }
        self.restart();
        for (side, metrics) in self.sides.iter_mut().zip(metrics) {
            side.metrics = metrics;
            side.tls = Some(Tls { pki: pki.clone(), shown: "client".to_owned() });
        }
    }

    fn members(&mut self) -> [&mut Server; 2] {
        match &mut self.servers {
            Servers::Members(pair) => [&mut pair.quorate, &mut pair.etcd],
            Servers::Clusters(_) => panic!("only single members can be restarted"),
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
        let ends = self.sides.each_mut().map(Side::stop);
        let [(what, quorate), (_, etcd)] = ends;
        self.compare(&what, &quorate, &etcd);
    }
}
