//! Checks the headers of a call.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::{Code, Status};

use crate::error::ApiError;
use crate::method::Route;

/// gRPC's content type. The message encoding may follow it, after a plus or a semicolon.
const GRPC: &str = "application/grpc";
/// Maximum length of a timeout's text: eight digits and the unit.
const TIMEOUT_LEN_MAX: usize = 9;
/// The first number that a timeout has no place for.
const TIMEOUT_END: u64 = 100_000_000;
/// Maximum number of characters of a client's header or path that an error repeats. The memory
/// budget does not count the answer to a refused call.
const ECHOED_MAX: usize = 256;

/// The parsed headers of a call.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The content type of the answer.
    pub(crate) content_type: HeaderValue,
    /// Whether messages may be compressed with gzip.
    pub(crate) is_gzip: bool,
    /// Time limit of the client for the call; `None` without a limit.
    pub(crate) timeout: Option<Duration>,
}

/// A refused call: an HTTP status for clients that do not know gRPC, and a gRPC status.
#[derive(Debug)]
pub(crate) struct Refused(StatusCode, Status);

impl Refused {
    /// The answer, which has headers but no body.
    pub(crate) fn into_response(self) -> Response<tonic::body::Body> {
        let mut response = self.1.into_http();
        *response.status_mut() = self.0;
        response
    }
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<Cow<'_, str>> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// The beginning of a client's text, for an error.
fn echoed(text: &str) -> &str {
    let end = text.char_indices().nth(ECHOED_MAX).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Whether a request has gRPC's content type.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = text(headers, header::CONTENT_TYPE);
    content_type.is_some_and(|content_type| answer_type(&content_type).is_some())
}

/// The content type of the answer to a request with this content type; `None` if the request is not
/// gRPC.
fn answer_type(content_type: &str) -> Option<HeaderValue> {
    let content_type = content_type.to_ascii_lowercase();
    let encoding = content_type.strip_prefix(GRPC)?;
    match encoding.split_at_checked(1) {
        None => Some(HeaderValue::from_static(GRPC)),
        Some(("+" | ";", encoding)) => format!("{GRPC}+{encoding}").try_into().ok(),
        Some(_) => None,
    }
}

/// Checks the headers of a call, as grpc-go does.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Head, Refused> {
    let headers = request.headers();
    let content_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let Some(answer_type) = answer_type(&content_type) else {
        let text = format!("invalid gRPC request content-type {:?}", echoed(&content_type));
        let status = Status::invalid_argument(text);
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    };
    let timeout = text(headers, "grpc-timeout").map(|timeout| read_timeout(&timeout)).transpose();
    let timeout = timeout.map_err(|problem| {
        let text = format!("malformed grpc-timeout: {problem}");
        Refused(StatusCode::BAD_REQUEST, Status::internal(text))
    })?;
    if request.method() != Method::POST {
        let method = echoed(request.method().as_str());
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, Status::internal(text)));
    }
    if timeout == Some(Duration::ZERO) {
        return Err(Refused(StatusCode::OK, ApiError::DeadlineExceeded.into()));
    }
    let encoding = text(headers, "grpc-encoding").unwrap_or_default();
    let is_gzip = match encoding.as_ref() {
        "" | "identity" => false,
        "gzip" => true,
        _ => {
            let encoding = echoed(&encoding);
            let text =
                format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
            return Err(Refused(StatusCode::OK, Status::unimplemented(text)));
        }
    };
    Ok(Head { content_type: answer_type, is_gzip, timeout })
}

/// Parses the text of a `grpc-timeout` header: digits and one letter for the unit.
pub(crate) fn read_timeout(timeout: &str) -> Result<Duration, String> {
    if timeout.len() < 2 {
        return Err(format!("transport: timeout string is too short: {timeout:?}"));
    }
    if timeout.len() > TIMEOUT_LEN_MAX {
        let timeout = echoed(timeout);
        return Err(format!("transport: timeout string is too long: {timeout:?}"));
    }
    let unit = timeout
        .split_at_checked(timeout.len() - 1)
        .and_then(|(amount, unit)| Some((amount, Duration::from_nanos(unit_nanos(unit)?))));
    let Some((amount, unit)) = unit else {
        return Err(format!("transport: timeout unit is not recognized: {timeout:?}"));
    };
    let digits = amount.bytes().all(|byte| byte.is_ascii_digit());
    match amount.parse().ok().filter(|_| digits) {
        Some(amount) => Ok(unit.saturating_mul(amount)),
        None => Err(format!("strconv.ParseUint: parsing {amount:?}: invalid syntax")),
    }
}

