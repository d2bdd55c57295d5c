//! A process whose disk writes are slow.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::require::{self, Need};
use crate::wait;

/// The requirements of slow disks on the machine.
pub const NEEDS: [Need; 2] = [Need::Root, Need::Program("strace")];
/// How long `strace` may take to attach to a process.
const ATTACHED_WITHIN: Duration = Duration::from_secs(60);

/// Delays every disk write of a process until it is dropped.
#[derive(Debug)]
pub struct SlowDisk(Child);

impl SlowDisk {
    /// Delays the disk writes of the process `pid`, each by `delay`. Returns when it does.
    ///
    /// # Panics
    /// If the machine lacks [`NEEDS`].
    pub fn of(pid: u32, delay: Duration) -> Self {
        let slow = format!("inject=pwrite64,fdatasync:delay_enter={}", delay.as_micros());
        let strace = require::find("strace").expect("`NEEDS` are met");
        let tracer = Command::new(strace)
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync", "-e", &slow])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn();
        let slow_disk = Self(tracer.expect("`strace` can be started"));
        let status = format!("/proc/{pid}/status");
        wait::until("the process is traced", ATTACHED_WITHIN, || {
            let status = fs::read_to_string(&status).ok()?;
            (!status.contains("TracerPid:\t0")).then_some(())
        });
        slow_disk
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // A killed tracer also lets the process continue at full speed.
        self.0.kill().expect("`strace` runs");
        self.0.wait().expect("`strace` was started here");
    }
}
