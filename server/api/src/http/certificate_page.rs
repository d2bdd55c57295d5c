//! What the pages of the certificates need from the program.

/// The certificates in use, which the program knows. Their pages have no secrets: a port without
/// TLS can serve them.
pub trait CertificatePage: Send + Sync {
    /// The certificates that the next connection of each role uses, as JSON.
    fn current(&self) -> String;

    /// Reads the certificate files now, even if they look unchanged, and describes the result like
    /// [`Self::current`]. `None` if the last reread on demand was too recent.
    fn reread(&self) -> Option<String>;
}
