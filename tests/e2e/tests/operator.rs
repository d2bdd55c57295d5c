//! A store that the operator runs, through its whole life, under a kube-apiserver that is written
//! to all the time.

use std::path::Path;

use quorate_test_e2e::main_job;
use quorate_test_support::program;

#[test]
fn an_operated_store_loses_nothing_in_its_whole_life() {
    let programs = [
        ("AUDIT_PROGRAM", Path::new(env!("CARGO_BIN_EXE_audit"))),
        ("NODE_AGENT", Path::new(env!("CARGO_BIN_EXE_node-agent"))),
        ("OPERATOR_BIN", &program::operator()),
        ("OTHER_STORE_BIN", &program::planted()),
    ];
    main_job("operator", 1, &programs);
}
