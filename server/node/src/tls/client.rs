//! The client side of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;

use super::files::{self, TlsError};
use super::protocols::protocols;
use super::verifier::{AcceptAny, Verifier};
use crate::config::ClientTls;

pub(super) fn load(files: &ClientTls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| TlsError::Unusable {
        flag: files.flags.certificate,
        path: PathBuf::new(),
        reason: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols(files.versions)).map_err(unusable)?;
    // The verifier follows etcd's rules, or accepts every certificate if verification is off.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier(files, &provider)?);
    let mut config = match &files.pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pair = files::pair(certificate, key, files.flags, &provider)?;
            builder.with_client_cert_resolver(pair)
        }
    };
    // A resumed session does not check the certificate again, which may have expired since.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn verifier(
    files: &ClientTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if !files.verifies {
        return Ok(Arc::new(AcceptAny::new(provider.clone())));
    }
    let trusted = match &files.authorities {
        Some(path) => files::authorities(path, files.flags)?,
        None => files::system_authorities(files.flags)?,
    };
    let flag = files.flags.authorities;
    Ok(Arc::new(Verifier::new(trusted, flag, files.allowed.clone(), provider.clone())))
}
