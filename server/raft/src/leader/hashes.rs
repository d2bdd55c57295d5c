//! Hashes of this member's data.

use quorate_core::mvcc::hash::KeyValueHash;
use quorate_core::store::Shared;
use quorate_core::{Error, Refusal};
use quorate_proto::peer as pb;

/// etcd's hash of all keys at `revision`, 0 for the newest; on failure, a reply with the refusal.
pub(crate) async fn hash_reply(store: &Shared, revision: i64) -> pb::HashReply {
    let view = store.view();
    let newest = view.revision();
    // It reads the whole history, too much for a thread with other tasks.
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

/// etcd's hash of all keys at `revision`, 0 for the newest; `None` if it cannot be computed.
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
