//! Reads the settings of users: the work for the hash of a password, and how users get tokens.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use quorate_api::tokens::TokenKind;
use quorate_api::tokens::jwt::{Jwt, JwtOptions};

use super::duration;
use super::reader::Reader;

/// The flag of the kind of tokens.
const TOKEN: &str = "auth-token";
/// The flag of the time to live of simple tokens.
const SIMPLE_TTL: &str = "auth-token-ttl";
/// The time to live of simple tokens if the flag is 0, as in etcd.
const SIMPLE_TTL_SECONDS: u32 = 300;
/// The time to live of signed tokens if the option `ttl` is absent, as in etcd.
const JWT_TTL: Duration = Duration::from_secs(300);
/// The options of signed tokens.
const JWT_OPTIONS: [&str; 4] = ["pub-key", "priv-key", "sign-method", "ttl"];
/// etcd's text about options that it cannot read.
const INVALID: &str = "auth: invalid auth options";

/// Reads the work for the hash of a password, as a base-2 logarithm.
pub(super) fn read_bcrypt_cost(reader: &mut Reader<'_>) -> u32 {
    let cost = reader.number("bcrypt-cost", "a whole number");
    if !(4..=31).contains(&cost) {
        reader.problem("bcrypt-cost", "must be from 4 to 31");
    }
    cost
}

/// Reads the kind of tokens, with the keys of signed ones.
pub(super) fn read_tokens(reader: &mut Reader<'_>) -> TokenKind {
    let seconds: u32 = reader.number(SIMPLE_TTL, "a number of seconds");
    let seconds = if seconds == 0 { SIMPLE_TTL_SECONDS } else { seconds };
    let simple = TokenKind::Simple { ttl: Duration::from_secs(seconds.into()) };
    let text = reader.text(TOKEN);
    let (kind, options) = match decompose(&text) {
        Ok(parts) => parts,
        Err(problem) => {
            reader.problem(TOKEN, problem);
            return simple;
        }
    };
    match kind {
        "simple" => simple,
        "" => TokenKind::Disabled,
        "jwt" => {
            for unknown in options.keys().filter(|name| !JWT_OPTIONS.contains(name)) {
                reader.warn(format!("--{TOKEN}: the option {unknown:?} is unknown and ignored"));
            }
            match read_jwt(&options) {
                Ok(jwt) => {
                    if jwt.has_secret() && options.contains_key("pub-key") {
                        reader.warn(format!("--{TOKEN}: pub-key is ignored beside a secret"));
                    }
                    TokenKind::Jwt(jwt)
                }
                Err(problem) => {
                    reader.problem(TOKEN, problem);
                    simple
                }
            }
        }
        other => {
            let text = format!("{INVALID}: {other:?} is neither simple nor jwt nor empty");
            reader.problem(TOKEN, text);
            simple
        }
    }
}

/// The kind of tokens and its options, `KIND,NAME=VALUE,..`. As in etcd, no value can have an
/// equals sign, and no option can be given twice.
fn decompose(text: &str) -> Result<(&str, BTreeMap<&str, &str>), String> {
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut options = BTreeMap::new();
    for part in parts {
        let pair = part.split_once('=').filter(|(_, value)| !value.contains('='));
        let (name, value) =
            pair.ok_or_else(|| format!("{INVALID}: {part:?} is not of the form name=value"))?;
        if options.insert(name, value).is_some() {
            return Err(format!("{INVALID}: {name} is given twice"));
        }
    }
    Ok((kind, options))
}

