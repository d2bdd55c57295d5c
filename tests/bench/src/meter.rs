//! What a server and everybody else use while something is measured.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{self, Usage};

/// Counters at the beginning of a measurement.
pub(crate) struct Meter {
    pids: Vec<u32>,
    server: Usage,
    own_cpu: Duration,
    machine_cpu: Duration,
    begun: Instant,
}

/// What was used in the time of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) server: Usage,
    /// Processor time of the client.
    pub(crate) client_cpu: Duration,
    /// Processors that others kept busy: below 0.2 nothing, at 1.0 half of a machine with two.
    pub(crate) others_cpus: f64,
}

impl Meter {
    /// Begins to measure the server with this process id.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        Self::start_all(vec![pid])
    }

    /// Begins to measure several servers as one.
    pub(crate) fn start_all(pids: Vec<u32>) -> Result<Self> {
        Ok(Self {
            server: usage(&pids)?,
            pids,
            own_cpu: process::own_cpu()?,
            machine_cpu: process::machine_cpu()?,
            begun: Instant::now(),
        })
    }

    /// What was used since.
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
