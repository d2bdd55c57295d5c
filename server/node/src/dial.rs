//! Outbound connections to other members and to a discovery service.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_raft::{BoxFuture, Connection, Dial};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::ClientTls;
use crate::config::url::{Scheme, Url};
use crate::listen::keepalive;
use crate::tls::{Material, Tls, TlsError};

/// Time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections, with TLS where the URL's scheme asks for it. Clones share the TLS state.
#[derive(Clone)]
pub(crate) struct Dialer {
    files: Arc<ClientTls>,
    /// Loaded at the first secure connection if no trusted CA file is given.
    tls: Arc<Mutex<Option<Arc<Tls<ClientConfig>>>>>,
}

impl Dialer {
    /// A dialer that uses these files for TLS.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn new(files: ClientTls) -> Result<Self, TlsError> {
        // Few clusters use the system's CA certificates, so they are loaded only when needed.
        let tls = files.authorities.is_some().then(|| Tls::client(files.clone())).transpose()?;
        let tls = Arc::new(Mutex::new(tls.map(Arc::new)));
        Ok(Self { files: Arc::new(files), tls })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut tls = self.tls.lock();
        let made = match tls.take() {
            Some(made) => made,
            None => Arc::new(Tls::client((*self.files).clone())?),
        };
        *tls = Some(made.clone());
        Ok(made.current())
    }

    /// The certificates for the next connection with TLS; `None` if no connection has used TLS yet.
    /// See [`Tls::material`].
    pub(crate) fn material(&self, rereads: bool) -> Option<Material> {
        let tls = self.tls.lock().clone();
        tls.map(|tls| tls.material(rereads))
    }

    /// Opens a connection to the URL.
    ///
    /// # Errors
    /// The connection or its TLS handshake fails, or the handshake takes too long.
    pub(crate) async fn connect(&self, url: &Url) -> io::Result<Box<dyn Connection>> {
        let stream: Box<dyn Connection> = match url.scheme {
            Scheme::Http | Scheme::Https => {
                let stream = TcpStream::connect(url.authority()).await?;
                stream.set_nodelay(true)?;
                // A reverse connection carries calls from the other member, which may vanish
                // without closing it; keepalive detects that.
                SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
                Box::new(stream)
            }
            Scheme::Unix | Scheme::Unixs => Box::new(UnixStream::connect(url.authority()).await?),
        };
        if !url.scheme.is_secure() {
            return Ok(stream);
        }
        let name = self.files.server_name.as_deref().unwrap_or_else(|| url.host());
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.tls().map_err(io::Error::other)?);
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream));
        let stream = handshake.await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long")
        })?;
        Ok(Box::new(stream?))
    }
}

impl Dial for Dialer {
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        let dialer = self.clone();
        Box::pin(async move {
            let url = Url::parse(&url).map_err(io::Error::other)?;
            dialer.connect(&url).await
        })
    }
}
