//! The page `/metrics`: its coding and its way of writing names are those that etcd would choose.
//!
//! The form is always Prometheus's text. etcd does not offer `OpenMetrics`, whose bounds of buckets
//! and names of counters would make other series of the same metrics.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use prometheus::{Encoder as _, TextEncoder};

use super::{PLAIN, Page, Pages, page};

/// Ways to write names that have characters beyond the usual ones, and the content type of each.
/// The first one is the default. No name here has such characters.
const TYPES: [(&str, &str); 4] = [
    ("underscores", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
    ("allow-utf-8", "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"),
    ("dots", "text/plain; version=0.0.4; charset=utf-8; escaping=dots"),
    ("values", "text/plain; version=0.0.4; charset=utf-8; escaping=values"),
];

impl Pages {
    pub(super) fn metrics(&self, headers: &HeaderMap) -> Page {
        self.server.member().metrics();
        let mut text = Vec::with_capacity(self.metrics_bytes.load(Ordering::Relaxed));
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            return page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n"));
        }
        self.metrics_bytes.store(text.len(), Ordering::Relaxed);
        let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let content_type = content_type(accepted.unwrap_or_default());
        if !accepts_gzip(headers) {
            // Without this, the page could have twice the memory that is charged for it.
            text.shrink_to_fit();
            return page(StatusCode::OK, content_type, text);
        }
        let mut response = page(StatusCode::OK, content_type, compressed(&text));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    }
}

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("a vector takes all bytes");
    let mut bytes = encoder.finish().expect("a vector takes all bytes");
    bytes.shrink_to_fit();
    bytes
}

/// A media type of an `Accept` header.
struct Accepted<'a> {
    weight: f32,
    escaping: Option<&'a str>,
    is_text: bool,
}

impl<'a> Accepted<'a> {
    fn parse(part: &'a str) -> Self {
        let mut words = part.split(';').map(str::trim);
        let media = words.next().unwrap_or_default();
        let mut found = Self { weight: 1.0, escaping: None, is_text: false };
        let mut version = "";
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "q" => found.weight = value.parse().unwrap_or_default(),
                "escaping" => found.escaping = Some(value),
                "version" => version = value,
                _ => {}
            }
        }
        found.is_text = media == "text/plain" && ["", "0.0.4"].contains(&version);
        found
    }
}

/// The content type of the answer to an `Accept` header. The last known way of writing names counts
/// of those that come with the text format or with a type that is preferred to it.
fn content_type(accept: &str) -> &'static str {
    let mut all: Vec<Accepted<'_>> = accept.split(',').map(Accepted::parse).collect();
    all.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    let text = all.iter().position(|it| it.is_text).map_or(all.len(), |at| at + 1);
    let known = |it: &Accepted<'_>| TYPES.iter().find(|(name, _)| it.escaping == Some(*name));
    all[..text].iter().rev().find_map(known).unwrap_or(&TYPES[0]).1
}

/// Whether the `Accept-Encoding` headers prefer gzip to the plain text.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let codings: Vec<(&str, f32)> = lines.flat_map(codings).collect();
    let weight = |name: &str| {
        let its = codings.iter().filter(|(coding, _)| [name, "*"].contains(coding));
        its.map(|(_, weight)| *weight).fold(-1.0, f32::max)
    };
    weight("gzip") > weight("identity").max(0.0)
}

/// The codings of a line and their weights, up to the first mistake.
fn codings(line: &str) -> impl Iterator<Item = (&str, f32)> {
    line.split(',').map_while(|part| {
        let (name, rest) = part.split_once(';').unwrap_or((part, "q=1"));
        let weight = rest.trim().strip_prefix("q=")?.parse().ok()?;
        Some((name.trim(), weight)).filter(|(name, _)| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_of_writing_names_counts_if_the_text_format_is_not_preferred_to_it() {
        for (accept, expected) in [
            ("", "underscores"),
            ("text/plain;escaping=dots", "dots"),
            ("text/plain;version=0.0.4;escaping=unknown", "underscores"),
            ("text/plain;q=0.5, a/b;escaping=values", "values"),
            ("text/plain;q=0.5, a/b;escaping=values;q=0.4", "underscores"),
            ("text/plain;version=1.0.0;escaping=values,a/b;escaping=dots", "dots"),
        ] {
            let expected = format!("escaping={expected}");
            assert!(content_type(accept).ends_with(&expected), "{accept}");
        }
    }

    #[test]
    fn gzip_is_used_if_it_is_preferred() {
        let cases: [(&[&str], bool); 10] = [
            (&[], false),
            (&["gzip"], true),
            (&["deflate, gzip;q=0.1"], true),
            (&["gzip;q=0"], false),
            (&["*"], false),
            (&["gzip, *"], false),
            (&["gzip;q=0.5, identity;q=0.6"], false),
            (&["gzip;q=0.5, identity;q=0.4"], true),
            (&["br", "gzip"], true),
            (&["gzip;level=1"], false),
        ];
        for (lines, expected) in cases {
            let lines = lines.iter().map(|line| (ACCEPT_ENCODING, HeaderValue::from_static(line)));
            let headers: HeaderMap = lines.collect();
            assert_eq!(accepts_gzip(&headers), expected, "{headers:?}");
        }
    }
}
