//! Reads the cipher suites, which have Go's names.

use rustls::CipherSuite;

use super::reader::Reader;

const FLAG: &str = "cipher-suites";

/// The suites of TLS 1.2 that exist here.
const SUITES: [(&str, CipherSuite); 8] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The suites of TLS 1.3. Naming them has no effect, as in Go.
const ALWAYS: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites that Go still has, but only on request, because they are weak. They do not exist here.
const WEAK: [&str; 14] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];
/// The end of the names of further weak suites.
const WEAK_END: &str = "_CBC_SHA256";

/// Reads the suites of TLS 1.2 that are accepted; `None` for all of them.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<CipherSuite>> {
    let names = reader.list(FLAG);
    let mut suites = Vec::new();
    let mut weak = Vec::new();
    for name in &names {
        if let Some((_, suite)) = SUITES.iter().find(|(known, _)| known == name) {
            suites.push(*suite);
        } else if WEAK.contains(&name.as_str()) || name.ends_with(WEAK_END) {
            weak.push(name.as_str());
        } else if !ALWAYS.contains(&name.as_str()) {
            reader.problem(FLAG, format!("{name:?} is not Go's name of a cipher suite"));
        }
    }
    let weak = weak.join(", ");
    if !weak.is_empty() && suites.is_empty() {
        let known = SUITES.map(|(name, _)| name).join(", ");
        reader.problem(FLAG, format!("these are too weak: {weak}; add one of {known}"));
    } else if !weak.is_empty() {
        reader.warn(format!("--{FLAG}: not used, because they are weak: {weak}"));
    }
    (!names.is_empty()).then_some(suites)
}
