//! gRPC clients of a server under test.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certs::Pki;

/// Largest message a client accepts. Unlimited, so that no answer is too large for a suite.
pub const MESSAGE_BYTES_MAX: usize = usize::MAX;

/// HTTP/2's initial window: the bytes that a peer may send before the receiver grants more.
const WINDOW_BYTES: u32 = 65_535;

/// A channel to `url` that connects on first use and whenever the connection is lost.
///
/// # Panics
/// If `url` is not a URL.
pub fn channel(url: &str) -> Channel {
    endpoint(url).connect_lazy()
}

/// Like [`channel`], with HTTP/2's initial windows, so that a server can send only little ahead of
/// the reader.
///
/// # Panics
/// If `url` is not a URL.
pub fn narrow_channel(url: &str) -> Channel {
    let windows = Some(WINDOW_BYTES);
    let endpoint = endpoint(url).initial_stream_window_size(windows);
    endpoint.initial_connection_window_size(windows).connect_lazy()
}

/// A channel to `url` that presents the client certificate of `pki`.
///
/// # Panics
/// If `url` is not a URL or a certificate cannot be read.
pub fn tls_channel(url: &str, pki: &Pki) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pki.ca_pem()))
        .identity(Identity::from_pem(pki.client_pem(), pki.client_key_pem()));
    endpoint(url).tls_config(tls).expect("the certificates are good").connect_lazy()
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::from_shared(url.to_owned())
        .expect("the URL is one")
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
}