/// The units of timeouts, and their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("S", 1_000_000_000),
    ("M", 60_000_000_000),
    ("H", 3_600_000_000_000),
];

/// The nanoseconds of a unit.
pub(crate) fn unit_nanos(unit: &str) -> Option<u64> {
    UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos)
}

/// The text of a timeout, in the smallest unit that fits. The number is rounded up.
pub(crate) fn timeout_text(nanos: u64) -> String {
    let amounts = UNITS.iter().map(|(unit, size)| (nanos.div_ceil(*size), unit));
    let fitting = amounts.into_iter().find(|(amount, _)| *amount < TIMEOUT_END);
    let (amount, unit) = fitting.expect("a u64 fits as hours");
    format!("{amount}{unit}")
}

/// The error for the path of an unknown method. As in grpc-go, `path` includes the query.
pub(crate) fn unknown_method(path: &str) -> Status {
    let named = path.strip_prefix('/').and_then(|path| path.rsplit_once('/'));
    let text = match named {
        None => format!("malformed method name: {:?}", echoed(path)),
        Some((service, method)) if Route::ALL.iter().any(|route| route.service() == service) => {
            format!("unknown method {} for service {service}", echoed(method))
        }
        Some((service, _)) => format!("unknown service {}", echoed(service)),
    };
    Status::new(Code::Unimplemented, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_recognized() {
        let answer = |text| answer_type(text).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(answer("application/grpc").as_deref(), Some("application/grpc"));
        assert_eq!(answer("Application/GRPC+Proto").as_deref(), Some("application/grpc+proto"));
        assert_eq!(answer("application/grpc;a=b").as_deref(), Some("application/grpc+a=b"));
        for other in ["", "application/grpc-web", "application/grpcx", "text/plain"] {
            assert_eq!(answer(other), None, "{other}");
        }
    }

    #[test]
    fn errors_show_only_the_beginning_of_long_texts() {
        let long = "\u{fffd}".repeat(60_000);
        let most = 9 * 3 * ECHOED_MAX;
        let request = |name, value: &str| {
            let request = Request::post("/a.B/C").header("content-type", GRPC);
            request.header(name, value.as_bytes()).body(()).unwrap()
        };
        let mut other = request("x", "");
        other.headers_mut().insert("content-type", long.as_bytes().try_into().unwrap());
        let requests = [other, request("grpc-encoding", &long), request("grpc-timeout", &long)];
        for request in requests {
            let Refused(_, status) = check(&request).unwrap_err();
            assert!(status.message().len() < most, "{}", status.message().len());
        }
        for path in [format!("/{long}/x"), format!("/etcdserverpb.KV/{long}"), long] {
            assert!(unknown_method(&path).message().len() < most);
        }
        let method = Method::from_bytes(&[b'X'; 10_000]).unwrap();
        let (mut parts, ()) = request("x", "").into_parts();
        parts.method = method;
        let Refused(_, status) = check(&Request::from_parts(parts, ())).unwrap_err();
        assert!(status.message().len() < most);
    }

    #[test]
    fn timeouts_are_parsed() {
        assert_eq!(read_timeout("10S"), Ok(Duration::from_secs(10)));
        assert_eq!(read_timeout("99999999H"), Ok(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read_timeout("000n"), Ok(Duration::ZERO));
        for (nanos, text) in [(0, "0n"), (99_999_999, "99999999n"), (100_000_001, "100001u")] {
            assert_eq!(timeout_text(nanos), text);
        }
        assert_eq!(timeout_text(u64::MAX), "5124096H");
        for bad in ["", "S", "1", "1X", "1\u{e9}", "123456789S", "-1S", "+1S", " 1S", "1.5S"] {
            assert!(read_timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_methods_are_named() {
        let error = |path| unknown_method(path).message().to_owned();
        let known = "etcdserverpb.KV";
        assert_eq!(error("/etcdserverpb.KV/C"), format!("unknown method C for service {known}"));
        let query = format!("unknown method C?d=e for service {known}");
        assert_eq!(error("/etcdserverpb.KV/C?d=e"), query);
        assert_eq!(error("//a.B/C"), "unknown service /a.B");
        assert_eq!(error("/a.B"), "malformed method name: \"/a.B\"");
    }
}
