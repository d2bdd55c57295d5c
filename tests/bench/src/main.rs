//! The comparison with etcd as a program; what it does is in the library.

#![forbid(unsafe_code)]

use clap::Parser as _;
use mimalloc::MiMalloc;
use quorate_test_bench::Options;

// What the client spends is taken from the servers on the same cores.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> anyhow::Result<()> {
    quorate_test_bench::run(&Options::parse())
}
