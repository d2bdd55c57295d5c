//! Hand-made HTTP/2 for misbehaving clients: one that grants full windows and then reads nothing,
//! one that leaves its request unfinished. No client library does that.
//!
//! This module only makes bytes; the caller has the socket.

/// HTTP/2's default limit for a frame's payload, in bytes.
const PAYLOAD_MAX: usize = 16_384;
/// Largest flow-control window of a stream and of a connection.
const WINDOW_MAX: u32 = 0x7fff_ffff;
/// Initial flow-control window of a connection.
const WINDOW_AT_FIRST: u32 = 65_535;

/// The preface of a connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of RFC 9113.
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of a frame that ends its stream.
pub const END_STREAM: u8 = 1;
/// The flag of a frame that ends a header block.
pub const END_HEADERS: u8 = 4;
/// The stream window's setting, and the error code of a cancelled stream.
const INITIAL_WINDOW_SIZE: u8 = 4;
const CANCEL: u32 = 8;

/// The connection preface, with settings and a window update that grant the largest windows.
pub fn greeting() -> Vec<u8> {
    let room = (WINDOW_MAX - WINDOW_AT_FIRST).to_be_bytes();
    let window = [&[0, INITIAL_WINDOW_SIZE][..], &WINDOW_MAX.to_be_bytes()].concat();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &window));
    bytes.extend(frame(kind::WINDOW_UPDATE, 0, 0, &room));
    bytes
}

/// The beginning of a connection with default settings, followed by `frames`.
pub fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frame(kind::SETTINGS, 0, 0, &[]), frames.concat()].concat()
}

/// A gRPC call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method's path, such as `/etcdserverpb.KV/Put`.
    pub path: &'a str,
    /// Headers beyond the usual ones.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Length-prefixed gRPC messages.
    pub body: &'a [u8],
    /// Whether the last frame of the body ends the stream.
    pub is_ended: bool,
}

impl Call<'_> {
    /// The frames of this call as the connection's call `number`, counted from 0.
    pub fn bytes(&self, number: u32) -> Vec<u8> {
        let usual = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self.path),
            (":authority", "server"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let headers: Vec<u8> = usual
            .iter()
            .chain(self.metadata)
            .flat_map(|(name, value)| header(name, value))
            .collect();
        let mut bytes = Vec::new();
        let mut kind = kind::HEADERS;
        for (piece, is_last) in pieces(&headers) {
            let flags = if is_last { END_HEADERS } else { 0 };
            bytes.extend(frame(kind, flags, stream(number), piece));
            kind = kind::CONTINUATION;
        }
        for (piece, is_last) in pieces(self.body) {
            let flags = if is_last && self.is_ended { END_STREAM } else { 0 };
            bytes.extend(frame(kind::DATA, flags, stream(number), piece));
        }
        bytes
    }
}

/// The frames of a GET request as the connection's request `number`, counted from 0.
pub fn get(path: &str, number: u32) -> Vec<u8> {
    let headers =
        [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "server")];
    let headers: Vec<u8> = headers.iter().flat_map(|(name, value)| header(name, value)).collect();
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream(number), &headers)
}

/// Cancels call `number` of a connection.
pub fn cancellation(number: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream(number), &CANCEL.to_be_bytes())
}

/// The stream id of call `number`: a client's streams are odd.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Splits `bytes` into frame payloads; the flag marks the last one.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let count = bytes.len().div_ceil(PAYLOAD_MAX);
    bytes.chunks(PAYLOAD_MAX).zip(1..).map(move |(piece, number)| (piece, number == count))
}

/// A frame.
///
/// # Panics
/// If the payload has 4 GiB or more.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads are cut").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header that is not added to the compression table.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A string of a header block, without Huffman coding.
pub fn text(text: &str) -> Vec<u8> {
    [&length(text.len())[..], text.as_bytes()].concat()
}

/// A string's length as an RFC 7541 integer with a prefix of seven bits.
fn length(length: usize) -> Vec<u8> {
    const PREFIX: u8 = 0x7f;
    let low = |number: usize| u8::try_from(number).expect("it is below the prefix");
    let Some(mut rest) = length.checked_sub(usize::from(PREFIX)) else { return vec![low(length)] };
    let mut bytes = vec![PREFIX];
    while rest >= 0x80 {
        bytes.push(low(rest % 0x80) | 0x80);
        rest /= 0x80;
    }
    bytes.push(low(rest));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_as_in_rfc_7541() {
        assert_eq!(length(10), [10]);
        assert_eq!(length(126), [126]);
        assert_eq!(length(127), [127, 0]);
        assert_eq!(length(127 + 1337), [127, 0x80 | (1337 % 128) as u8, 10]);
    }

    #[test]
    fn long_headers_and_bodies_are_split_into_frames() {
        let value = "x".repeat(2 * PAYLOAD_MAX);
        let body = [0; PAYLOAD_MAX + 1];
        let metadata = [("name", value.as_str())];
        let call = Call { path: "/a", metadata: &metadata, body: &body, is_ended: true };
        let bytes = call.bytes(3);
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Some((head, behind)) = rest.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            assert_eq!(head[5..], [0, 0, 0, 7]);
            frames.push((head[3], head[4]));
            rest = &behind[length..];
        }
        let headers =
            [(kind::HEADERS, 0), (kind::CONTINUATION, 0), (kind::CONTINUATION, END_HEADERS)];
        assert_eq!(frames, [&headers[..], &[(kind::DATA, 0), (kind::DATA, END_STREAM)]].concat());
    }
}
