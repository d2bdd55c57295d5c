//! The server side of TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;

use super::files::{self, TlsError};
use super::material::{Material, Shown};
use super::protocols::{protocols, provider};
use super::revoked;
use super::verifier::Verifier;
use crate::config::ServerTls;

/// The application protocols (ALPN). HTTP/1.1 is offered, too, because Go's servers accept clients
/// that offer only HTTP/1.1.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(super) fn load(files: &ServerTls) -> Result<(ServerConfig, Material), TlsError> {
    let provider = Arc::new(provider(&files.rules));
    let (pair, leaf) = files::pair(&files.certificate, &files.key, files.flags, &provider)?;
    let mut material = Material { leaf: Some(Shown::of(&leaf)), ..Material::default() };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols(&files.rules)).map_err(|error| {
        TlsError::Unusable {
            flag: files.flags.certificate,
            path: files.certificate.clone(),
            reason: error.to_string(),
        }
    })?;
    let builder = match &files.authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let flag = files.flags.authorities;
            let allowed = files.allowed.clone();
            let trusted = files::authorities(path, files.flags)?;
            material.trust = trusted.iter().map(Shown::of).collect();
            let revoked = files.revoked.as_ref().map(revoked::read).transpose()?;
            let verifier = Verifier::new(trusted, flag, allowed, provider);
            builder.with_client_cert_verifier(Arc::new(verifier.without(revoked)))
        }
    };
    let mut config = builder.with_cert_resolver(pair);
    if files.authorities.is_some() {
        // A resumed session does not check the certificate again, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok((config, material))
}
