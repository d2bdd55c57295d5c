//! The volumes that tests of the operator use: they can be full and can grow.

use std::path::PathBuf;

use quorate_test_e2e::main_job;

#[test]
fn volumes_are_as_large_as_their_claims() {
    let agent = || vec![("NODE_AGENT", PathBuf::from(env!("CARGO_BIN_EXE_node-agent")))];
    main_job("volumes", 1, agent);
}
