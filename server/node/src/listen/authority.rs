//! Replaces `:authority` headers that are not valid URI authorities.
//!
//! Some releases of etcd's own client send their list of endpoints as the authority, with brackets,
//! spaces and slashes. No standard allows that. etcd ignores the value, and so does Quorate, but
//! the HTTP/2 library refuses a request that has it. So the value is replaced by a valid one.
//!
//! The replacement has the same length, both decoded and on the wire. The size of an entry in
//! HPACK's dynamic table depends only on the decoded length, so client and library keep the same
//! table. Therefore no other header must be parsed, and later requests that refer to the entry by
//! its index need no change. Two cases are not handled: an authority whose name the client refers
//! to by an index of the dynamic table, which no known client does, and an empty authority.

use std::ops::Range;

use http::uri::Authority;

use super::huffman;

/// The name of the header.
const NAME: &[u8] = b":authority";
/// Its index in HPACK's static table.
const PLACE: usize = 1;

/// The place of a string in a header block.
struct Text {
    at: Range<usize>,
    is_huffman: bool,
}

/// Replaces an authority that the library would refuse in the header block of one request. The
/// rest of a malformed or truncated block is left to the library.
pub(super) fn mend(block: &mut [u8]) {
    let mut at = 0;
    while let Some(next) = field(block, at) {
        at = next;
    }
}

/// Parses the field at `at` and replaces its value if it is an invalid authority. Returns where the
/// next field begins, or `None` at the end of the block and for a malformed field.
fn field(block: &mut [u8], at: usize) -> Option<usize> {
    let first = *block.get(at)?;
    // An indexed field (RFC 7541, 6.1).
    if first & 0x80 != 0 {
        return number(block, at, 7).map(|(_, next)| next);
    }
    // A dynamic table size update (6.3).
    if first & 0x60 == 0x20 {
        return number(block, at, 5).map(|(_, next)| next);
    }
    let bits = if first & 0x40 != 0 { 6 } else { 4 };
    let (place, mut next) = number(block, at, bits)?;
    let mut is_authority = place == PLACE;
    if place == 0 {
        let name = text(block, next)?;
        next = name.at.end;
        is_authority = is_name(&block[name.at], name.is_huffman);
    }
    let value = text(block, next)?;
    next = value.at.end;
    if is_authority {
        mend_value(&mut block[value.at], value.is_huffman);
    }
    Some(next)
}

fn is_name(name: &[u8], is_huffman: bool) -> bool {
    if is_huffman {
        // The code of the name is shorter than the name, so longer values are not decoded.
        name.len() < NAME.len() && huffman::decode(name).is_some_and(|name| name == NAME)
    } else {
        name == NAME
    }
}

fn mend_value(value: &mut [u8], is_huffman: bool) {
    let decoded = if is_huffman { huffman::decode(value) } else { Some(value.to_vec()) };
    // A value that is not valid Huffman code is left to the library, which refuses it.
    let Some(text) = decoded.filter(|text| Authority::try_from(&text[..]).is_err()) else {
        return;
    };
    if is_huffman {
        // `fill` fails for codes longer than 8 bits per character. The value then stays as it is,
        // and the library refuses the request.
        huffman::fill(value, text.len());
    } else {
        value.fill(b'0');
    }
}

/// The integer whose prefix is the last `bits` bits of the byte at `at` (RFC 7541, 5.1), and where
/// it ends.
fn number(block: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*block.get(at)?) & most;
    let mut next = at + 1;
    if number < most {
        return Some((number, next));
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(next)?;
        next += 1;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number, next));
        }
    }
    None
}

fn text(block: &[u8], at: usize) -> Option<Text> {
    let is_huffman = block.get(at)? & 0x80 != 0;
    let (length, start) = number(block, at, 7)?;
    let end = start.checked_add(length).filter(|end| *end <= block.len())?;
    Some(Text { at: start..end, is_huffman })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header block with the authority as a literal field with indexing, between other fields.
    fn block(authority: &[u8], is_huffman: bool) -> Vec<u8> {
        let length = u8::try_from(authority.len()).unwrap() | if is_huffman { 0x80 } else { 0 };
        // A table size update, :method POST, :path and content-type as literals.
        let before = b"\x3f\xe1\x1f\x83\x44\x02/a";
        [&before[..], &[0x41, length], authority, b"\x5f\x03a/b\x00\x01x\x01y\xbe"].concat()
    }

    /// The authority that `mend` leaves. Asserts that the other fields are unchanged.
    fn mended(authority: &[u8], is_huffman: bool) -> Vec<u8> {
        let before = block(authority, is_huffman);
        let mut after = before.clone();
        mend(&mut after);
        let place = 10..10 + authority.len();
        assert_eq!(before[..10], after[..10]);
        assert_eq!(before[place.end..], after[place.end..]);
        after[place].to_vec()
    }

    #[test]
    fn invalid_authorities_are_replaced_by_valid_ones_of_the_same_length() {
        let bad: [&[u8]; 6] = [
            b"#initially=[http://127.0.0.1:2379]",
            b"/tmp/x.sock",
            b"unix:/x",
            b"a b",
            b"[",
            b"\xff",
        ];
        for authority in bad {
            let mended = mended(authority, false);
            assert!(Authority::try_from(&mended[..]).is_ok(), "{authority:?}");
        }
        // Huffman-coded, as clients send them.
        let coded: [(&[u8], &[u8]); 2] = [
            (b"svc/foo", b"\x47\x72\x31\x29\xcf"),
            (
                b"#initially=[http://127.0.0.1:2379]",
                b"\xff\xa3\x54\x64\x98\x74\x51\xea\x0f\xfd\xce\x94\xd7\x71\x86\x02\x27\x57\x02\xe0\
                  \x5c\x37\x04\xcb\xaf\xff\xf3",
            ),
        ];
        for (text, coded) in coded {
            assert_eq!(huffman::decode(coded).unwrap(), text);
            let mended = huffman::decode(&mended(coded, true)).unwrap();
            assert_eq!(mended.len(), text.len());
            assert!(Authority::try_from(&mended[..]).is_ok());
        }
    }

    #[test]
    fn valid_authorities_stay() {
        for authority in [&b"127.0.0.1:2379"[..], b"[::1]:2379", b"localhost", b"a@b"] {
            assert_eq!(mended(authority, false), authority);
        }
        let coded = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(mended(coded, true), coded);
    }

    #[test]
    fn truncated_blocks_do_not_panic() {
        let whole = block(b"a b", false);
        for length in 0..whole.len() {
            mend(&mut whole[..length].to_vec());
        }
        let mut named = b"\x00\x0a:authority\x03a b".to_vec();
        mend(&mut named);
        assert_eq!(named, b"\x00\x0a:authority\x03000");
        let mut coded = b"\x00\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f\x03a b".to_vec();
        mend(&mut coded);
        assert!(coded.ends_with(b"\x03000"));
    }
}
