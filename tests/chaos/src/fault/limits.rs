//! Members with limits: one worker thread and few descriptors.

use quorate_test_support::require::Need;

/// The requirements of such members on the machine.
pub const NEEDS: [Need; 1] = [Need::Program("prlimit")];
/// The launcher of a member that may open at most 1024 descriptors and cannot raise that limit.
pub const LAUNCHER: [&str; 4] = ["env", "TOKIO_WORKER_THREADS=1", "prlimit", "--nofile=1024:1024"];
