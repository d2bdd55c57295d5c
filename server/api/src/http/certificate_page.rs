//! The interface through which the pages about certificates get their content from the program.

/// The content of the pages about the certificates in use. These pages contain no secrets, so a
/// port without TLS can serve them.
pub trait CertificatePage: Send + Sync {
    /// For each role, such as `peer-client`, the certificates of the next connection, as JSON.
    fn current(&self) -> String;

    /// Reads the certificate files now, even if the files look unchanged, and then returns the same
    /// as [`Self::current`]. Returns `None` if the last reread on demand was too recent.
    fn reread(&self) -> Option<String>;
}
