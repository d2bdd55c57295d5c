//! The client's side.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;

use super::files::{self, TlsError};
use super::names::{AllowedServers, Anybody};
use super::protocols;
use crate::config::ClientTls;

pub(super) fn load(files: &ClientTls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |path: Option<&PathBuf>, error: rustls::Error| TlsError::Unusable {
        flag: files.flags.certificate,
        path: path.cloned().unwrap_or_default(),
        reason: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder
        .with_protocol_versions(&protocols(files.versions))
        .map_err(|error| unusable(None, error))?;
    // Our own verifier is rustls's, with more asked of the certificate; or none, if one says so.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier(files, &provider)?);
    let mut config = match &files.shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = files::pair(certificate, key, files.flags)?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| unusable(Some(certificate), error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn verifier(
    files: &ClientTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if !files.verifies {
        return Ok(Arc::new(Anybody::new(provider.clone())));
    }
    let authorities = match &files.authorities {
        Some(path) => files::authorities(path, files.flags)?,
        None => files::system_authorities(files.flags)?,
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider.clone());
    let verifier = verifier.build().map_err(|error| TlsError::Unusable {
        flag: files.flags.authorities,
        path: files.authorities.clone().unwrap_or_default(),
        reason: error.to_string(),
    })?;
    Ok(match &files.allowed {
        None => verifier,
        Some(allowed) => Arc::new(AllowedServers::new(verifier, allowed.clone())),
    })
}
