//! Tokens of each algorithm, and those that must be refused.

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::engine::general_purpose::STANDARD;

use super::algorithm::{ALGORITHMS, Scheme};
use super::*;

/// Time of the tests, in seconds since 1970.
const NOW: u64 = 1_700_000_000;
const TTL: Duration = Duration::from_secs(300);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// A public and a private key.
#[derive(Clone)]
struct Keys([Vec<u8>; 2]);

impl Keys {
    fn new(scheme: Scheme) -> Self {
        let [public, private] = match scheme {
            Scheme::Hmac(_) => {
                let mut secret = vec![0; 40];
                aws_lc_rs::rand::fill(&mut secret).unwrap();
                return Self([Vec::new(), secret]);
            }
            Scheme::Rsa(..) => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
                [public.as_ref().to_vec(), private.as_ref().to_vec()]
            }
            Scheme::Ecdsa(signing, _) => {
                let pair = EcdsaKeyPair::generate(signing).unwrap();
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
                let private = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
                [public.as_ref().to_vec(), private]
            }
            Scheme::Ed25519(_) => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
                let private = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
                [public.as_ref().to_vec(), private]
            }
        };
        Self([pem("PUBLIC KEY", &public), pem("PRIVATE KEY", &private)])
    }

    fn public_only(&self) -> Self {
        Self([self.0[0].clone(), Vec::new()])
    }

    fn private_only(&self) -> Self {
        Self([Vec::new(), self.0[1].clone()])
    }

    fn jwt(&self, sign_method: &str) -> Result<Jwt, JwtError> {
        let [public_key, private_key] = &self.0;
        Jwt::new(&JwtOptions { sign_method, public_key, private_key, ttl: TTL })
    }
}

/// Each algorithm with keys for it.
fn all() -> impl Iterator<Item = (&'static str, Scheme, Keys)> {
    ALGORITHMS.iter().map(|one| (one.name, one.scheme, Keys::new(one.scheme)))
}

#[test]
fn tokens_of_each_algorithm_are_verified_by_either_key() {
    for (name, scheme, keys) in all() {
        let both = keys.jwt(name).unwrap();
        let token = both.sign_at(at(NOW), "alice", 7).unwrap();
        let expected = Some(("alice".to_owned(), 7));
        assert_eq!(both.verify_at(at(NOW), &token), expected, "{name}");
        assert_eq!(keys.private_only().jwt(name).unwrap().verify_at(at(NOW), &token), expected);
        if matches!(scheme, Scheme::Hmac(_)) {
            continue;
        }
        let verifying = keys.public_only().jwt(name).unwrap();
        assert_eq!(verifying.verify_at(at(NOW), &token), expected, "{name}");
        assert_eq!(verifying.sign("alice", 7), Err(SignError::VerifyOnly), "{name}");
        let others = Keys::new(scheme);
        assert_eq!(others.jwt(name).unwrap().verify_at(at(NOW), &token), None, "{name}");
        let mixed = Keys([keys.0[0].clone(), others.0[1].clone()]);
        assert_eq!(mixed.jwt(name).unwrap_err(), JwtError::KeyMismatch, "{name}");
    }
}

#[test]
fn tokens_of_now_are_verified_now() {
    let (name, _, keys) = all().next().unwrap();
    let jwt = keys.jwt(name).unwrap();
    let token = jwt.sign("bob", u64::MAX).unwrap();
    assert_eq!(jwt.verify(&token), Some(("bob".to_owned(), u64::MAX)));
}

#[test]
fn a_token_with_any_changed_character_is_refused() {
    for (name, _, keys) in all() {
        let jwt = keys.jwt(name).unwrap();
        let token = jwt.sign_at(at(NOW), "alice", 7).unwrap();
        for at_byte in 0..token.len() {
            for other in ['A', 'B', 'z', '.', '='] {
                let mut changed = token.clone();
                changed.replace_range(at_byte..=at_byte, other.encode_utf8(&mut [0; 4]));
                if changed != token {
                    assert_eq!(jwt.verify_at(at(NOW), &changed), None, "{name} {changed}");
                }
            }
            assert_eq!(jwt.verify_at(at(NOW), &token[..at_byte]), None, "{name}");
        }
        assert_eq!(jwt.verify_at(at(NOW), &format!("{token}.")), None);
        assert_eq!(jwt.verify_at(at(NOW), &format!(".{token}")), None);
    }
}

