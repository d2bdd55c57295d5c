//! The signature algorithms of JWT, by their names in RFC 7518 and RFC 8037.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaParameters, RsaSignatureEncoding,
};
use aws_lc_rs::{hmac, signature};

use super::error::KeyNeed;

/// How a token is signed and verified.
#[derive(Clone, Copy)]
pub(super) enum Scheme {
    /// One secret for both.
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaSignatureEncoding, &'static RsaParameters),
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm),
    Ed25519(&'static signature::EdDSAParameters),
}

/// An algorithm with its name, as in the header of a token.
pub(super) struct Algorithm {
    pub(super) name: &'static str,
    pub(super) scheme: Scheme,
}

impl Algorithm {
    /// Whether one secret signs and verifies.
    pub(super) fn has_secret(&self) -> bool {
        matches!(self.scheme, Scheme::Hmac(_))
    }

    /// The kind of its keys.
    pub(super) fn need(&self) -> KeyNeed {
        let kind = match self.scheme {
            Scheme::Hmac(_) => "a secret",
            Scheme::Rsa(..) => "an RSA key of 2048 to 8192 bits",
            Scheme::Ecdsa(..) if self.name == "ES256" => "a key on the curve P-256",
            Scheme::Ecdsa(..) if self.name == "ES384" => "a key on the curve P-384",
            Scheme::Ecdsa(..) => "a key on the curve P-521",
            Scheme::Ed25519(_) => "an Ed25519 key",
        };
        KeyNeed { algorithm: self.name, kind }
    }
}

const fn algorithm(name: &'static str, scheme: Scheme) -> Algorithm {
    Algorithm { name, scheme }
}

/// All algorithms. `none` is none of them: a token without a signature is never valid.
pub(super) static ALGORITHMS: [Algorithm; 13] = [
    algorithm("HS256", Scheme::Hmac(hmac::HMAC_SHA256)),
    algorithm("HS384", Scheme::Hmac(hmac::HMAC_SHA384)),
    algorithm("HS512", Scheme::Hmac(hmac::HMAC_SHA512)),
    algorithm("RS256", Scheme::Rsa(&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256)),
    algorithm("RS384", Scheme::Rsa(&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384)),
    algorithm("RS512", Scheme::Rsa(&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512)),
    algorithm("PS256", Scheme::Rsa(&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256)),
    algorithm("PS384", Scheme::Rsa(&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384)),
    algorithm("PS512", Scheme::Rsa(&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512)),
    algorithm("ES256", Scheme::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)),
    algorithm("ES384", Scheme::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)),
    algorithm("ES512", Scheme::Ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED)),
    algorithm("EdDSA", Scheme::Ed25519(&signature::ED25519)),
];

/// The algorithm of this name.
pub(super) fn find(name: &str) -> Option<&'static Algorithm> {
    ALGORITHMS.iter().find(|algorithm| algorithm.name == name)
}
