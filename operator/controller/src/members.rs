//! The members of a store, as the operator reaches them.

mod grpc;
mod http;

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use grpc::Grpc;

/// The operator's certificate and key for members, and the authority that the operator trusts. All
/// parts are PEM.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The authority of the members' certificates for clients.
    pub authority: String,
    /// The operator's certificate.
    pub certificate: String,
    /// Its private key.
    pub key: Key,
}

/// A private key as PEM, which no log shows.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Key(pub String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(private key)")
    }
}

/// Where a member is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The name of the member.
    pub member: String,
    /// The host name that its certificate must be for.
    pub host: String,
    /// The address of its pod. The operator does not look names up, because the answers may be
    /// those of an earlier pod.
    pub ip: IpAddr,
}

/// A member's answer about itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Its id.
    pub id: u64,
    /// The id of its cluster.
    pub cluster_id: u64,
    /// Our version of its program; empty if it does not tell.
    pub version: String,
    /// The leader that it knows; 0 if it knows none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// The index of the last entry that it knows to be committed.
    pub committed: u64,
    /// The index of the last entry that it has applied.
    pub applied: u64,
    /// Whether it is ready: it votes, and serves linearizable reads.
    pub is_ready: bool,
    /// The size of its data, in bytes. The quota limits this size.
    pub size: u64,
    /// Its quota in bytes; 0 for none.
    pub quota: u64,
    /// Whether it has raised the alarm NOSPACE.
    pub no_space: bool,
    /// Whether it has raised the alarm CORRUPT.
    pub corrupt: bool,
    /// The certificates that it uses.
    pub certificates: Certificates,
}

/// The certificates that a member uses for its next connections.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificates {
    /// When the certificates expire that it shows to clients and members; none if it does not tell.
    pub expire: Vec<Timestamp>,
    /// Why it could not use the files that it read last.
    pub problem: Option<String>,
}

/// The member list: a linearizable answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// The id of the cluster.
    pub cluster_id: u64,
    /// The configuration index of the list.
    pub configuration: u64,
    /// The members.
    pub members: Vec<Listed>,
}

/// A member in the member list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Its first peer URL.
    pub peer_url: String,
    /// Whether it does not vote.
    pub is_learner: bool,
}

/// A request to change the members of the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Adds a learner.
    AddLearner {
        /// Its peer URL.
        peer_url: String,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Makes a learner a voter.
    Promote {
        /// Its id.
        id: u64,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Removes a member.
    Remove {
        /// Its id.
        id: u64,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Moves the leadership. Only the leader accepts it.
    MoveLeader {
        /// The id of the next leader.
        to: u64,
    },
}

/// Why the store did not carry out a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The member gave no answer. It may have carried out the request.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The member refused for a reason that passes by itself: it can be asked again.
    #[error("not yet: {0}")]
    NotYet(String),
    /// The member refused.
    #[error("refused: {0}")]
    Refused(String),
}

/// The store, as the operator uses it.
pub trait Members: Send + Sync {
    /// Asks a member about itself.
    ///
    /// # Errors
    /// The member gave no answer.
    fn status<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
    ) -> BoxFuture<'a, Result<Status, Error>>;

    /// Asks a member for the member list. The answer is linearizable, so that it needs a quorum.
    ///
    /// # Errors
    /// The member gave no answer, or there is no quorum.
    fn list<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
    ) -> BoxFuture<'a, Result<List, Error>>;

    /// Asks a member to read its certificates again, and which ones it uses then.
    ///
    /// # Errors
    /// The member gave no answer, or it was asked a moment ago.
    fn reread<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, Result<Certificates, Error>>;

    /// Asks a member for a change of the members.
    ///
    /// # Errors
    /// The member gave no answer, or it refused: for one, because its configuration index is not
    /// the one in the request.
    fn change<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<(), Error>>;
}
