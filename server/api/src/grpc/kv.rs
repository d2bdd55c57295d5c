//! The KV service.

use std::pin::Pin;

use futures_util::{Stream, TryStreamExt as _, stream};
use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::codec::rows::{EncodedChunk, EncodedRange, Protobuf};
use super::stubs::k_v_server::KV;
use super::{respond, session_of};
use crate::ops::range::RangeAnswer;
use crate::server::Server;
use crate::transport::stream::Streamed;

/// Length from which an answer to a range is streamed. Shorter answers pass through the codec, as
/// all other messages do.
const STREAMED_FROM: usize = 32 << 10;

/// The KV service of a server.
pub(crate) struct KvService(pub(crate) Server);

type ChunkStream = Pin<Box<dyn Stream<Item = Result<EncodedChunk, Status>> + Send>>;

/// The response to a range request. A long answer becomes a stream of pieces.
fn range_response(answer: RangeAnswer<Protobuf>) -> Result<Response<EncodedRange>, Status> {
    let (streamed, nothing) = match answer {
        RangeAnswer::Whole(range) if range.len() < STREAMED_FROM => {
            return Ok(Response::new(range));
        }
        RangeAnswer::Whole(range) => {
            let nothing = range.nothing();
            let data = range.into_data(0)?;
            (Streamed::new(stream::iter([Ok(data)])), nothing)
        }
        RangeAnswer::Long(long) => {
            let nothing = long.nothing();
            (Streamed::new(long.into_pieces()?), nothing)
        }
    };
    let mut response = Response::new(nothing);
    response.extensions_mut().insert(streamed);
    Ok(response)
}

#[tonic::async_trait]
impl KV for KvService {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<EncodedRange>, Status> {
        let session = session_of(&request);
        range_response(self.0.range(&session, request.into_inner()).await?)
    }

    type RangeStreamStream = ChunkStream;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<ChunkStream>, Status> {
        let session = session_of(&request);
        let chunks = self.0.range_stream(&session, request.into_inner()).await?;
        Ok(Response::new(Box::pin(chunks.map_ok(EncodedChunk).map_err(Status::from))))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let session = session_of(&request);
        Ok(respond(self.0.put(&session, request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let session = session_of(&request);
        Ok(respond(self.0.delete_range(&session, request.into_inner()).await?))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let session = session_of(&request);
        Ok(respond(self.0.txn(&session, request.into_inner()).await?))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        Ok(Response::new(self.0.compact(&session_of(&request), request.into_inner()).await?))
    }
}
