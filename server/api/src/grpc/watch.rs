//! The Watch service.

use quorate_proto::etcdserverpb as pb;
use quorate_raft::Account;
use tonic::{Request, Response, Status, Streaming};

use super::needs_leader;
use super::stubs::watch_server::Watch;
use crate::server::Server;
use crate::watch::outbox::{Outbox, Reader};
use crate::watch::stream::WatchStream;

/// The Watch service of a server.
pub(crate) struct WatchService(pub(crate) Server);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Reader;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Reader>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        // Messages that wait for the client are charged to its connection.
        let account = request.extensions().get::<Account>().cloned();
        let account = account.unwrap_or_else(|| self.0.member().budget().account());
        let outbox = Outbox::new(self.0.metrics().watch.clone(), &account);
        let stream = WatchStream::new(self.0.clone(), outbox.clone());
        self.0.tasks().spawn(stream.run(request.into_inner(), needs_leader));
        Ok(Response::new(Reader(outbox)))
    }
}
