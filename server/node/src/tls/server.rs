//! The server's side.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::files::{self, TlsError};
use super::names::AllowedClients;
use super::protocols;
use crate::config::ServerTls;

/// Protocols above TLS. Go's servers let clients in that offer HTTP/1.1 alone; so that ours does,
/// it must offer it.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(super) fn load(files: &ServerTls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = files::pair(&files.certificate, &files.key, files.flags)?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        flag: files.flags.certificate,
        path: files.certificate.clone(),
        reason: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols(files.versions)).map_err(unusable)?;
    let builder = match &files.authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let authorities = Arc::new(files::authorities(path, files.flags)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
            let verifier = verifier.build().map_err(|error| TlsError::Unusable {
                flag: files.flags.authorities,
                path: path.clone(),
                reason: error.to_string(),
            })?;
            builder.with_client_cert_verifier(match &files.allowed {
                None => verifier,
                Some(allowed) => Arc::new(AllowedClients::new(verifier, allowed.clone())),
            })
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(config)
}
