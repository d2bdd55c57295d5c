//! Compiles the definitions without protoc. Those of etcd in two passes, messages and client stubs
//! in one and server stubs in the other; our own in one.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The include root. Imports in the files are relative to it.
const ROOT: &str = "etcd";

const FILES: [&str; 6] =
    ["kv.proto", "auth.proto", "rpc.proto", "lock.proto", "election.proto", "health.proto"];

/// Each package and the module of the crate that holds it.
const PACKAGES: [(&str, &str); 6] = [
    (".mvccpb", "crate::mvccpb"),
    (".authpb", "crate::authpb"),
    (".etcdserverpb", "crate::etcdserverpb"),
    (".v3lockpb", "crate::v3lockpb"),
    (".v3electionpb", "crate::v3electionpb"),
    (".grpc.health.v1", "crate::health"),
];

/// Services that are served through a codec of the server's own, not through stubs from here.
const WITHOUT_SERVER: [&str; 6] = ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Health"];

/// Messages with passwords, their hashes or tokens in them: `src/redact.rs` writes their `Debug`.
const SECRET: [&str; 5] = [
    ".authpb.User",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthenticateResponse",
    ".etcdserverpb.AuthUserAddRequest",
    ".etcdserverpb.AuthUserChangePasswordRequest",
];

/// The include root of the protocol among members, and its file.
const PEER_ROOT: &str = "peer";
const PEER_FILE: &str = "v1/peer.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed={PEER_ROOT}");
    compile_peer()?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = protox::compile(FILES, [ROOT])?;
    export(&files, &out_dir.join("descriptors.bin"))?;

    files.file.iter_mut().flat_map(|file| &mut file.message_type).for_each(rename_urls);
    tonic_prost_build::configure()
        .build_server(false)
        .client_mod_attribute(".", r#"#[cfg(feature = "client")]"#)
        .bytes(".")
        .btree_map(".")
        .skip_debug(SECRET)
        .compile_fds(files.clone())?;

    for file in &mut files.file {
        file.service.retain(|service| !WITHOUT_SERVER.contains(&service.name()));
        // Comments are found by the position of a service, which has changed.
        file.source_code_info = None;
    }
    let server_dir = out_dir.join("server");
    fs::create_dir_all(&server_dir)?;
    // Every message is extern here, so that this pass yields nothing but the stubs.
    let server = tonic_prost_build::configure()
        .build_client(false)
        .server_mod_attribute(".", r#"#[cfg(feature = "server")]"#)
        .out_dir(server_dir);
    PACKAGES
        .iter()
        .fold(server, |server, (package, module)| server.extern_path(package, module))
        .compile_fds(files)?;
    Ok(())
}

fn compile_peer() -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        .client_mod_attribute(".", r#"#[cfg(feature = "client")]"#)
        .server_mod_attribute(".", r#"#[cfg(feature = "server")]"#)
        .codec_path("crate::peer_codec::PeerCodec")
        .bytes(".")
        .compile_fds(protox::compile([PEER_FILE], [PEER_ROOT])?)?;
    Ok(())
}

/// Writes the descriptors as they are on the wire. Source positions and comments are left out: they
/// are most of the bytes, and nothing at run time reads them.
fn export(files: &FileDescriptorSet, path: &Path) -> std::io::Result<()> {
    let mut files = files.clone();
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(path, files.encode_to_vec())
}

/// Makes `peer_urls` of `peerURLs`, where the generator would make `peer_ur_ls`. The binary format
/// knows fields by number; the exported descriptors keep etcd's name.
fn rename_urls(message: &mut DescriptorProto) {
    for field in &mut message.field {
        field.name = field.name.as_ref().map(|name| name.replace("URLs", "Urls"));
    }
}
