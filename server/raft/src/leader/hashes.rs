//! Hashes of this member's data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_core::mvcc::hash::KeyValueHash;
use quorate_core::mvcc::{ReadContext, View};
use quorate_core::store::Shared;
use quorate_core::{Error, Refusal};
use quorate_proto::peer as pb;
use tokio::sync::Mutex;

/// Held while a hash for another member is computed: one at a time, because each reads the whole
/// history. Further calls wait, and leave when their caller has gone.
static TURN: Mutex<()> = Mutex::const_new(());

/// Whether the caller still waits for a hash.
#[derive(Default)]
struct Caller {
    is_gone: AtomicBool,
}

impl ReadContext for Caller {
    fn is_cancelled(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    fn keep(&self, _bytes: usize) {}
}

/// Ends a hash when the future that waits for it is dropped.
struct GoneOnDrop(Arc<Caller>);

impl Drop for GoneOnDrop {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

/// Hashes all keys on a separate thread, because that takes too long for a thread with other tasks.
/// `None` if the program stops.
///
/// # Cancel safety
/// When the future is dropped, the hash ends soon.
async fn hash(view: View, revision: i64) -> Option<Result<KeyValueHash, Error>> {
    let caller = Arc::new(Caller::default());
    let view = view.with_context(caller.clone());
    let _gone = GoneOnDrop(caller);
    tokio::task::spawn_blocking(move || view.hash_kv(revision)).await.ok()
}

/// etcd's hash of all keys at `revision`, 0 for the newest; on failure, a reply with the refusal.
///
/// # Cancel safety
/// When the future is dropped, the hash ends soon.
pub(crate) async fn hash_reply(store: &Shared, revision: i64) -> pb::HashReply {
    let _turn = TURN.lock().await;
    let view = store.view();
    let newest = view.revision();
    match hash(view, revision).await {
        Some(Ok(hash)) => pb::HashReply {
            hash: hash.hash,
            revision: hash.revision,
            compacted: hash.compact_revision,
            refusal: String::new(),
            newest,
        },
        Some(Err(error)) => pb::HashReply { refusal: error.to_string(), ..Default::default() },
        None => pb::HashReply { refusal: "the member stops".to_owned(), ..Default::default() },
    }
}

/// etcd's hash of all keys at `revision`, 0 for the newest; `None` if it cannot be computed.
pub(super) async fn hash_here(store: &Shared, revision: i64) -> Option<KeyValueHash> {
    match hash(store.view(), revision).await? {
        Ok(hash) => Some(hash),
        Err(Error::Refusal(Refusal::Compacted | Refusal::FutureRevision)) => None,
        Err(error) => {
            tracing::error!(%error, "cannot hash the data");
            None
        }
    }
}
