//! A network of machines made of network namespaces, whose cables can be pulled.
//!
//! ```text
//!   here ── clients' bridge ──┬── machine 1 ──┐
//!        10.x.1.254           ├── machine 2 ──┤── peers' bridges, one for each side of a split
//!                             └── machine 3 ──┘
//! ```
//!
//! Each machine is on two networks: on that of the clients, which this process is on too and which
//! always works, and on that of the peers, which can be split. On the peers' network addresses are
//! the same whichever net it is, so that clusters on two nets can have the same members' ids. Needs
//! root and `ip`.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::program::search_path;
use crate::require::{self, Need};
use crate::server::Place;

/// Names of interfaces are at most 15 characters long.
const NAME_MAX: usize = 15;
/// How many nets can be up at the same time.
const BLOCKS: u32 = 100;
/// What addresses on the peers' networks begin with; each is out of reach of the others.
const PEERS: &str = "10.19.2";

static NETS: AtomicU32 = AtomicU32::new(0);

/// Machines on two networks. Dropping it takes everything down.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    /// The second number of clients' addresses, so that several can be up at the same time. Always
    /// of three digits, so that addresses have the same length.
    block: u8,
    machines: usize,
}

impl Net {
    /// Whether this machine can make one; otherwise says that `suite` is skipped.
    pub fn can_be_made(suite: &str) -> bool {
        require::met(suite, &[Need::Root, Need::Program("ip"), Need::Program("iptables")])
    }

    /// A network of `machines`, numbered from 1, all connected.
    ///
    /// # Panics
    /// When the system does not let us.
    pub fn new(machines: usize) -> Self {
        let process = std::process::id();
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let blocks = (0..BLOCKS).map(|n| (process.wrapping_mul(7) + number + n) % BLOCKS);
        let mut blocks = blocks.map(|block| 100 + u8::try_from(block).expect("below 100"));
        let block = blocks.find(|block| !is_taken(*block)).expect("not all of them are up");
        let net = Self { prefix: format!("q{process:x}{number:x}"), block, machines };
        net.make();
        net
    }

    /// Where clients reach machine `i`.
    pub fn client_address(&self, i: usize) -> String {
        format!("10.{}.1.{i}", self.block)
    }

    /// Where other machines reach machine `i`.
    pub fn peer_address(&self, i: usize) -> String {
        format!("{PEERS}.{i}")
    }

    /// The name of the namespace that machine `i` is, as `ip netns exec` wants it.
    pub fn namespace(&self, i: usize) -> String {
        format!("{}-{i}", self.prefix)
    }

    /// What a server must know of machine `i` to run on it.
    pub fn place(&self, i: usize) -> Place {
        Place {
            namespace: self.namespace(i),
            client_address: self.client_address(i),
            peer_address: self.peer_address(i),
        }
    }

    /// Splits the peers' network: machines reach only those of their own group. Those in no group
    /// reach nobody.
    pub fn split(&self, groups: &[&[usize]]) {
        for i in 1..=self.machines {
            let side = groups.iter().position(|group| group.contains(&i));
            let port = self.port("p", i);
            match side {
                None => {
                    run(&["ip", "link", "set", &port, "nomaster"]);
                }
                Some(side) => {
                    let bridge = self.peer_bridge(side);
                    if side > 0 && !exists(&bridge) {
                        run(&["ip", "link", "add", &bridge, "type", "bridge"]);
                        run(&["ip", "link", "set", &bridge, "up"]);
                    }
                    run(&["ip", "link", "set", &port, "master", &bridge]);
                }
            }
        }
    }

    /// Connects everybody again.
    pub fn heal(&self) {
        let all: Vec<usize> = (1..=self.machines).collect();
        self.split(&[&all]);
        for i in 1..=self.machines {
            self.inside(i, &["iptables", "-F"]);
        }
    }

    /// What `from` sends to `to` is lost from now on; the other way is open.
    pub fn drop_one_way(&self, from: usize, to: usize) {
        let source = self.peer_address(from);
        self.inside(to, &["iptables", "-A", "INPUT", "-s", &source, "-j", "DROP"]);
    }

