//! Connections to other members.

use std::io;

use quorate_raft::{BoxFuture, Connection, Dial};
use tokio::net::TcpStream;

use crate::config::url::Url;

/// Opens connections to other members.
pub(crate) struct Dialer;

impl Dialer {
    /// A dialer.
    pub(crate) fn new() -> Self {
        Self
    }
}

async fn connect(url: String) -> io::Result<Box<dyn Connection>> {
    let url = Url::parse(&url).map_err(io::Error::other)?;
    let stream = TcpStream::connect(url.authority()).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

impl Dial for Dialer {
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        Box::pin(connect(url))
    }
}
