//! The text of `--version`.

use quorate_api::{ETCD_VERSION, VERSION};

/// Lines in etcd's format, because deployment tools parse them, followed by Quorate's own version.
pub(crate) fn version() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let commit = option_env!("QUORATE_GIT_SHA").unwrap_or("not recorded");
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {commit}\nGo Version: none\n\
         Go OS/Arch: {}/{architecture}\nQuorate Version: {VERSION}\n",
        std::env::consts::OS
    )
}
