//! Connections to other members. The program that runs the member provides and serves them.

use std::any::Any;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::consensus::BoxFuture;

/// A connection to another member.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Opens connections to other members, with this cluster's encryption and authentication.
pub trait Dial: Send + Sync + 'static {
    /// Opens a new connection to the member at a peer URL.
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// Serves calls on reverse connections: connections that this member has opened, for the calls of
/// other members.
pub trait ServeReverse: Send + Sync + 'static {
    /// Starts serving the connection. Drops `held` when the connection has ended.
    fn serve(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>);

    /// Whether the server at this URL may call this member over reverse connections. Only the URL
    /// vouches for it: on a connection that this member opened, the server presents no client
    /// certificate.
    fn admits(&self, url: &str) -> bool;
}
