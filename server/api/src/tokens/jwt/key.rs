//! The keys of tokens, from PEM files.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, PublicEncryptingKey};
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaSignatureEncoding,
    VerificationAlgorithm,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::algorithm::{Algorithm, Scheme};
use super::error::JwtError;

/// The section that `openssl ecparam -genkey` writes before the key.
const CURVE: &str = "EC PARAMETERS";
/// Any text, to see whether two keys belong together.
const PROBE: &[u8] = b"probe";

/// Signs messages.
pub(super) enum Signer {
    Hmac(Box<hmac::Key>),
    Rsa(rsa::KeyPair, &'static RsaSignatureEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// A signature of the message.
    ///
    /// # Errors
    /// The system has no random numbers or no memory.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        Ok(match self {
            Self::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)?;
                signature
            }
            Self::Ecdsa(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Self::Ed25519(pair) => pair.try_sign(message)?.as_ref().to_vec(),
        })
    }

    /// The verifier of its signatures; `None` if the library does not verify with such a key.
    fn verifier(&self, algorithm: &Algorithm) -> Option<Verifier> {
        let public = match self {
            Self::Hmac(key) => return Some(Verifier::Hmac(key.clone())),
            Self::Rsa(pair, _) => pair.public_key().as_ref(),
            Self::Ecdsa(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        };
        Verifier::new(algorithm, public)
    }
}

/// Verifies signatures.
pub(super) enum Verifier {
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    /// The verifier for a public key; `None` if the key is not one of the algorithm. An algorithm
    /// with a secret has no public keys.
    fn new(algorithm: &Algorithm, public: &[u8]) -> Option<Self> {
        let verification: &'static dyn VerificationAlgorithm = match algorithm.scheme {
            Scheme::Hmac(_) => return None,
            Scheme::Rsa(_, verification) => verification,
            Scheme::Ecdsa(_, verification) => verification,
            Scheme::Ed25519(verification) => verification,
        };
        let key = ParsedPublicKey::new(verification, public).ok()?;
        if let Scheme::Rsa(..) = algorithm.scheme {
            // Without this check, a wrong size of the key would show only when tokens are verified.
            PublicEncryptingKey::from_der(key.as_der().ok()?.as_ref()).ok()?;
        }
        Some(Self::Public(key))
    }

    /// Whether the signature is one of the message. Takes the same time for all wrong signatures of
    /// a secret.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// The signer and the verifier for the keys in these files. Either file may be empty. Without a
/// private key, there is no signer.
///
/// # Errors
/// No key is given, a file has none for this algorithm, or the keys do not belong together.
pub(super) fn read(
    algorithm: &Algorithm,
    public: &[u8],
    private: &[u8],
) -> Result<(Option<Signer>, Verifier), JwtError> {
    let need = algorithm.need();
    let has_secret = algorithm.has_secret();
    if has_secret && is_public(private) {
        return Err(JwtError::PublicSecret(need));
    }
    let signer = match private {
        [] => None,
        private => Some(read_private(algorithm, private).ok_or(JwtError::PrivateKey(need))?),
    };
    let given = match public {
        // As in etcd, a public key does not serve as the secret, and is ignored beside one.
        _ if has_secret => None,
        [] => None,
        public => Some(read_public(algorithm, public).ok_or(JwtError::PublicKey(need))?),
    };
    let verifier = match (&signer, given) {
        (None, None) if has_secret => return Err(JwtError::MissingSecret(need)),
        (None, None) => return Err(JwtError::MissingKey(need)),
        (None, Some(given)) => given,
        (Some(signer), given) => {
            let own = signer.verifier(algorithm).ok_or(JwtError::PrivateKey(need))?;
            let probe = signer.sign(PROBE).map_err(|_| JwtError::PrivateKey(need))?;
            if given.is_some_and(|given| !given.verifies(PROBE, &probe)) {
                return Err(JwtError::KeyMismatch);
            }
            own
        }
    };
    Ok((signer, verifier))
}

/// A private key; `None` if the file has none for this algorithm. A secret is the whole file, as in
/// etcd.
fn read_private(algorithm: &Algorithm, file: &[u8]) -> Option<Signer> {
    if let Scheme::Hmac(hash) = algorithm.scheme {
        return Some(Signer::Hmac(Box::new(hmac::Key::new(hash, file))));
    }
    let der = first_section(file)?;
    match algorithm.scheme {
        Scheme::Hmac(_) => None,
        Scheme::Rsa(encoding, _) => {
            let pair = rsa::KeyPair::from_der(&der).or_else(|_| rsa::KeyPair::from_pkcs8(&der));
            Some(Signer::Rsa(pair.ok()?, encoding))
        }
        Scheme::Ecdsa(signing, _) => {
            Some(Signer::Ecdsa(EcdsaKeyPair::from_private_key_der(signing, &der).ok()?))
        }
        Scheme::Ed25519(_) => Some(Signer::Ed25519(Ed25519KeyPair::from_pkcs8(&der).ok()?)),
    }
}

/// A public key, or that of a certificate.
fn read_public(algorithm: &Algorithm, file: &[u8]) -> Option<Verifier> {
    let der = first_section(file)?;
    Verifier::new(algorithm, &der).or_else(|| {
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        Verifier::new(algorithm, certificate.tbs_certificate.subject_pki.raw)
    })
}

/// The content of the first section of a PEM file.
pub(super) fn first_section(file: &[u8]) -> Option<Vec<u8>> {
    let mut sections = Pem::iter_from_buffer(file).map_while(Result::ok);
    sections.find(|section| section.label != CURVE).map(|section| section.contents)
}

/// Whether a file has a public key or a certificate and no private key. If it were the secret,
/// every holder of the public key could sign tokens.
fn is_public(file: &[u8]) -> bool {
    let sections: Vec<Pem> = Pem::iter_from_buffer(file).map_while(Result::ok).collect();
    !sections.is_empty() && sections.iter().all(|section| !section.label.contains("PRIVATE"))
}
