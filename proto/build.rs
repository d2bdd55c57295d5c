//! Compiles the protobuf definitions without protoc: etcd's to messages and client stubs, our own
//! to messages and all stubs. The API makes the server stubs of etcd's services, for its own codec.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The include root of etcd's definitions. Imports in the files are relative to it.
const ROOT: &str = "etcd";

const FILES: [&str; 6] =
    ["kv.proto", "auth.proto", "rpc.proto", "lock.proto", "election.proto", "health.proto"];

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
