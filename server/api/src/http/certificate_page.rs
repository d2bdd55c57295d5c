//! The interface through which the pages of the certificates ask the program.

/// The certificates in use, which the program knows. The pages of the certificates contain no
/// secrets, so a port without TLS can serve these pages.
pub trait CertificatePage: Send + Sync {
    /// The certificates that the next connection of each role uses, as JSON.
    fn current(&self) -> String;

    /// Reads the certificate files now, even if the files look unchanged, and then returns the same
    /// as [`Self::current`]. Returns `None` if the last reread on demand was too recent.
    fn reread(&self) -> Option<String>;
}
