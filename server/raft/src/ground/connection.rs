//! Connections to other members, as whoever runs the member makes and serves them.

use std::any::Any;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::consensus::BoxFuture;

/// A connection to another member.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Opens connections to other members, encrypted and authenticated as this cluster wants it.
pub trait Dial: Send + Sync + 'static {
    /// A new connection to the member at a peer URL.
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// Serves calls on connections that this member has opened itself and lends to others.
pub trait Serve: Send + Sync + 'static {
    /// Begins to serve. What is `held` is dropped when the connection has ended.
    fn serve(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>);

    /// Whether who is at this URL may call: over a connection to it, nobody shows more of itself.
    fn admits(&self, url: &str) -> bool;
}
