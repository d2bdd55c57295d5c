//! Compiles the protobuf definitions without protoc. Two passes compile etcd's definitions: one
//! makes messages and client stubs, the other makes server stubs. One pass compiles our own.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The include root of etcd's definitions. Imports in the files are relative to it.
const ROOT: &str = "etcd";

const FILES: [&str; 6] =
    ["kv.proto", "auth.proto", "rpc.proto", "lock.proto", "election.proto", "health.proto"];

/// Each package of etcd and its module in this crate.
const PACKAGES: [(&str, &str); 6] = [
    (".mvccpb", "crate::mvccpb"),
    (".authpb", "crate::authpb"),
    (".etcdserverpb", "crate::etcdserverpb"),
    (".v3lockpb", "crate::v3lockpb"),
    (".v3electionpb", "crate::v3electionpb"),
    (".grpc.health.v1", "crate::health"),
];

/// Services without server stubs: the API serves them through its own codec.
const WITHOUT_SERVER: [&str; 8] =
    ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Election", "Lock", "Health"];

/// Messages with passwords, password hashes or tokens. `src/redact.rs` implements their `Debug`.
const SECRET: [&str; 5] = [
    ".authpb.User",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthenticateResponse",
    ".etcdserverpb.AuthUserAddRequest",
    ".etcdserverpb.AuthUserChangePasswordRequest",
];

/// The include root and the file of the protocol between members.
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
        // Comments refer to services by position, and the positions have changed.
        file.source_code_info = None;
    }
    let server_dir = out_dir.join("server");
    fs::create_dir_all(&server_dir)?;
    // Every message is an extern path here, so this pass makes only the stubs.
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

/// Writes the descriptors without source positions and comments, which are most of the bytes and
/// are not used at run time.
fn export(files: &FileDescriptorSet, path: &Path) -> std::io::Result<()> {
    let mut files = files.clone();
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(path, files.encode_to_vec())
}

/// Renames `peerURLs` to `peerUrls`, so that the generator makes `peer_urls` and not `peer_ur_ls`.
/// The binary format does not have names, and the exported descriptors keep etcd's name.
fn rename_urls(message: &mut DescriptorProto) {
    for field in &mut message.field {
        field.name = field.name.as_ref().map(|name| name.replace("URLs", "Urls"));
    }
}
