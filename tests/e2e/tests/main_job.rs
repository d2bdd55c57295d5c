//! kube-apiserver with its components, on one member that is killed meanwhile, and on three members
//! that are killed one after the other.

use quorate_test_e2e::main_job;

/// Sequential, because each job needs the whole machine.
#[test]
fn kubernetes_continues_after_sigkill() {
    for members in [1, 3] {
        main_job("control-plane", members, Vec::new);
        main_job("nodes", members, Vec::new);
    }
}
