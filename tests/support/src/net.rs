//! Machines made of network namespaces, on a network whose cables can be pulled.
//!
//! ```text
//!   here ── clients' bridge ──┬── machine 1 ──┐
//!        10.x.1.254           ├── machine 2 ──┤── peers' bridges, one for each side of a split
//!                             └── machine 3 ──┘
//! ```
//!
//! Each machine is on two networks. The clients' network always works, and this process is on it.
//! The peers' network can be split. Its addresses are the same in every net, so that clusters on
//! two nets can have the same member ids. Needs root and `ip`.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::program::search_path;
use crate::require::{self, Need};
use crate::server::Machine;

/// Linux limits interface names to 15 characters.
const NAME_MAX: usize = 15;
/// How many nets can be up at the same time.
const BLOCKS: u32 = 100;
/// A port on the loopback interface that nothing else uses. A socket bound to it at an address made
/// of the block claims the block.
const CLAIM_PORT: u16 = 2381;
/// Prefix of the peers' addresses. All nets use the same ones; they cannot reach each other.
const PEERS: &str = "10.19.2";

static NETS: AtomicU32 = AtomicU32::new(0);

/// Machines on two networks. Dropping it removes them.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    /// Second octet of clients' addresses, different for each net that is up. Always three digits,
    /// so that all addresses have the same length.
    block: u8,
    /// Bound while the net is up: no other process can take its block.
    _claim: UdpSocket,
    machines: usize,
}

impl Net {
    /// Whether this machine can make a net; if not, reports that `suite` is skipped.
    pub fn can_be_made(suite: &str) -> bool {
        require::met(
            suite,
            &[Need::Root, Need::Program("ip"), Need::Program("nsenter"), Need::Program("iptables")],
        )
    }

    /// A network of `machines`, numbered from 1, all connected.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn new(machines: usize) -> Self {
        let process = std::process::id();
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let blocks = (0..BLOCKS).map(|n| (process.wrapping_mul(7) + number + n) % BLOCKS);
        let mut blocks = blocks.map(|block| 100 + u8::try_from(block).expect("below 100"));
        let (block, claim) = blocks.find_map(claim).expect("not all of them are up");
        let prefix = format!("q{process:x}{number:x}");
        let net = Self { prefix, block, _claim: claim, machines };
        net.make();
        net
    }

    /// Address of machine `i` on the clients' network.
    pub fn client_address(&self, i: usize) -> String {
        format!("10.{}.1.{i}", self.block)
    }

    /// Address of machine `i` on the peers' network.
    pub fn peer_address(&self, i: usize) -> String {
        format!("{PEERS}.{i}")
    }

    /// The name of the network namespace of machine `i`.
    pub fn namespace(&self, i: usize) -> String {
        format!("{}-{i}", self.prefix)
    }

    /// The namespace and the addresses for a server on machine `i`.
    pub fn machine(&self, i: usize) -> Machine {
        Machine {
            namespace: self.namespace(i),
            client_address: self.client_address(i),
            peer_address: self.peer_address(i),
        }
    }

    /// Splits the peers' network: each machine reaches only its own group. Machines in no group are
    /// cut off.
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

    /// Heals all splits and removes all rules that drop packets.
    pub fn heal(&self) {
        let all: Vec<usize> = (1..=self.machines).collect();
        self.split(&[&all]);
        for i in 1..=self.machines {
            self.inside(i, &["iptables", "-F"]);
        }
    }

    /// Drops packets from `from` to `to` from now on; the other direction works.
    pub fn drop_one_way(&self, from: usize, to: usize) {
        let source = self.peer_address(from);
        self.inside(to, &["iptables", "-A", "INPUT", "-s", &source, "-j", "DROP"]);
    }

    /// Drops packets from other machines to the peer port of `to` from now on: `to` can open
    /// connections, but none can be opened to it.
    pub fn close_port(&self, to: usize) {
        let network = format!("{PEERS}.0/24");
        let port = ["-p", "tcp", "--dport", "2380", "-j", "DROP"];
        let mut rule = vec!["iptables", "-A", "INPUT", "-s", &network];
        rule.extend(port);
        self.inside(to, &rule);
    }

    /// Drops this share (0 to 1) of the peers' packets to `to` at random from now on.
    pub fn lose(&self, to: usize, share: f64) {
        let share = share.to_string();
        let lose = ["-m", "statistic", "--mode", "random", "--probability", &share, "-j", "DROP"];
        let network = format!("{PEERS}.0/24");
        let mut rule = vec!["iptables", "-A", "INPUT", "-s", &network];
        rule.extend(lose);
        self.inside(to, &rule);
    }

    /// Packets dropped on purpose since the last [`heal`](Self::heal).
    ///
    /// # Panics
    /// If the counts cannot be read.
    pub fn lost(&self) -> u64 {
        let of = |i| {
            let list = self.inside(i, &["iptables", "-L", "INPUT", "-v", "-n", "-x"]);
            // Skips two heading lines; each rule begins with its packet count.
            let rules = list.lines().skip(2).filter_map(|rule| rule.split_whitespace().next());
            rules.map(|count| count.parse::<u64>().expect("a count of packets")).sum::<u64>()
        };
        (1..=self.machines).map(of).sum()
    }

    fn make(&self) {
        let clients = self.bridge("c");
        let peers = self.peer_bridge(0);
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
                let inner = format!("eth-{kind}");
                let address = format!("{address}/24");
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

    /// Runs a command on machine `i` and returns its standard output.
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
            // Deleting the namespace also deletes its ends of the cables, and thereby ours.
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

/// Claims a block. `None` if another net has it: a claimed one, or one that a killed process left.
fn claim(block: u8) -> Option<(u8, UdpSocket)> {
    let claim = UdpSocket::bind((Ipv4Addr::new(127, 10, block, 1), CLAIM_PORT)).ok()?;
    let is_up = UdpSocket::bind((Ipv4Addr::new(10, block, 1, 254), 0)).is_ok();
    (!is_up).then_some((block, claim))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_claimed_once() {
        let (block, claimed) = (100..200).find_map(claim).expect("a free block");
        assert!(claim(block).is_none());
        drop(claimed);
        assert!(claim(block).is_some());
    }
}