/// A token with this header, signed by the keys of `jwt`.
fn with_header(jwt: &Jwt, header: &str, claims: &Value) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(header), encode(&claims.to_string()));
    let signature = jwt.parts.signer.as_ref().unwrap().sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn the_header_must_name_the_configured_algorithm() {
    let claims = json!({ "username": "root", "revision": 9 });
    for (name, _, keys) in all() {
        let jwt = keys.jwt(name).unwrap();
        let header = format!(r#"{{"alg":"{name}"}}"#);
        assert!(jwt.verify_at(at(NOW), &with_header(&jwt, &header, &claims)).is_some(), "{name}");
        let others = ALGORITHMS.iter().map(|one| one.name).filter(|other| *other != name);
        for other in others.chain(["none", "None", "", &name.to_lowercase()]) {
            if other == name {
                continue;
            }
            let header = format!(r#"{{"alg":"{other}"}}"#);
            let token = with_header(&jwt, &header, &claims);
            assert_eq!(jwt.verify_at(at(NOW), &token), None, "{name} {other}");
            let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
            assert_eq!(jwt.verify_at(at(NOW), &unsigned), None, "{name} {other}");
        }
        for header in ["{}", "[]", "1", r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, ""] {
            let token = with_header(&jwt, header, &claims);
            assert_eq!(jwt.verify_at(at(NOW), &token), None, "{name} {header}");
        }
    }
}

/// A public key is no secret: it must not become one through the token's header.
#[test]
fn a_public_key_is_not_used_as_a_secret() {
    let (name, _, keys) = all().find(|(name, ..)| *name == "RS256").unwrap();
    let jwt = keys.jwt(name).unwrap();
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &keys.0[0]);
    let claims = json!({ "username": "root", "revision": 9 });
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#] {
        let token = with_header(&jwt, header, &claims);
        let signed = token.rsplit_once('.').unwrap().0;
        let signature = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(jwt.verify_at(at(NOW), &token), None, "{header}");
    }
}

#[test]
fn claims_are_read_as_by_the_library_of_etcd() {
    let jwt = Keys::new(ALGORITHMS[0].scheme).jwt("HS256").unwrap();
    let read = |claims: &Value| {
        let token = jwt.sign_claims(claims).unwrap();
        jwt.verify_at(at(NOW), &token).map(|(_, revision)| revision)
    };
    let base = json!({ "username": "a", "revision": 5 });
    let with = |name: &str, value: Value| {
        let mut claims = base.clone();
        claims[name] = value;
        read(&claims)
    };
    assert_eq!(read(&base), Some(5));
    for (name, value, is_valid) in [
        ("exp", json!(NOW + 1), true),
        ("exp", json!(NOW), false),
        ("exp", json!(NOW - 1), false),
        ("exp", json!(0), true),
        ("exp", json!(-1), false),
        ("exp", json!(1.7e9 + 0.5), false),
        ("exp", json!(1.7e9 + 1.5), true),
        ("exp", json!(0.5), false),
        ("exp", json!(1e300), false),
        ("exp", json!(-1e300), false),
        ("exp", json!(null), false),
        ("exp", json!(format!("{}", NOW + 1)), false),
        ("nbf", json!(NOW), true),
        ("nbf", json!(NOW + 1), false),
        ("nbf", json!(0), true),
        ("nbf", json!(0.5), true),
        ("nbf", json!(-1e300), true),
        ("nbf", json!(1e300), false),
        ("nbf", json!("x"), false),
        ("iat", json!(NOW + 999), true),
        ("aud", json!(7), true),
        ("username", json!(7), false),
        ("username", json!(null), false),
        ("username", json!(""), true),
        ("revision", json!("5"), false),
        ("revision", json!(null), false),
    ] {
        assert_eq!(with(name, value.clone()).is_some(), is_valid, "{name} {value}");
    }
    assert_eq!(with("revision", json!(5.9)), Some(5));
    assert_eq!(with("revision", json!(-3)), Some(0));
    for claims in [json!({}), json!([]), json!("a"), json!({ "username": "a" }), json!(null)] {
        assert_eq!(read(&claims), None, "{claims}");
    }
}

#[test]
fn a_token_lives_as_long_as_configured() {
    let jwt = Keys::new(ALGORITHMS[0].scheme).jwt("HS256").unwrap();
    let token = jwt.sign_at(at(NOW), "a", 1).unwrap();
    assert!(jwt.verify_at(at(NOW + TTL.as_secs() - 1), &token).is_some());
    assert_eq!(jwt.verify_at(at(NOW + TTL.as_secs()), &token), None);
}

