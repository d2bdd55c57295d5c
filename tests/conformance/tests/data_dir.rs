//! An unusable data directory is refused with one log line and left unchanged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::start_refused;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, port, program};
use tempfile::TempDir;

/// A server with its folder in `home`.
fn server(home: &TempDir, flags: &[&str]) -> Server {
    Server::in_folder(&program::quorate(), &home.path().join("server"), flags)
}

/// A stopped server with a few keys.
fn used(home: &TempDir) -> (Server, Acknowledged) {
    let mut server = server(home, &[]);
    server.start();
    let mut keys = Acknowledged::default();
    assert_eq!(keys.write(&server, 20, 100), None);
    server.stop();
    (server, keys)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_directory_is_private() {
    let home = TempDir::new().unwrap();
    let mut server = server(&home, &[]);
    server.start();
    for directory in [server.data_dir(), server.data_dir().join("member")] {
        let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", directory.display());
    }
}

#[test]
fn a_directory_that_cannot_be_created_is_refused() {
    let home = TempDir::new().unwrap();
    let mut server = server(&home, &[]);
    fs::create_dir_all(home.path().join("server")).unwrap();
    fs::write(server.data_dir(), "a file").unwrap();
    let said = start_refused(&mut server);
    assert_contains(&said, &[&server.data_dir().display().to_string(), "not a directory"]);
    let below = server.data_dir().join("below").display().to_string();
    let mut server = self::server(&home, &["--data-dir", &below]);
    assert_contains(
        &start_refused(&mut server),
        &["cannot use the data directory", &below, "Not a directory"],
    );
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !require::met("data directory of another user", &[Need::Root]) {
        return;
    }
    let home = TempDir::new().unwrap();
    let (mut server, keys) = used(&home);
    let data_dir = server.data_dir();
    for (path, mode) in [
        (data_dir.clone(), 0o777),
        (data_dir.clone(), 0o722),
        (data_dir.join("member"), 0o755),
        (data_dir.join("member"), 0o740),
        (data_dir.join("member"), 0o1777),
    ] {
        set_mode(&path, mode);
        chown(&path, Some(OTHER_USER), None).unwrap();
        let said = start_refused(&mut server);
        let fix = format!("chmod 700 {}", path.display());
        assert_contains(
            &said,
            &[&format!("{:o}", mode & 0o777), &fix, &format!("to user {OTHER_USER}")],
        );
        chown(&path, Some(0), None).unwrap();
        set_mode(&path, 0o700);
    }
    server.start();
    assert_eq!(keys.missing(&server), None);
}

/// Another user's id.
const OTHER_USER: u32 = 65_532;
/// The `fsGroup` of a pod.
const FS_GROUP: u32 = 2000;

/// A directory and everything below it.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_path_buf()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(tree(&entry.unwrap().path()));
        }
    }
    all
}

/// Changes a volume as a kubelet does before each start of a pod with an `fsGroup`.
fn give_to_group(path: &Path, group: Option<u32>) {
    for path in tree(path) {
        chown(&path, None, group).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        set_mode(&path, mode | if path.is_dir() { 0o2770 } else { 0o660 });
    }
}

