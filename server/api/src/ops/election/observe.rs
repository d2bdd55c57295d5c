//! `Observe`: the leaders of an election and the values that they proclaim, as a stream.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{Stream, stream};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::mvccpb::event::EventType;
use quorate_proto::mvccpb::{Event, KeyValue};
use quorate_proto::v3electionpb::{LeaderRequest, LeaderResponse};
use quorate_raft::Permit;

use crate::access::session::Session;
use crate::error::ApiError;
use crate::ops::claims::claim_watch::ClaimWatch;
use crate::ops::claims::{oldest, prefix, row};
use crate::server::Server;
use crate::watch::frame::Events;

/// The claims that an observer watches.
enum Watching {
    /// All claims, because there is no leader.
    Claims(ClaimWatch),
    /// The leader's claim.
    Leader(ClaimWatch),
}

/// A stream in progress.
struct Observer {
    server: Server,
    session: Session,
    prefix: Bytes,
    needs_leader: bool,
    /// `None` if the leader must be read.
    watching: Option<Watching>,
    /// Messages that have not been sent yet.
    pending: VecDeque<LeaderResponse>,
    /// The permit for their memory.
    room: Permit,
    /// The key and the revision of the last message. After a compaction, the leader is read again,
    /// and this message is not repeated.
    last: (Bytes, i64),
}

impl Server {
    /// The leader of an election, then every value that it proclaims and every leader after it.
    /// With `needs_leader`, the stream ends once the cluster has had no leader for a while.
    pub(crate) fn observe(
        &self,
        session: &Session,
        request: LeaderRequest,
        needs_leader: bool,
    ) -> impl Stream<Item = Result<LeaderResponse, ApiError>> + Send + use<> {
        let observer = Observer {
            server: self.clone(),
            session: session.clone(),
            prefix: prefix(&request.name),
            needs_leader,
            watching: None,
            pending: VecDeque::new(),
            room: session.account.nothing(),
            last: (Bytes::new(), 0),
        };
        stream::try_unfold(observer, |mut observer| async move {
            let message = observer.next().await?;
            Ok(Some((message, observer)))
        })
    }
}

impl Observer {
    async fn next(&mut self) -> Result<LeaderResponse, ApiError> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Ok(message);
            }
            self.room.shrink_to(0);
            match &mut self.watching {
                None => self.read().await.map_err(ApiError::without_code)?,
                Some(Watching::Claims(watch)) => match watch.next().await? {
                    Some(events) => self.elected(&events),
                    None => self.watching = None,
                },
                Some(Watching::Leader(watch)) => match watch.next().await? {
                    Some(events) => self.proclaimed(&events),
                    None => self.watching = None,
                },
            }
        }
    }

    /// Reads the leader, and watches it; or watches all claims if there is none.
    async fn read(&mut self) -> Result<(), ApiError> {
        let ranges = vec![oldest(&self.prefix)];
        let answered = self.server.first_rows(&self.session, ranges).await?;
        let header = answered.message.header.unwrap_or_default();
        match row(&answered.message, 0) {
            Some(leader) => {
                self.room = answered.permit.unwrap_or_else(|| self.session.account.nothing());
                self.watch_leader(&leader.key, header.revision + 1);
                if self.last != (leader.key.clone(), leader.mod_revision) {
                    self.queue(header, leader.clone());
                }
            }
            None => {
                let pb::RangeRequest { key, range_end, .. } = oldest(&self.prefix);
                let watch = self.watch(pb::WatchCreateRequest {
                    key,
                    range_end,
                    start_revision: header.revision + 1,
                    filters: vec![FilterType::Nodelete as i32],
                    ..Default::default()
                });
                self.watching = Some(Watching::Claims(watch));
            }
        }
        Ok(())
    }

    fn watch(&self, create: pb::WatchCreateRequest) -> ClaimWatch {
        ClaimWatch::open(&self.server, &self.session, create, self.needs_leader)
    }

    fn watch_leader(&mut self, key: &Bytes, start_revision: i64) {
        let key = key.clone();
        let create = pb::WatchCreateRequest { key, start_revision, ..Default::default() };
        self.watching = Some(Watching::Leader(self.watch(create)));
    }

    /// Handles the first claim, which leads from now on.
    fn elected(&mut self, events: &Events) {
        self.room = self.session.account.charge(events.size());
        let Some(Event { kv: Some(leader), .. }) = events.decoded().next() else { return };
        let revision = leader.mod_revision;
        self.watch_leader(&leader.key, revision + 1);
        self.queue(pb::ResponseHeader { revision, ..events.header() }, leader);
    }

    /// Handles values that the leader has proclaimed, or the end of its claim.
    fn proclaimed(&mut self, events: &Events) {
        self.room = self.session.account.charge(events.size());
        for event in events.decoded() {
            if event.r#type == EventType::Delete as i32 {
                self.watching = None;
                return;
            }
            if let Some(leader) = event.kv {
                self.queue(events.header(), leader);
            }
        }
    }

    fn queue(&mut self, header: pb::ResponseHeader, leader: KeyValue) {
        self.last = (leader.key.clone(), leader.mod_revision);
        self.pending.push_back(LeaderResponse { header: Some(header), kv: Some(leader) });
    }
}
