//! The comparison with etcd, as a program; see the library.

#![forbid(unsafe_code)]

use clap::Parser as _;
use mimalloc::MiMalloc;
use quorate_test_bench::Options;

// CPU time that the client saves is left to the servers on the same cores.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> anyhow::Result<()> {
    quorate_test_bench::run(&Options::parse())
}