#[test]
fn options_without_keys_are_refused() {
    let nothing = Keys([Vec::new(), Vec::new()]);
    for name in ["", "none", "rs256", "RS128", "ES256K"] {
        assert_eq!(nothing.jwt(name).unwrap_err(), JwtError::SignMethod, "{name}");
    }
    for (name, scheme, own) in all() {
        let missing = nothing.jwt(name).unwrap_err();
        if let Scheme::Hmac(_) = scheme {
            assert!(matches!(missing, JwtError::MissingSecret(_)), "{name}");
            let public = Keys([b"key".to_vec(), Vec::new()]);
            assert_eq!(public.jwt(name).unwrap_err(), missing, "{name}");
            continue;
        }
        assert!(matches!(missing, JwtError::MissingKey(_)), "{name}");
        let text = Keys([Vec::new(), b"no PEM".to_vec()]);
        assert!(matches!(text.jwt(name).unwrap_err(), JwtError::PrivateKey(_)), "{name}");
        let swapped = Keys([own.0[1].clone(), own.0[0].clone()]);
        assert!(swapped.jwt(name).is_err(), "{name}");
    }
}

#[test]
fn keys_of_another_algorithm_are_refused() {
    let keys: Vec<(&str, Keys)> = all()
        .filter(|(name, ..)| !name.starts_with("HS"))
        .map(|(name, _, keys)| (name, keys))
        .collect();
    let is_rsa = |name: &str| name.starts_with("RS") || name.starts_with("PS");
    for (name, _) in &keys {
        for (other, others) in &keys {
            if name == other || (is_rsa(name) && is_rsa(other)) {
                continue;
            }
            let private = others.private_only().jwt(name).unwrap_err();
            assert!(matches!(private, JwtError::PrivateKey(_)), "{name} {other}");
            let public = others.public_only().jwt(name).unwrap_err();
            assert!(matches!(public, JwtError::PublicKey(_)), "{name} {other}");
        }
    }
}

/// The forms that OpenSSL writes: with the parameters of the curve, PKCS #1, and SEC 1.
#[test]
fn keys_have_several_forms() {
    let rsa = Keys::new(ALGORITHMS[3].scheme);
    let der = |key: &[u8]| key::first_section(key).unwrap();
    // The headers of the outer form have this length if the key has 2048 bits.
    let private = pem("RSA PRIVATE KEY", &der(&rsa.0[1])[26..]);
    let public = pem("RSA PUBLIC KEY", &der(&rsa.0[0])[24..]);
    let token = rsa.jwt("RS256").unwrap().sign("a", 1).unwrap();
    for keys in [Keys([public, Vec::new()]), Keys([Vec::new(), private])] {
        assert!(keys.jwt("RS256").unwrap().verify(&token).is_some());
    }
    let Scheme::Ecdsa(signing, _) = ALGORITHMS[9].scheme else { unreachable!() };
    let pair = EcdsaKeyPair::generate(signing).unwrap();
    let private: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    let keys = [pem("EC PARAMETERS", b"x"), pem("EC PRIVATE KEY", private.as_ref())].concat();
    Keys([Vec::new(), keys]).jwt("ES256").unwrap();
}

/// The library does not verify with an RSA key of less than 2048 bits.
#[test]
fn an_rsa_key_of_1024_bits_is_refused_at_once() {
    let header = [0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
    let der = [&header[..], &[0xff; 128], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
    let public = pem("RSA PUBLIC KEY", &der);
    for name in ["RS256", "PS512"] {
        let refused = Keys([public.clone(), Vec::new()]).jwt(name).unwrap_err();
        assert!(matches!(refused, JwtError::PublicKey(_)), "{name}");
    }
}

/// Every client that knows the public key could sign tokens of every user.
#[test]
fn a_public_key_is_refused_as_a_secret() {
    for (name, _, keys) in all().filter(|(name, ..)| !name.starts_with("HS")) {
        let public = Keys([Vec::new(), keys.0[0].clone()]);
        let refused = public.jwt("HS256").unwrap_err();
        assert!(matches!(refused, JwtError::PublicSecret(_)), "{name}");
        // A private key is as secret as any other secret.
        keys.private_only().jwt("HS256").unwrap();
    }
    let certificate = Keys([Vec::new(), pem("CERTIFICATE", b"x")]);
    assert!(matches!(certificate.jwt("HS512").unwrap_err(), JwtError::PublicSecret(_)));
}

#[test]
fn keys_are_not_shown() {
    let keys = Keys([Vec::new(), b"secret".to_vec()]);
    let shown = format!("{:?}", keys.jwt("HS512").unwrap());
    assert_eq!(shown, r#"Jwt { algorithm: "HS512", ttl: 300s }"#);
}
