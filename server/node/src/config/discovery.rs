//! The discovery service, and the flags that set it.

use std::fmt;
use std::time::Duration;

use super::reader::Reader;
use super::tls::{ClientTls, TlsFlags, TlsRules, read_pair};
use super::url::Url;

const FLAGS: TlsFlags = TlsFlags {
    certificate: "discovery-cert",
    key: "discovery-key",
    authorities: "discovery-cacert",
};

/// A discovery service: an etcd or Quorate cluster where the founders of another cluster register.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub(crate) token: String,
    pub(crate) endpoints: Vec<Url>,
    pub(crate) dial_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) tls: ClientTls,
    /// Name and password.
    pub(crate) user: Option<(String, String)>,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password must not be shown.
        let mut shown = f.debug_struct("Discovery");
        shown.field("token", &self.token).field("endpoints", &self.endpoints);
        shown.finish_non_exhaustive()
    }
}

pub(super) fn read(reader: &mut Reader<'_>, rules: &TlsRules) -> Option<Discovery> {
    reader.choice("discovery-fallback", &[("exit", ())]);
    let dial_timeout = reader.duration("discovery-dial-timeout");
    let request_timeout = reader.duration("discovery-request-timeout");
    let ping_interval = reader.duration("discovery-keepalive-time");
    let ping_timeout = reader.duration("discovery-keepalive-timeout");
    let is_plain = reader.switch("discovery-insecure-transport");
    let verifies = !reader.switch("discovery-insecure-skip-tls-verify");
    let flags = &FLAGS;
    let pair = read_pair(reader, flags);
    let authorities = reader.path("discovery-cacert");
    let user = read_user(reader);
    let token = reader.text("discovery-token");
    let scheme = if is_plain && verifies && pair.is_none() && authorities.is_none() {
        "http"
    } else {
        "https"
    };
    let endpoints = read_endpoints(reader, scheme);
    match (token.is_empty(), endpoints.is_empty()) {
        (true, true) => return None,
        (true, false) => {
            reader.problem("discovery-token", "required when --discovery-endpoints is set");
        }
        (false, true) => {
            reader.problem("discovery-endpoints", "required when --discovery-token is set");
        }
        (false, false) => {}
    }
    let tls = ClientTls {
        pair,
        authorities,
        allowed: None,
        server_name: None,
        verifies,
        rules: rules.clone(),
        flags,
    };
    Some(Discovery {
        token,
        endpoints,
        dial_timeout,
        request_timeout,
        ping_interval,
        ping_timeout,
        tls,
        user,
    })
}

/// Reads the endpoints. `scheme` is for those without one.
fn read_endpoints(reader: &mut Reader<'_>, scheme: &str) -> Vec<Url> {
    let text = reader.text("discovery-endpoints");
    if text.is_empty() {
        return Vec::new();
    }
    let mut endpoints = Vec::new();
    for part in text.split(',').map(str::trim) {
        let url = if part.contains("://") {
            Url::parse(part)
        } else {
            Url::parse(&format!("{scheme}://{part}"))
        };
        match url {
            Ok(url) => endpoints.push(url),
            Err(problem) => reader.problem("discovery-endpoints", problem),
        }
    }
    endpoints
}

fn read_user(reader: &mut Reader<'_>) -> Option<(String, String)> {
    let user = reader.text("discovery-user");
    let password = reader.text("discovery-password");
    match (user.is_empty(), password.is_empty()) {
        (true, true) => None,
        (true, false) => {
            reader.problem("discovery-user", "required when --discovery-password is set");
            None
        }
        (false, false) => Some((user, password)),
        (false, true) => match user.split_once(':') {
            Some((user, password)) => Some((user.to_owned(), password.to_owned())),
            None => {
                let text = "must be USER:PASSWORD, or --discovery-password must be set";
                reader.problem("discovery-user", text);
                None
            }
        },
    }
}
