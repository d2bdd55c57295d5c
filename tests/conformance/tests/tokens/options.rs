//! Options that stop the start.

use std::fs;
use std::path::Path;

use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::keys::Keys;

/// The output of a program that does not start with these tokens.
fn refusal(program: &Path, tokens: &str) -> String {
    let mut server = Server::new(program, &[&format!("--auth-token={tokens}")]);
    let status = server.start_or_end();
    assert!(status.is_some_and(|status| !status.success()), "{tokens}: {status:?}");
    server.log_tail()
}

#[test]
fn options_that_etcd_refuses_are_refused_in_its_words() {
    let Some(etcd) = program::etcd("options of etcd", "etcd-3.7") else { return };
    let [keys, others] = [Keys::new(), Keys::new()];
    let (rsa, ec) = (keys.private("RS"), keys.public("ES256"));
    let [rsa, ec] = [rsa, ec].map(|path| path.display().to_string());
    let others = others.private("ES256").display().to_string();
    let invalid = "auth: invalid auth options";
    for (tokens, text) in [
        ("basic".to_owned(), invalid),
        ("simple,x".to_owned(), invalid),
        (format!("jwt,sign-method=RS256,priv-key={rsa},priv-key={rsa}"), invalid),
        (format!("jwt,sign-method=RS256,priv-key={rsa},ttl=5"), invalid),
        ("jwt,sign-method=RS256,priv-key=/none".to_owned(), invalid),
        ("jwt,sign-method=RS256".to_owned(), "auth: missing key data"),
        (format!("jwt,sign-method=HS256,pub-key={ec}"), "auth: missing key data"),
        (format!("jwt,sign-method=rs256,priv-key={rsa}"), "auth: invalid auth signature method"),
        (
            format!("jwt,sign-method=ES256,pub-key={ec},priv-key={others}"),
            "auth: public and private keys don't match",
        ),
    ] {
        for program in [&etcd, &program::quorate()] {
            let said = refusal(program, &tokens);
            assert!(said.contains(text), "{} {tokens}:\n{said}", program.display());
        }
    }
}

/// At the start, etcd refuses only some of these keys. It refuses others at a login or for a token.
#[test]
fn keys_that_do_not_fit_the_algorithm_stop_the_start() {
    let keys = Keys::new();
    let private = |kind: &str| format!("priv-key={}", keys.private(kind).display());
    let public = |kind: &str| format!("pub-key={}", keys.public(kind).display());
    let public_secret = format!("priv-key={}", keys.public("RS").display());
    for (algorithm, key, needs) in [
        ("RS256", private("EdDSA"), "an RSA key of 2048 to 8192 bits: set priv-key to"),
        ("PS256", public("ES256"), "an RSA key of 2048 to 8192 bits: set pub-key to"),
        ("ES256", private("ES384"), "a key on the curve P-256: set priv-key to"),
        ("ES384", public("ES512"), "a key on the curve P-384: set pub-key to"),
        ("ES512", private("RS"), "a key on the curve P-521: set priv-key to"),
        ("EdDSA", private("HS"), "an Ed25519 key: set priv-key to"),
        ("HS256", public_secret, "a secret: set priv-key to"),
    ] {
        let said = refusal(&program::quorate(), &format!("jwt,sign-method={algorithm},{key}"));
        let expected = format!("--auth-token: sign-method={algorithm} needs {needs}");
        assert!(said.contains(&expected), "{said}");
        let secret = fs::read_to_string(keys.private("RS")).unwrap();
        assert!(!said.contains(&secret[100..140]), "the key is shown");
    }
}
