//! Signed tokens: a JSON Web Token names a user and the revision of users and roles at which it was
//! made. Every member that has the key can check it alone.
//!
//! The rules are those of etcd and of its JWT library: the header of a token must name the
//! configured algorithm; a token without `exp`, or with 0 there, never expires; only `username`,
//! `revision`, `exp` and `nbf` have an effect.

mod algorithm;
mod error;
mod key;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use algorithm::Algorithm;
pub(crate) use error::SignError;
pub use error::{JwtError, KeyNeed};
use key::{Signer, Verifier};

/// The dates in a token must be before this one, in seconds since 1970.
const LATEST_DATE: f64 = 9.2e18;

/// The options for signing and verifying tokens.
#[derive(Clone, Copy)]
pub struct JwtOptions<'a> {
    /// The name of the algorithm.
    pub sign_method: &'a str,
    /// The public key or a certificate, as PEM; empty for none.
    pub public_key: &'a [u8],
    /// The private key as PEM, or the secret; empty for none. Without it, tokens are only verified.
    pub private_key: &'a [u8],
    /// How long a token is valid.
    pub ttl: Duration,
}

/// Signs and verifies tokens. Clones share the keys.
#[derive(Clone)]
pub struct Jwt {
    parts: Arc<Parts>,
}

struct Parts {
    algorithm: &'static Algorithm,
    signer: Option<Signer>,
    verifier: Verifier,
    ttl: Duration,
}

impl fmt::Debug for Jwt {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { algorithm, ttl, .. } = &*self.parts;
        f.debug_struct("Jwt").field("algorithm", &algorithm.name).field("ttl", ttl).finish()
    }
}

impl Jwt {
    /// A value that signs and verifies tokens with these options.
    ///
    /// # Errors
    /// The algorithm does not exist, or the keys do not serve it.
    pub fn new(options: &JwtOptions<'_>) -> Result<Self, JwtError> {
        let JwtOptions { sign_method, public_key, private_key, ttl } = *options;
        let algorithm = algorithm::find(sign_method).ok_or(JwtError::SignMethod)?;
        let (signer, verifier) = key::read(algorithm, public_key, private_key)?;
        Ok(Self { parts: Arc::new(Parts { algorithm, signer, verifier, ttl }) })
    }

    /// Whether one secret signs and verifies, so that no public key has an effect.
    pub fn has_secret(&self) -> bool {
        self.parts.algorithm.has_secret()
    }

    /// A token for a user at a revision of users and roles.
    ///
    /// # Errors
    /// There is no private key, or the signature fails.
    pub(crate) fn sign(&self, username: &str, revision: u64) -> Result<String, SignError> {
        self.sign_at(SystemTime::now(), username, revision)
    }

    fn sign_at(&self, now: SystemTime, username: &str, revision: u64) -> Result<String, SignError> {
        let exp = (since_epoch(now) + self.parts.ttl).as_secs();
        self.sign_claims(&json!({ "username": username, "revision": revision, "exp": exp }))
    }

    fn sign_claims(&self, claims: &Value) -> Result<String, SignError> {
        let signer = self.parts.signer.as_ref().ok_or(SignError::VerifyOnly)?;
        let header = json!({ "alg": self.parts.algorithm.name, "typ": "JWT" });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let signature = signer.sign(token.as_bytes()).map_err(|_| SignError::Failed)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The user and the revision that a token names; `None` unless it is valid now.
    pub(crate) fn verify(&self, token: &str) -> Option<(String, u64)> {
        self.verify_at(SystemTime::now(), token)
    }

    fn verify_at(&self, now: SystemTime, token: &str) -> Option<(String, u64)> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let Parts { algorithm, verifier, .. } = &*self.parts;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // The signature is checked first, by the configured key and algorithm, whatever the token
        // names. So a member parses only text that a holder of the key has signed.
        if !verifier.verifies(signed.as_bytes(), &signature) {
            return None;
        }
        if decode(header)?.get("alg")?.as_str()? != algorithm.name {
            return None;
        }
        let claims = decode(claims)?;
        let username = claims.get("username")?.as_str()?.to_owned();
        let revision = whole(claims.get("revision")?)?;
        is_current(&claims, since_epoch(now)).then_some((username, revision))
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The JSON object in a part of a token.
fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A number without its fraction. Other signers may write a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no member has a revision outside of u64, so the nearest number does as well"
)]
fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().map(|number| number as u64))
}

/// Whether `exp` and `nbf`, if they are there, permit the token now. A date of 0 counts as absent.
fn is_current(claims: &Map<String, Value>, now: Duration) -> bool {
    let now = now.as_secs_f64();
    let holds = |name: &str, is_kept: fn(f64, f64) -> bool| {
        let Some(date) = claims.get(name) else { return true };
        // etcd cannot represent a later date, and takes it for one of the past. So such an `exp` is
        // over. Such an `nbf` makes a token invalid here, because it is still to come.
        let date = date.as_f64().filter(|date| *date < LATEST_DATE);
        date.is_some_and(|date| date == 0.0 || is_kept(date.floor(), now))
    };
    holds("exp", |expiry, now| now < expiry) && holds("nbf", |begin, now| begin <= now)
}

#[cfg(test)]
mod tests;
