//! Resources that a server and all other processes use during a measurement.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{self, Usage};

/// The counters at the start of a measurement.
pub(crate) struct Meter {
    pids: Vec<u32>,
    server: Usage,
    own_cpu: Duration,
    machine_cpu: Duration,
    begun: Instant,
}

/// Resources used during a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) server: Usage,
    /// CPU time of the client.
    pub(crate) client_cpu: Duration,
    /// CPUs that other processes kept busy: below 0.2 is negligible, 1.0 is half of a two-core
    /// machine.
    pub(crate) others_cpus: f64,
}

impl Meter {
    /// Starts to measure the server with this process id.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        Self::start_all(vec![pid])
    }

    /// Starts to measure several servers as one.
    pub(crate) fn start_all(pids: Vec<u32>) -> Result<Self> {
        Ok(Self {
            server: usage(&pids)?,
            pids,
            own_cpu: process::own_cpu()?,
            machine_cpu: process::machine_cpu()?,
            begun: Instant::now(),
        })
    }

    /// Resources used since the start.
    pub(crate) fn used(&self) -> Result<Used> {
        let server = usage(&self.pids)?.since(&self.server);
        let client_cpu = process::own_cpu()?.saturating_sub(self.own_cpu);
        let machine_cpu = process::machine_cpu()?.saturating_sub(self.machine_cpu);
        let others = machine_cpu.saturating_sub(server.cpu).saturating_sub(client_cpu);
        let others_cpus = others.as_secs_f64() / self.begun.elapsed().as_secs_f64();
        Ok(Used { server, client_cpu, others_cpus })
    }
}

fn usage(pids: &[u32]) -> Result<Usage> {
    pids.iter().try_fold(Usage::default(), |sum, pid| Ok(sum.and(&Usage::of(*pid)?)))
}
