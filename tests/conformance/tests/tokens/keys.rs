//! Keys of each kind in files, and the flags that name them.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;

/// The secret of HS256, HS384 and HS512, as it is in the file.
pub(crate) const SECRET: &[u8] = b"not a secret any more\n";

/// The algorithms with the name of their keys.
pub(crate) const ALGORITHMS: [(&str, &str); 13] = [
    ("HS256", "HS"),
    ("HS384", "HS"),
    ("HS512", "HS"),
    ("RS256", "RS"),
    ("RS384", "RS"),
    ("RS512", "RS"),
    ("PS256", "RS"),
    ("PS384", "RS"),
    ("PS512", "RS"),
    ("ES256", "ES256"),
    ("ES384", "ES384"),
    ("ES512", "ES512"),
    ("EdDSA", "EdDSA"),
];

/// A folder with keys of each kind.
pub(crate) struct Keys(TempDir);

impl Keys {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        write_keys(folder.path());
        Self(folder)
    }

    pub(crate) fn public(&self, kind: &str) -> PathBuf {
        self.0.path().join(format!("{kind}.public"))
    }

    pub(crate) fn private(&self, kind: &str) -> PathBuf {
        self.0.path().join(format!("{kind}.private"))
    }

    /// The flag for tokens that are signed.
    pub(crate) fn signing(&self, algorithm: &str, kind: &str) -> String {
        let private = self.private(kind);
        let flag =
            format!("--auth-token=jwt,sign-method={algorithm},priv-key={}", private.display());
        if kind == "HS" { flag } else { format!("{flag},pub-key={}", self.public(kind).display()) }
    }

    /// The flag for tokens that are verified only.
    pub(crate) fn verifying(&self, algorithm: &str, kind: &str) -> String {
        let public = self.public(kind);
        format!("--auth-token=jwt,sign-method={algorithm},pub-key={}", public.display())
    }
}

fn write(folder: &Path, name: &str, label: &str, der: &[u8]) {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    let lines = lines.collect::<Vec<_>>().join("\n");
    let pem = format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n");
    fs::write(folder.join(name), pem).unwrap();
}

fn write_pair(folder: &Path, name: &str, public: &PublicKeyX509Der<'_>, private: &[u8]) {
    write(folder, &format!("{name}.public"), "PUBLIC KEY", public.as_ref());
    write(folder, &format!("{name}.private"), "PRIVATE KEY", private);
}

fn write_keys(folder: &Path) {
    fs::write(folder.join("HS.private"), SECRET).unwrap();
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    write_pair(folder, "RS", &pair.public_key().as_der().unwrap(), private.as_ref());
    let curves: [(&str, &'static EcdsaSigningAlgorithm); 3] = [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ];
    for (name, signing) in curves {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        write_pair(folder, name, &pair.public_key().as_der().unwrap(), private.as_ref());
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    write_pair(folder, "EdDSA", &pair.public_key().as_der().unwrap(), private.as_ref());
}

/// A token with this header and these claims, signed by a secret.
pub(crate) fn signed(secret: &[u8], header: &str, claims: &str) -> String {
    let algorithm = if header.contains("HS384") { hmac::HMAC_SHA384 } else { hmac::HMAC_SHA256 };
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let text = format!("{header}.{claims}");
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