fn read_jwt(options: &BTreeMap<&str, &str>) -> Result<Jwt, String> {
    let option = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
    let file = |name: &str| match option(name) {
        None => Ok(Vec::new()),
        Some(path) => fs::read(path).map_err(|error| format!("{INVALID}: {name}={path}: {error}")),
    };
    let ttl = match option("ttl") {
        None => JWT_TTL,
        Some(text) => {
            let ttl = duration::parse(text).filter(|ttl| !ttl.is_zero());
            let malformed =
                || format!("{INVALID}: ttl={text} is not a positive time such as 10s or 1h30m");
            ttl.ok_or_else(malformed)?
        }
    };
    let jwt = Jwt::new(&JwtOptions {
        sign_method: option("sign-method").unwrap_or_default(),
        public_key: &file("pub-key")?,
        private_key: &file("priv-key")?,
        ttl,
    });
    jwt.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::tests::settings;

    /// The tokens that flags ask for, with the problems and the warnings.
    fn read(flags: &[&str]) -> (TokenKind, Vec<String>, Vec<String>) {
        let settings = settings(flags);
        let mut reader = Reader::new(&settings);
        let tokens = read_tokens(&mut reader);
        let problems = reader.problems.iter().map(ToString::to_string).collect();
        (tokens, problems, reader.warnings)
    }

    fn problem(text: &str) -> String {
        let (_, problems, _) = read(&["--auth-token", text]);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        problems.into_iter().next().unwrap()
    }

    #[test]
    fn simple_tokens_have_a_time_to_live() {
        for (flags, seconds) in [
            (&[][..], 300),
            (&["--auth-token=simple", "--auth-token-ttl=60"], 60),
            (&["--auth-token-ttl=0"], 300),
            (&["--auth-token=simple,ignored=too"], 300),
        ] {
            let (tokens, problems, _) = read(flags);
            let ttl = Duration::from_secs(seconds);
            assert!(matches!(tokens, TokenKind::Simple { ttl: read } if read == ttl), "{flags:?}");
            assert!(problems.is_empty(), "{problems:?}");
        }
        let (_, problems, _) = read(&["--auth-token-ttl=5m"]);
        assert_eq!(problems, ["--auth-token-ttl: \"5m\" is not a number of seconds"]);
        assert!(matches!(read(&["--auth-token="]).0, TokenKind::Disabled));
    }

    #[test]
    fn options_that_cannot_be_read_are_problems() {
        for text in [
            "basic",
            "Simple",
            "simple,x",
            "simple,a=1,a=2",
            "simple,a=b=c",
            "jwt,ttl=5",
            "jwt,ttl=-1s,sign-method=HS256",
            "jwt,ttl=0,sign-method=HS256",
            "jwt,pub-key=/none,sign-method=HS256",
            "jwt,priv-key=/none,sign-method=HS256",
        ] {
            let problem = problem(text);
            assert!(problem.starts_with("--auth-token: auth: invalid auth options: "), "{problem}");
        }
        let missing = "--auth-token: auth: missing key data: sign-method=HS256 needs a secret: \
                       set priv-key to a file with one";
        assert_eq!(problem("jwt,sign-method=HS256"), missing);
        let missing = "--auth-token: auth: missing key data: sign-method=ES512 needs a key on the \
                       curve P-521: set priv-key, or only pub-key to verify tokens";
        assert_eq!(problem("jwt,sign-method=ES512,priv-key=,pub-key="), missing);
        for text in ["jwt", "jwt,sign-method=none", "jwt,sign-method=rs256"] {
            let invalid = "--auth-token: auth: invalid auth signature method: ";
            assert!(problem(text).starts_with(invalid), "{text}");
        }
    }

    #[test]
    fn signed_tokens_have_a_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "secret").unwrap();
        let path = file.path().display();
        let text = format!("--auth-token=jwt,priv-key={path},sign-method=HS384,ttl=1m30s,color=x");
        let (tokens, problems, warnings) = read(&[&text]);
        assert!(problems.is_empty(), "{problems:?}");
        let shown = format!("{tokens:?}");
        assert_eq!(shown, r#"Jwt(Jwt { algorithm: "HS384", ttl: 90s })"#);
        assert_eq!(warnings, ["--auth-token: the option \"color\" is unknown and ignored"]);
        let text = format!("--auth-token=jwt,priv-key={path},sign-method=HS256,pub-key={path}");
        let (_, problems, warnings) = read(&[&text]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(warnings, ["--auth-token: pub-key is ignored beside a secret"]);
        let refused = "--auth-token: sign-method=RS256 needs an RSA key of 2048 to 8192 bits: set \
                       priv-key to a file with such a private key, as unencrypted PEM";
        assert_eq!(problem(&format!("jwt,priv-key={path},sign-method=RS256")), refused);
    }
}
