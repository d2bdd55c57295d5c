//! TLS for the ports and between members. When the TLS files change, the next connection uses the
//! new files.

mod certificate;
mod chain;
mod client;
mod constraints;
mod der;
mod files;
mod hosts;
mod material;
mod names;
mod protocols;
mod revoked;
pub(crate) mod san;
pub(crate) mod self_signed;
mod server;
mod signature;
mod verifier;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use self::certificate::Certificate;
use crate::config::{ClientTls, ServerTls};
pub(crate) use files::TlsError;
pub(crate) use material::{Material, Shown};

/// Identifies the version of a file: modification time, length and inode. `None` if the file cannot
/// be read.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// The configuration from the last read of the files, and the files' stamps at that time.
struct Loaded<C> {
    stamps: Vec<Stamp>,
    config: Arc<C>,
    material: Material,
}

/// Reads the files of one side of TLS.
type Load<C> = Box<dyn Fn() -> Result<(C, Material), TlsError> + Send + Sync>;

/// The configuration of one side of TLS, reloaded when its files change.
pub(crate) struct Tls<C> {
    paths: Vec<PathBuf>,
    load: Load<C>,
    loaded: Mutex<Loaded<C>>,
}

impl<C> Tls<C> {
    fn of(paths: impl IntoIterator<Item = PathBuf>, load: Load<C>) -> Result<Self, TlsError> {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let stamps = paths.iter().map(|path| stamp(path)).collect();
        let (config, material) = load()?;
        let loaded = Loaded { stamps, config: Arc::new(config), material };
        Ok(Self { paths, load, loaded: Mutex::new(loaded) })
    }

    /// The configuration for the next connection. Reloads the files if they have changed. If the
    /// new files cannot be used, the old configuration stays in use.
    pub(crate) fn current(&self) -> Arc<C> {
        self.refreshed(false).config.clone()
    }

    /// The certificates for the next connection. With `rereads`, reads the files even if they look
    /// unchanged.
    pub(crate) fn material(&self, rereads: bool) -> Material {
        self.refreshed(rereads).material.clone()
    }

    fn refreshed(&self, rereads: bool) -> MutexGuard<'_, Loaded<C>> {
        let stamps: Vec<Stamp> = self.paths.iter().map(|path| stamp(path)).collect();
        let mut loaded = self.loaded.lock();
        if rereads || loaded.stamps != stamps {
            let files = self.paths.iter().map(|path| path.display().to_string());
            let files = files.collect::<Vec<_>>().join(",");
            match (self.load)() {
                Ok((config, material)) => {
                    if loaded.material != material || loaded.stamps != stamps {
                        tracing::info!(files, "certificates changed and were reloaded");
                    }
                    loaded.config = Arc::new(config);
                    loaded.material = material;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot reload certificates; the old ones stay in use");
                    loaded.material.problem = Some(error.file());
                }
            }
            loaded.stamps = stamps;
        }
        loaded
    }
}

impl Tls<ServerConfig> {
    /// The configuration of the server side.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn server(files: ServerTls) -> Result<Self, TlsError> {
        let ServerTls { certificate, key, authorities, revoked, .. } = files.clone();
        let revoked = revoked.map(|file| file.path);
        let paths = [Some(certificate), Some(key), authorities, revoked].into_iter().flatten();
        Self::of(paths, Box::new(move || server::load(&files)))
    }
}

impl Tls<ClientConfig> {
    /// The configuration of the client side.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn client(files: ClientTls) -> Result<Self, TlsError> {
        let ClientTls { pair, authorities, .. } = files.clone();
        let (certificate, key) = pair.unzip();
        let paths = [certificate, key, authorities].into_iter().flatten();
        Self::of(paths, Box::new(move || client::load(&files)))
    }
}

/// The certificate in DER that the other side of a connection has presented, if any. The handshake
/// has verified it.
pub(crate) fn shown(connection: &ServerConnection) -> Option<Bytes> {
    let leaf = connection.peer_certificates()?.first()?;
    Some(Bytes::copy_from_slice(leaf))
}

/// The common name of the subject of a certificate in DER; `None` if it has none.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    Certificate::parse(&CertificateDer::from(certificate)).ok()?.common_name
}

#[cfg(test)]
mod tests;
