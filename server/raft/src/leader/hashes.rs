//! Hashes of the data of this member.

use quorate_core::mvcc::hash::KeyValueHash;
use quorate_core::store::Shared;
use quorate_core::{Error, Refusal};
use quorate_proto::peer as pb;

/// etcd's hash of all keys at a revision; 0 for the newest.
pub(crate) async fn hash_reply(store: &Shared, revision: i64) -> pb::HashReply {
    let view = store.view();
    let newest = view.revision();
    // It reads all of history, which is no work for a thread that others wait for.
    let hashed = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
    match hashed {
        Ok(Ok(hash)) => pb::HashReply {
            hash: hash.hash,
            revision: hash.revision,
            compacted: hash.compact_revision,
            refusal: String::new(),
            newest,
        },
        Ok(Err(Error::Refusal(refusal))) => {
            pb::HashReply { refusal: refusal.to_string(), ..Default::default() }
        }
        Ok(Err(Error::Fault(fault))) => {
            pb::HashReply { refusal: fault.to_string(), ..Default::default() }
        }
        Err(error) => pb::HashReply { refusal: error.to_string(), ..Default::default() },
    }
}

/// etcd's hash of all keys at a revision, 0 for the newest; none where there is none.
pub(super) async fn hash_here(store: &Shared, revision: i64) -> Option<KeyValueHash> {
    let view = store.view();
    let hashed = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
    match hashed.ok()? {
        Ok(hash) => Some(hash),
        Err(Error::Refusal(Refusal::Compacted | Refusal::FutureRevision)) => None,
        Err(error) => {
            tracing::error!(%error, "cannot hash the data");
            None
        }
    }
}
