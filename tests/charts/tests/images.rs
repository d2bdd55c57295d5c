//! What the images are made of.

use std::process::Command;

use quorate_test_support::control_plane::Said;
use quorate_test_support::require::{self, Need};
use quorate_test_support::{program, repository};

/// The user of the images' programs.
const USER: &str = "--userspec=65532:65532";

#[test]
fn programs_run_in_an_image_with_nothing_else() {
    let suite = "programs of the images";
    let needs = [Need::Program("strip"), Need::Program("ldd"), Need::Program("chroot"), Need::Root];
    if !require::met(suite, &needs) {
        return;
    }
    let Some(etcdctl) = program::etcd(suite, "etcdctl") else { return };
    let quorate = program::quorate();
    let folder = tempfile::tempdir().expect("a folder");
    let context = folder.path().join("context");
    let mut script = Command::new("bash");
    script.arg(repository().join("deploy/context.sh")).arg(&context);
    // What the operator's image would hold does not matter here.
    script.env("STORE_BIN", &quorate).env("OPERATOR_BIN", &quorate).env("ETCDCTL_BIN", etcdctl);
    Said::by(&mut script, "").expect("deploy/context.sh");
    let image = context.join("quorate");
    let in_image = |program: &str, arg: &str| {
        let mut chroot = Command::new("chroot");
        chroot.arg(USER).arg(&image).arg(format!("/usr/local/bin/{program}")).arg(arg);
        Said::by(&mut chroot, "").expect(program)
    };
    let outside = |arg: &str| Said::by(Command::new(&quorate).arg(arg), "").expect("quorate");
    for name in ["quorate", "etcd"] {
        assert_eq!(in_image(name, "--version"), outside("--version"));
        // The usage shows how the program was called.
        let help = in_image(name, "--help").replacen("Usage: etcd", "Usage: quorate", 1);
        assert_eq!(help, outside("--help"));
    }
    assert!(in_image("etcdctl", "version").contains("etcdctl version"));
    for shell in ["bin/sh", "usr/bin/sh", "bin/busybox"] {
        assert!(!image.join(shell).exists(), "{shell}");
    }
}
