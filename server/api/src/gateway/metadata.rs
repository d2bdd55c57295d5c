//! The metadata of a call that the gateway makes: the parts of the HTTP request that etcd forwards.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tonic::Status;

use crate::transport::head::{timeout_text, unit_nanos};

/// Marks calls of the gateway. The common name of the client's certificate is no login for them.
const MARK: HeaderName = HeaderName::from_static("grpcgateway-accept");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Prefix of headers that are forwarded. The metadata has their names without the prefix.
const FORWARDED: &str = "grpc-metadata-";

/// The metadata for the call of a request with these headers.
///
/// # Errors
/// The timeout is malformed.
pub(crate) fn metadata(headers: &HeaderMap) -> Result<HeaderMap, Status> {
    let mut metadata = HeaderMap::new();
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let accept = headers.get(header::ACCEPT).cloned();
    metadata.insert(MARK, accept.unwrap_or(HeaderValue::from_static("*/*")));
    if let Some(timeout) = headers.get(TIMEOUT).filter(|timeout| !timeout.is_empty()) {
        let text = String::from_utf8_lossy(timeout.as_bytes());
        let nanos = nanoseconds(&text)
            .ok_or_else(|| Status::invalid_argument(format!("invalid grpc-timeout: {text}")))?;
        // As in etcd, zero means no limit, and a negative timeout has passed already.
        if nanos != 0 {
            let nanos = u64::try_from(nanos).unwrap_or(0);
            let limit = HeaderValue::try_from(timeout_text(nanos));
            metadata.insert(TIMEOUT, limit.expect("digits and a letter"));
        }
    }
    for (name, value) in headers {
        let name = name.as_str();
        let key = match name.strip_prefix(FORWARDED) {
            Some(key) if !is_reserved(key) => key,
            None if name == header::AUTHORIZATION.as_str() => name,
            _ => continue,
        };
        if let (Ok(key), Ok(_)) = (HeaderName::from_bytes(key.as_bytes()), value.to_str()) {
            metadata.append(key, value.clone());
        }
    }
    Ok(metadata)
}

/// The nanoseconds of a timeout. Unlike gRPC itself, etcd's gateway takes a sign and any number of
/// digits, and the product may overflow. `None` if the timeout is malformed.
fn nanoseconds(timeout: &str) -> Option<i64> {
    let (amount, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let nanos = i64::try_from(unit_nanos(unit)?).ok()?;
    Some(amount.parse::<i64>().ok()?.wrapping_mul(nanos))
}

/// Whether a key is gRPC's own or the gateway's mark, so that no client may set it.
fn is_reserved(key: &str) -> bool {
    key.starts_with("grpc-") || matches!(key, "content-type" | "te" | "user-agent") || key == MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_metadata_are_forwarded() {
        let mut headers = HeaderMap::new();
        let given = [
            ("authorization", "token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-grpc-encoding", "gzip"),
            ("grpc-metadata-content-type", "text/plain"),
            ("grpc-metadata-grpcgateway-accept", ""),
            ("grpc-timeout", "5S"),
            ("cookie", "a"),
        ];
        for (name, value) in given {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let sent = metadata(&headers).unwrap();
        let mut sent: Vec<_> =
            sent.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        sent.sort_unstable();
        let wanted = [
            ("authorization", "token"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "5000000u"),
            ("grpcgateway-accept", "*/*"),
            ("hasleader", "true"),
        ];
        assert_eq!(sent, wanted);
    }

    #[test]
    fn timeouts_are_checked() {
        let error = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(text));
            metadata(&headers).map_err(|status| status.message().to_owned())
        };
        assert_eq!(error("5 s").unwrap_err(), "invalid grpc-timeout: 5 s");
        for bad in ["S", "5", "1.5S", "+-1S", "9223372036854775808n", "1\u{e9}"] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
        for none in ["", "0S", "-0n"] {
            assert!(!error(none).unwrap().contains_key(TIMEOUT), "{none}");
        }
        for (given, sent) in [
            ("5S", "5000000u"),
            ("+5S", "5000000u"),
            ("123456789S", "2057614M"),
            ("-1S", "0n"),
            ("9223372036854775807H", "0n"),
        ] {
            assert_eq!(error(given).unwrap()[TIMEOUT], sent, "{given}");
        }
    }
}
