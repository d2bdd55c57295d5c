//! The content of the images.

use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_test_support::control_plane::Said;
use quorate_test_support::require::{self, Need};
use quorate_test_support::{program, repository};
use serde_json::{Value, json};

/// The user of the images' programs.
const USER: &str = "--userspec=65532:65532";

/// Runs a script that makes images, of programs that are there anyway.
fn make(script: &str, folder: &Path, etcdctl: &Path) {
    let quorate = program::quorate();
    let mut bash = Command::new("bash");
    bash.arg(repository().join(script)).arg(folder);
    // The content of the operator's image does not matter here.
    bash.env("STORE_BIN", &quorate).env("OPERATOR_BIN", &quorate).env("ETCDCTL_BIN", etcdctl);
    Said::by(&mut bash, "").expect(script);
}

#[test]
fn programs_run_in_an_image_with_nothing_else() {
    let suite = "programs of the images";
    let needs = [Need::Program("strip"), Need::Program("ldd"), Need::Program("chroot"), Need::Root];
    if !require::met(suite, &needs) {
        return;
    }
    let Some(etcdctl) = program::etcd(suite, "etcdctl") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let context = folder.path().join("context");
    make("deploy/context.sh", &context, &etcdctl);
    let image = context.join("quorate");
    let in_image = |program: &str, arg: &str| {
        let mut chroot = Command::new("chroot");
        chroot.arg(USER).arg(&image).arg(format!("/usr/local/bin/{program}")).arg(arg);
        Said::by(&mut chroot, "").expect(program)
    };
    let outside = |arg| Said::by(Command::new(program::quorate()).arg(arg), "").expect("quorate");
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

#[test]
fn archives_are_made_of_the_dockerfiles() {
    let suite = "archives of the images";
    let needs =
        [Need::Program("buildah"), Need::Program("strip"), Need::Program("tar"), Need::Root];
    if !require::met(suite, &needs) {
        return;
    }
    let Some(etcdctl) = program::etcd(suite, "etcdctl") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    make("tests/e2e/kubernetes/images.sh", folder.path(), &etcdctl);
    for name in ["quorate", "quorate-operator"] {
        let image = unpack(&folder.path().join(format!("{name}.tar")));
        let wanted = format!("localhost/{name}:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(image["name"], wanted);
        assert_eq!(image["config"]["User"], "65532:65532");
        assert_eq!(image["config"]["Entrypoint"], json!([format!("/usr/local/bin/{name}")]));
        assert_eq!(image["config"]["Env"], json!(["PATH=/usr/local/bin"]));
    }
}

/// The name and the configuration of the image in an OCI archive.
fn unpack(archive: &Path) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tar = Command::new("tar");
    Said::by(tar.arg("-xf").arg(archive).arg("-C").arg(folder.path()), "").expect("tar");
    let read = |path: &str| -> Value {
        let text = fs::read_to_string(folder.path().join(path)).expect("the archive has it");
        serde_json::from_str(&text).expect("it is JSON")
    };
    let blob = |digest: &Value| {
        let digest = digest.as_str().expect("a digest");
        read(&format!("blobs/{}", digest.replacen(':', "/", 1)))
    };
    let index = read("index.json");
    let manifest = blob(&index["manifests"][0]["digest"]);
    let config = blob(&manifest["config"]["digest"]);
    json!({
        "name": index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        "config": config["config"],
    })
}
