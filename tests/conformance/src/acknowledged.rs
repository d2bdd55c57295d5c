//! Writes that a server has acknowledged, and the check that none is lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_support::block_on;
use quorate_test_support::server::Server;

use crate::raw::{Answer, Connection};

/// Keys per page of a read.
const PAGE_KEYS: i64 = 64;

/// Acknowledged writes: the keys and their values.
#[derive(Debug, Default)]
pub struct Acknowledged {
    keys: BTreeMap<String, Bytes>,
    /// The revision of the last write.
    revision: i64,
}

impl Acknowledged {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no write was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Writes `count` new keys with values of `size` bytes, one after the other. Stops at the first
    /// write that is not acknowledged and returns its answer.
    pub fn write(&mut self, server: &Server, count: usize, size: usize) -> Option<Answer> {
        let address = server.address();
        block_on(async {
            let connection = Connection::open(&address).await;
            for _ in 0..count {
                let number = self.keys.len();
                // Consecutive values differ; they repeat after 251 keys.
                let seed = u8::try_from(number % 251).expect("it is below 251");
                let value: Bytes = (0..size).map(|at| seed ^ at.to_le_bytes()[0]).collect();
                let put = pb::PutRequest {
                    key: format!("key/{number:06}").into(),
                    value: value.clone(),
                    ..Default::default()
                };
                let message = put.encode_to_vec().into();
                let answer = connection.method("/etcdserverpb.KV/Put", &[message]).await;
                if answer.code.as_deref() != Some("0") {
                    return Some(answer);
                }
                let header = answer.decode::<pb::PutResponse>().header;
                self.revision = header.expect("every answer has a header").revision;
                self.keys.insert(format!("key/{number:06}"), value);
            }
            None
        })
    }

    /// Checks that `server` has all keys with their values. Returns `None` if so, else a
    /// description of the difference. Other keys, from unacknowledged writes, are ignored.
    pub fn missing(&self, server: &Server) -> Option<String> {
        let address = server.address();
        let mut has = BTreeMap::new();
        let mut next = vec![0];
        let revision = loop {
            let response = match self.page(&address, next) {
                Ok(response) => response,
                Err(said) => return Some(said),
            };
            for pair in &response.kvs {
                has.insert(pair.key.clone(), pair.value.clone());
            }
            match response.kvs.last() {
                Some(last) if response.more => next = [last.key.as_ref(), &[0]].concat(),
                _ => break response.header.expect("it has one").revision,
            }
        };
        if revision < self.revision {
            return Some(format!("revision {revision} after {} was given out", self.revision));
        }
        let lost = self.keys.iter().find(|(key, value)| has.get(key.as_bytes()) != Some(*value));
        lost.map(|(key, _)| format!("{key} is lost or changed; {} of {}", has.len(), self.len()))
    }

    /// A page of keys from `first` on, or an error text.
    fn page(&self, address: &str, first: Vec<u8>) -> Result<pb::RangeResponse, String> {
        let request = pb::RangeRequest {
            key: first.into(),
            range_end: "\0".into(),
            limit: PAGE_KEYS,
            ..Default::default()
        };
        let answer = block_on(async {
            let connection = Connection::try_open(address).await?;
            let request = [request.encode_to_vec().into()];
            std::io::Result::Ok(connection.method("/etcdserverpb.KV/Range", &request).await)
        });
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.code.as_deref() != Some("0") {
            let Answer { code, message, reset, .. } = answer;
            return Err(format!("no answer: {code:?} {message} {reset:?}"));
        }
        Ok(answer.decode())
    }
}
