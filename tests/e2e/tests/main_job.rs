//! kube-apiserver and all that belongs to it, on one member that is killed in between, and on three
//! of which one after the other is killed.

use quorate_test_e2e::main_job;

/// One after the other: each wants the machine for itself.
#[test]
fn kubernetes_goes_on_after_sigkill() {
    for members in [1, 3] {
        main_job("control-plane", members);
        main_job("nodes", members);
    }
}
