//! The handshake of a web socket: an HTTP request whose connection becomes the socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http::{header, header::SEC_WEBSOCKET_PROTOCOL};
use tungstenite::handshake::derive_accept_key;

use super::super::Answer;
use super::super::answer::full;

/// The version of the protocol.
const VERSION: &str = "13";
/// Bytes of the number in a client's key.
const KEY_LEN: usize = 16;
/// The first of the protocols that a web page names. The second protocol is the token: a web page
/// can set no other header of the handshake.
const BEARER: &str = "Bearer";
/// The name of the cookie that can contain a token.
const COOKIE: &str = "token";

/// Whether a request asks for a web socket.
pub(crate) fn is_asked<B>(request: &Request<B>) -> bool {
    has(request, header::CONNECTION, "upgrade") && has(request, header::UPGRADE, "websocket")
}

/// Whether the list in header `name` contains `wanted`.
fn has<B>(request: &Request<B>, name: HeaderName, wanted: &str) -> bool {
    let lists = request.headers().get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|it| it.trim().eq_ignore_ascii_case(wanted))
}

/// The answer to a request for a web socket. After this answer, the connection becomes the socket.
/// `is_allowed` says whether the page that asks may open a web socket.
///
/// # Errors
/// The request is malformed or not allowed. The error is the answer to the request.
pub(crate) fn answer<B>(request: &Request<B>, is_allowed: bool) -> Result<Answer, Box<Answer>> {
    if request.method() != Method::GET {
        return Err(Box::new(refusal(StatusCode::METHOD_NOT_ALLOWED)));
    }
    if !is_allowed {
        return Err(Box::new(refusal(StatusCode::FORBIDDEN)));
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], |it| it.as_bytes());
    let is_key = STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_LEN);
    let is_known = has(request, header::SEC_WEBSOCKET_VERSION, VERSION);
    if !is_key || !is_known || request.version() != Version::HTTP_11 {
        return Err(Box::new(refusal(StatusCode::BAD_REQUEST)));
    }
    let mut response = Response::new(tonic::body::Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::try_from(derive_accept_key(key));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted.expect("it is base64"));
    if protocols(request.headers()).is_some_and(|names| names.starts_with(BEARER.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    Ok(response)
}

fn refusal(status: StatusCode) -> Answer {
    let mut response = full(format!("{}\n", status.canonical_reason().unwrap_or_default()).into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The protocols that the client names, as the client sent them.
fn protocols(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes).filter(|it| !it.is_empty())
}

/// The headers of the request that a web socket carries: as in etcd, only the token. `headers` are
/// the headers of the handshake. `takes_cookies` says whether the token may come from a cookie.
pub(crate) fn carried(headers: &HeaderMap, takes_cookies: bool) -> HeaderMap {
    let named = protocols(headers).map(|names| {
        let names = String::from_utf8_lossy(names);
        // Without `Bearer,`, the token is empty. An empty token is not valid.
        let token = names.split_once("Bearer,").map_or("", |(_, token)| token.trim_matches(' '));
        token.to_owned()
    });
    let token = takes_cookies.then(|| cookie(headers)).flatten().or(named);
    let value = token.and_then(|token| HeaderValue::try_from(format!("{BEARER} {token}")).ok());
    value.map(|value| (header::AUTHORIZATION, value)).into_iter().collect()
}

/// The token in the cookies of the client.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|it| it.split_once('='));
    let (_, value) = cookies.find(|(name, _)| name.trim() == COOKIE)?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(bare.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &'static str, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let carried = carried(&headers, true);
        carried.get(header::AUTHORIZATION).map(|token| token.to_str().unwrap().to_owned())
    }

    #[test]
    fn tokens_are_protocols_or_cookies() {
        for (name, value, wanted) in [
            ("sec-websocket-protocol", "Bearer, a.1", Some("Bearer a.1")),
            ("sec-websocket-protocol", "Bearer,a.1 ", Some("Bearer a.1")),
            ("sec-websocket-protocol", "chat", Some("Bearer ")),
            ("sec-websocket-protocol", "", None),
            ("cookie", "x=1; token=a.1", Some("Bearer a.1")),
            ("cookie", "token=\"a.1\"; y", Some("Bearer a.1")),
            ("cookie", "tokens=a.1", None),
            ("authorization", "Bearer a.1", None),
            ("grpc-timeout", "1S", None),
        ] {
            assert_eq!(token(name, value).as_deref(), wanted, "{name}: {value}");
        }
    }

    #[test]
    fn a_cookie_comes_before_a_protocol_if_cookies_count() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer, a"));
        headers.insert(header::COOKIE, HeaderValue::from_static("token=b"));
        assert_eq!(carried(&headers, true)[header::AUTHORIZATION], "Bearer b");
        assert_eq!(carried(&headers, false)[header::AUTHORIZATION], "Bearer a");
    }
}
