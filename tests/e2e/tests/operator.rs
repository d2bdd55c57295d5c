//! A store that the operator runs, through its whole life, under a kube-apiserver that is written
//! to all the time.

use std::path::PathBuf;

use quorate_test_e2e::main_job;
use quorate_test_support::program;

#[test]
fn an_operated_store_loses_nothing_in_its_whole_life() {
    main_job("operator", 1, || {
        vec![
            ("AUDIT_PROGRAM", PathBuf::from(env!("CARGO_BIN_EXE_audit"))),
            ("NODE_AGENT", PathBuf::from(env!("CARGO_BIN_EXE_node-agent"))),
            ("OPERATOR_BIN", program::operator()),
            ("OTHER_STORE_BIN", program::planted()),
        ]
    });
}
