//! Where the members of a campaign run, which determines their faults.

use std::path::Path;
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::net::Net;
use quorate_test_support::require;
use rand::Rng;
use rand::rngs::StdRng;

use super::{clock, disk, limits};

/// Frequent progress notifications for the watches that request them.
const OPTIONS: [&str; 2] = ["--watch-progress-notify-interval", "100ms"];
/// The memory budget of a member with 2 GiB of memory, and many log lines.
const OVERLOADED: [&str; 2] = ["--memory-budget=178956970", "--log-level=debug"];
/// How long a network or proxy may try to deliver a request.
const NETWORK_KEEPS: Duration = Duration::from_secs(120);

/// The environment of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A single member on this machine; its process is killed.
    OneProcess,
    /// A single member on a disk of its own, whose power is cut.
    OneDisk,
    /// On this machine; processes are killed.
    Processes,
    /// On separate machines with a network between them that can be split.
    Network,
    /// Behind proxies that distort the traffic between members.
    Proxies,
    /// On separate disks.
    Disks,
    /// With separate clocks.
    Clocks,
    /// Five members on separate machines, as with [`Network`](Self::Network).
    FiveMachines,
    /// On this machine, each member with one worker thread and few descriptors; clients and others
    /// overload them.
    Overload,
}

impl Environment {
    /// The number of members.
    pub fn size(self) -> usize {
        match self {
            Self::OneProcess | Self::OneDisk => 1,
            Self::FiveMachines => 5,
            _ => 3,
        }
    }

    /// Whether the machine meets the needs of the environment; otherwise reports that `suite` is
    /// skipped.
    pub fn is_possible(self, suite: &str) -> bool {
        match self {
            Self::OneDisk | Self::Disks => require::met(suite, &disk::NEEDS),
            Self::Network | Self::FiveMachines => Net::can_be_made(suite),
            Self::Overload => require::met(suite, &limits::NEEDS),
            Self::Clocks => require::met(suite, &clock::NEEDS),
            Self::OneProcess | Self::Processes | Self::Proxies => true,
        }
    }

    /// Whether each member has a disk of its own.
    pub fn has_disks(self) -> bool {
        matches!(self, Self::OneDisk | Self::Disks)
    }

    /// How late a request can be applied whose client has given up after `patience`: as long as a
    /// network or proxy may deliver it; elsewhere, little longer than a client waits. A single
    /// member that is killed takes its requests with it.
    pub fn late_max(self, patience: Duration) -> Duration {
        match self {
            Self::OneProcess | Self::OneDisk => Duration::ZERO,
            Self::Network | Self::FiveMachines | Self::Proxies => NETWORK_KEEPS,
            Self::Processes | Self::Disks | Self::Clocks | Self::Overload => patience * 2,
        }
    }

    /// The members of a new cluster, not started yet.
    ///
    /// # Panics
    /// When it cannot be made; see [`is_possible`](Self::is_possible).
    pub fn cluster(self, program: &Path, rng: &mut StdRng) -> Cluster {
        let size = self.size();
        match self {
            Self::Network | Self::FiveMachines => {
                Cluster::on_machines_with_tls(program, size, &OPTIONS)
            }
            Self::Proxies => {
                Cluster::behind_proxies(program, size, &OPTIONS, rng.random(), rng.random())
            }
            // No progress notifications: only events advance a watch that has stalled.
            Self::Overload => Cluster::new_with_tls(program, size, &OVERLOADED),
            Self::OneProcess | Self::OneDisk | Self::Processes | Self::Disks | Self::Clocks => {
                Cluster::new(program, size, &OPTIONS)
            }
        }
    }
}
