//! Members that have little: one worker, and few descriptors.

use quorate_test_support::require::Need;

/// What the machine needs for it.
pub const NEEDS: [Need; 1] = [Need::Program("prlimit")];
/// What starts a member that may open no more than so many descriptors, and cannot raise that.
pub const LAUNCHER: [&str; 4] = ["env", "TOKIO_WORKER_THREADS=1", "prlimit", "--nofile=1024:1024"];
