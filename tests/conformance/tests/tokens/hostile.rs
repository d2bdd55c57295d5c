//! Tokens by clients without the key: both servers refuse all of them with the same words.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_test_conformance::server_pair::ServerPair;

use crate::keys::{Keys, signed};
use crate::{CHEAP, enable, invalid, range, success, token};

/// Length of a long token, within the limit of headers.
const LONG: usize = 60_000;

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Tokens that are hardly any.
fn garbage() -> Vec<String> {
    let mut garbage: Vec<String> =
        ["", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d.e", "Bearer", "Bearer ", "é.é.é"]
            .map(str::to_owned)
            .into();
    garbage.extend([".".repeat(LONG), "a".repeat(LONG), "a.".repeat(LONG / 2)]);
    garbage
}

/// Changes of a valid token: of its form, its header and its claims.
fn changed(token: &str) -> Vec<String> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let with_header = |header: &str| format!("{}.{claims}.{signature}", encode(header));
    let with_claims = |claims: &str| format!("{header}.{}.{signature}", encode(claims));
    let deep = |length: usize| format!("{}{}", "[".repeat(length), "]".repeat(length));
    let root = r#"{"username":"root","revision":9}"#;
    vec![
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{token}"),
        format!("{header}..{signature}"),
        format!("{header}.{claims}."),
        format!(".{claims}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{claims}.{signature}"),
        format!("bearer {token}"),
        format!("Bearer Bearer {token}"),
        format!("{header}.{claims}.{}", "A".repeat(signature.len())),
        format!("{header}.{claims}.{}", "A".repeat(LONG)),
        with_claims(root),
        with_claims(&deep(LONG / 3)),
        with_claims(&format!(r#"{{"a":{}}}"#, deep(LONG / 3))),
        with_claims(&format!(r#"{{"a":"{}"}}"#, "x".repeat(LONG / 2))),
        with_header(&deep(LONG / 3)),
        with_header(&format!(r#"{{"alg":"RS256","a":{}}}"#, deep(LONG / 3))),
        with_header(r#"{"alg":"none"}"#),
        with_header(r#"{"alg":"PS256"}"#),
        format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(root)),
        format!("{}.{}.", encode(r#"{"alg":""}"#), encode(root)),
    ]
}

/// Tokens that are signed by the public key, as if that were a secret.
fn confused(keys: &Keys) -> Vec<String> {
    let root = r#"{"username":"root","revision":4}"#;
    let file = fs::read(keys.public("RS")).unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    let trimmed = text.trim_end().as_bytes().to_vec();
    let mut confused = Vec::new();
    for secret in [file, trimmed, Vec::new()] {
        for header in ["HS256", "HS384", "RS256"] {
            confused.push(signed(&secret, &format!(r#"{{"alg":"{header}"}}"#), root));
        }
    }
    confused
}

#[test]
fn tokens_without_the_key_are_invalid_at_both() {
    let keys = Keys::new();
    let flags = [&keys.signing("RS256", "RS"), CHEAP];
    let Some(mut pair) = ServerPair::start("hostile tokens of etcd", &flags) else { return };
    for (_, server) in pair.both() {
        enable(server);
    }
    let valid = token(&pair.quorate);
    for (name, server) in pair.both() {
        for hostile in [garbage(), changed(&valid), confused(&keys)].concat() {
            let shown: String = hostile.chars().take(200).collect();
            assert_eq!(range(server, &hostile), invalid(), "{name} {shown}");
        }
        assert_eq!(range(server, &valid), success(), "{name}");
    }
    pair.assert_sound();
}
