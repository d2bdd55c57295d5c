//! The errors of signed tokens. Each begins with etcd's text, if etcd has one.

use thiserror::Error;

/// The kind of key that an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("sign-method={algorithm} needs {kind}")]
pub struct KeyNeed {
    pub(super) algorithm: &'static str,
    pub(super) kind: &'static str,
}

/// Why tokens cannot be signed and verified with the given options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JwtError {
    /// No such algorithm.
    #[error(
        "auth: invalid auth signature method: sign-method must be HS256, HS384, HS512, RS256, \
         RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA"
    )]
    SignMethod,
    /// No secret is given.
    #[error("auth: missing key data: {0}: set priv-key to a file with one")]
    MissingSecret(KeyNeed),
    /// Neither key is given.
    #[error("auth: missing key data: {0}: set priv-key, or only pub-key to verify tokens")]
    MissingKey(KeyNeed),
    /// The keys do not belong together.
    #[error(
        "auth: public and private keys don't match: set priv-key and pub-key of one pair, or only \
         priv-key"
    )]
    KeyMismatch,
    /// The file has no private key for this algorithm.
    #[error("{0}: set priv-key to a file with such a private key, as unencrypted PEM")]
    PrivateKey(KeyNeed),
    /// The file has no public key for this algorithm.
    #[error("{0}: set pub-key to a file with such a public key, or with its certificate, as PEM")]
    PublicKey(KeyNeed),
    /// The file of the secret has a public key.
    #[error("{0}: set priv-key to a file with one, not to a public key, which others know")]
    PublicSecret(KeyNeed),
}

/// Why a token cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum SignError {
    /// Only a public key is given.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The system has no random numbers or no memory.
    #[error("auth: cannot sign a token")]
    Failed,
}