fn assert_private(member: &Path) {
    for path in tree(member) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_directory_opened_to_others_is_made_private_again() {
    let home = TempDir::new().unwrap();
    let (mut server, keys) = used(&home);
    for _ in 0..2 {
        give_to_group(&server.data_dir(), None);
        server.start();
        assert_eq!(keys.missing(&server), None);
        server.stop();
        assert_private(&server.data_dir().join("member"));
    }
    // A world-writable directory, too, is restricted.
    set_mode(&server.data_dir(), 0o777);
    server.start();
    let mode = fs::metadata(server.data_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o002, 0, "{mode:o}");
}

/// A pod whose user is not root, and owns only those files in the volume that it has created.
#[test]
fn a_volume_with_an_fs_group_is_usable() {
    let needs = [Need::Root, Need::Program("setpriv")];
    if !require::met("volume with an fsGroup", &needs) {
        return;
    }
    for below in ["", "data"] {
        let home = TempDir::new().unwrap();
        set_mode(home.path(), 0o755);
        let program = home.path().join("quorate");
        fs::copy(program::quorate(), &program).unwrap();
        let volume = home.path().join("volume");
        fs::create_dir(&volume).unwrap();
        chown(&volume, None, Some(FS_GROUP)).unwrap();
        set_mode(&volume, 0o2775);
        let user = format!("--reuid={OTHER_USER}");
        let group = format!("--groups={FS_GROUP}");
        let regid = format!("--regid={OTHER_USER}");
        let mut server = Server::in_folder(&program, &home.path().join("server"), &[])
            .with_launcher(&["setpriv", &user, &regid, &group, "--"]);
        server.set_data_dir(&volume.join(below));
        server.start();
        let mut keys = Acknowledged::default();
        assert_eq!(keys.write(&server, 20, 100), None);
        server.stop();
        for _ in 0..2 {
            give_to_group(&volume, Some(FS_GROUP));
            server.start();
            assert_eq!(keys.missing(&server), None);
            server.stop();
            assert_private(&server.data_dir().join("member"));
        }
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let home = TempDir::new().unwrap();
    let (mut first, keys) = used(&home);
    first.start();
    let other = home.path().join("other");
    let data_dir = first.data_dir().display().to_string();
    let mut second = Server::in_folder(&program::quorate(), &other, &["--data-dir", &data_dir]);
    // Not `start_refused`: the first server keeps changing the directory.
    let end = second.start_or_end();
    assert_eq!(end.and_then(|end| end.code()), Some(1));
    let said = quorate_test_conformance::data_dir::error_line(&second);
    assert_contains(&said, &["in use by another process", &data_dir]);
    assert_eq!(keys.missing(&first), None);
    // A killed process holds no lock.
    first.kill();
    second.start();
    assert_eq!(keys.missing(&second), None);
}

#[test]
fn a_directory_of_etcd_is_refused() {
    let Some(etcd) = program::etcd("data directory of etcd", "etcd-3.7") else { return };
    let home = TempDir::new().unwrap();
    let mut etcd = Server::in_folder(&etcd, &home.path().join("server"), &[]);
    etcd.start();
    etcd.stop();
    let mut server = server(&home, &[]);
    assert_contains(&start_refused(&mut server), &["was written by etcd", "--data-dir"]);
    etcd.start();
}

#[test]
fn a_directory_with_foreign_files_is_refused() {
    let home = TempDir::new().unwrap();
    let mut server = server(&home, &[]);
    let member = server.data_dir().join("member");
    fs::create_dir_all(&member).unwrap();
    set_mode(&member, 0o700);
    fs::write(member.join("thesis.txt"), "precious").unwrap();
    assert_contains(
        &start_refused(&mut server),
        &["member/thesis.txt", "not Quorate's", "--data-dir"],
    );
    // Other entries beside `member` are allowed, such as `lost+found` at a file system's root.
    fs::remove_dir_all(server.data_dir()).unwrap();
    fs::create_dir_all(server.data_dir().join("lost+found")).unwrap();
    server.start();
}

#[test]
fn a_read_only_directory_is_refused() {
    if !require::met("read-only data directory", &[Need::Root, Need::Program("mount")]) {
        return;
    }
    let home = TempDir::new().unwrap();
    let (mut server, keys) = used(&home);
    let data_dir = server.data_dir();
    let mounted = Mounted::read_only(&data_dir);
    let said = start_refused(&mut server);
    assert_contains(&said, &["Read-only file system", &data_dir.display().to_string()]);
    drop(mounted);
    server.start();
    assert_eq!(keys.missing(&server), None);
    server.stop();
    // Also a directory that does not exist yet.
    let place = home.path().join("place");
    fs::create_dir(&place).unwrap();
    let _mounted = Mounted::read_only(&place);
    let new = place.join("new").display().to_string();
    let other = home.path().join("other");
    let mut server = Server::in_folder(&program::quorate(), &other, &["--data-dir", &new]);
    assert_contains(&start_refused(&mut server), &["Read-only file system", &new]);
}

/// A bind mount, unmounted on drop.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Makes a directory read-only for all users, including root.
    fn read_only(path: &'a Path) -> Self {
        let mount = |options: &[&str]| {
            let status = Command::new("mount").args(options).arg(path).status().unwrap();
            assert!(status.success(), "mount {options:?}");
        };
        mount(&["--bind", &path.display().to_string()]);
        let mounted = Self(path);
        mount(&["-o", "remount,ro,bind"]);
        mounted
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0).status().unwrap();
        assert!(status.success(), "umount");
    }
}

#[test]
fn a_damaged_identity_is_refused() {
    let home = TempDir::new().unwrap();
    let (mut server, keys) = used(&home);
    let path = server.data_dir().join("member/IDENTITY");
    let good = fs::read(&path).unwrap();
    let flipped = [&good[..40], &[good[40] ^ 1], &good[41..]].concat();
    for bad in [&b""[..], &good[..good.len() / 2], &flipped, b"\xff\xfe"] {
        fs::write(&path, bad).unwrap();
        let said = start_refused(&mut server);
        assert_contains(&said, &["is damaged", &path.display().to_string(), "backup"]);
    }
    // Without the file, the others count as foreign.
    fs::remove_file(&path).unwrap();
    assert_contains(&start_refused(&mut server), &["not Quorate's"]);
    fs::write(&path, &good).unwrap();
    server.start();
    assert_eq!(keys.missing(&server), None);
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    let home = TempDir::new().unwrap();
    let (mut server, keys) = used(&home);
    let path = server.data_dir().join("member/IDENTITY");
    let good = fs::read_to_string(&path).unwrap();
    let (body, _) = good.split_once("crc ").unwrap();
    let newer = body.replace("format 1\n", "format 4\nonly a newer version knows this\n");
    assert_ne!(newer, body);
    fs::write(&path, format!("{newer}crc {:08x}\n", crc32c::crc32c(newer.as_bytes()))).unwrap();
    let said = start_refused(&mut server);
    let data_dir = server.data_dir().display().to_string();
    let words = [data_dir.as_str(), "data format 4", "data formats up to 3", "or a later one"];
    assert_contains(&said, &words);
    fs::write(&path, &good).unwrap();
    server.start();
    assert_eq!(keys.missing(&server), None);
}

#[test]
fn a_port_in_use_is_refused_without_creating_the_directory() {
    let home = TempDir::new().unwrap();
    let [taken] = port::free();
    let _listener = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let address = format!("127.0.0.1:{taken}");
    let url = format!("http://{address}");
    for (flag, flags) in [
        ("--listen-client-urls", &["--listen-client-urls", url.as_str()][..]),
        ("--listen-metrics-urls", &["--listen-metrics-urls", &url]),
        ("--listen-client-http-urls", &["--listen-client-http-urls", &url]),
    ] {
        let mut server = server(&home, flags);
        assert_contains(&start_refused(&mut server), &[flag, &address, "in use"]);
        assert!(!server.data_dir().exists(), "it was made for nothing");
    }
}
