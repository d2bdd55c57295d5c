//! The client side of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;

use super::files::{self, TlsError};
use super::material::{Material, Shown};
use super::protocols::{protocols, provider};
use super::verifier::{AcceptAny, Verifier};
use crate::config::ClientTls;

pub(super) fn load(files: &ClientTls) -> Result<(ClientConfig, Material), TlsError> {
    let provider = Arc::new(provider(&files.rules));
    let unusable = |error: rustls::Error| TlsError::Unusable {
        flag: files.flags.certificate,
        path: PathBuf::new(),
        reason: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols(&files.rules)).map_err(unusable)?;
    // The verifier follows etcd's rules, or accepts every certificate if verification is off.
    let (verifier, trust) = verifier(files, &provider)?;
    let mut material = Material { trust, ..Material::default() };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &files.pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (pair, leaf) = files::pair(certificate, key, files.flags, &provider)?;
            material.leaf = Some(Shown::of(&leaf));
            builder.with_client_cert_resolver(pair)
        }
    };
    // A resumed session does not check the certificate again, which may have expired since.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((config, material))
}

/// The verifier, and the certificates in the file that it trusts.
fn verifier(
    files: &ClientTls,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ServerCertVerifier>, Vec<Shown>), TlsError> {
    if !files.verifies {
        return Ok((Arc::new(AcceptAny::new(provider.clone())), Vec::new()));
    }
    let (trusted, shown) = match &files.authorities {
        Some(path) => {
            let trusted = files::authorities(path, files.flags)?;
            let shown = trusted.iter().map(Shown::of).collect();
            (trusted, shown)
        }
        None => (files::system_authorities(files.flags)?, Vec::new()),
    };
    let flag = files.flags.authorities;
    let verifier = Verifier::new(trusted, flag, files.allowed.clone(), provider.clone());
    Ok((Arc::new(verifier), shown))
}