    /// What others send to the peer port of `to` is lost from now on: it can open connections, and
    /// nobody can open one to it.
    pub fn close_port(&self, to: usize) {
        let network = format!("{PEERS}.0/24");
        let port = ["-p", "tcp", "--dport", "2380", "-j", "DROP"];
        let mut rule = vec!["iptables", "-A", "INPUT", "-s", &network];
        rule.extend(port);
        self.inside(to, &rule);
    }

    /// One packet in so many that `to` gets from anywhere is lost from now on.
    pub fn lose(&self, to: usize, share: f64) {
        let share = share.to_string();
        let lose = ["-m", "statistic", "--mode", "random", "--probability", &share, "-j", "DROP"];
        let network = format!("{PEERS}.0/24");
        let mut rule = vec!["iptables", "-A", "INPUT", "-s", &network];
        rule.extend(lose);
        self.inside(to, &rule);
    }

    /// Packets that were lost on purpose since everybody was connected.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn lost(&self) -> u64 {
        let of = |i| {
            let list = self.inside(i, &["iptables", "-L", "INPUT", "-v", "-n", "-x"]);
            // Two lines of heading; then each rule begins with its count.
            let rules = list.lines().skip(2).filter_map(|rule| rule.split_whitespace().next());
            rules.map(|count| count.parse::<u64>().expect("a count of packets")).sum::<u64>()
        };
        (1..=self.machines).map(of).sum()
    }

    fn make(&self) {
        let (clients, peers) = (self.bridge("c"), self.peer_bridge(0));
        for bridge in [&clients, &peers] {
            run(&["ip", "link", "add", bridge, "type", "bridge"]);
            run(&["ip", "link", "set", bridge, "up"]);
        }
        let here = format!("10.{}.1.254/24", self.block);
        run(&["ip", "address", "add", &here, "dev", &clients]);
        for i in 1..=self.machines {
            let namespace = self.namespace(i);
            run(&["ip", "netns", "add", &namespace]);
            self.inside(i, &["ip", "link", "set", "lo", "up"]);
            for (kind, bridge, address) in
                [("c", &clients, self.client_address(i)), ("p", &peers, self.peer_address(i))]
            {
                let port = self.port(kind, i);
                let (inner, address) = (format!("eth-{kind}"), format!("{address}/24"));
                run(&[
                    "ip", "link", "add", &port, "type", "veth", "peer", "name", &inner, "netns",
                    &namespace,
                ]);
                run(&["ip", "link", "set", &port, "master", bridge, "up"]);
                self.inside(i, &["ip", "address", "add", &address, "dev", &inner]);
                self.inside(i, &["ip", "link", "set", &inner, "up"]);
            }
        }
    }

    /// Runs a command on machine `i`. What it says.
    fn inside(&self, i: usize, command: &[&str]) -> String {
        let namespace = self.namespace(i);
        let mut whole = vec!["ip", "netns", "exec", &namespace];
        whole.extend(command);
        run(&whole)
    }

    fn bridge(&self, kind: &str) -> String {
        short(format!("{}{kind}", self.prefix))
    }

    fn peer_bridge(&self, side: usize) -> String {
        short(format!("{}s{side}", self.prefix))
    }

    fn port(&self, kind: &str, i: usize) -> String {
        short(format!("{}{kind}{i}", self.prefix))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for i in 1..=self.machines {
            // With the namespace go its ends of the cables, and with those ours.
            attempt(&["ip", "netns", "delete", &self.namespace(i)]);
        }
        attempt(&["ip", "link", "delete", &self.bridge("c")]);
        for side in 0..self.machines {
            let bridge = self.peer_bridge(side);
            if exists(&bridge) {
                attempt(&["ip", "link", "delete", &bridge]);
            }
        }
    }
}

/// Whether a net with this block is up: then this process's end of it can be bound to.
fn is_taken(block: u8) -> bool {
    UdpSocket::bind((Ipv4Addr::new(10, block, 1, 254), 0)).is_ok()
}

fn short(name: String) -> String {
    assert!(name.len() <= NAME_MAX, "{name} is too long for the name of an interface");
    name
}

fn exists(interface: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(interface).exists()
}

fn attempt(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).env("PATH", search_path()).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).env("PATH", search_path()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
