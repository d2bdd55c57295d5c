//! kube-apiserver and all that belongs to it on one member that is killed in between.

use quorate_test_e2e::main_job;

/// One after the other: each wants the machine for itself.
#[test]
fn kubernetes_goes_on_after_sigkill() {
    main_job("control-plane");
    main_job("nodes");
}
