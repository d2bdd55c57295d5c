//! The Huffman code of HPACK: RFC 7541, appendix B.

use std::sync::LazyLock;

/// Length in bits of the code of each byte.
#[rustfmt::skip]
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/// Length of the longest code.
const BITS_MAX: usize = 30;
/// Codes of 5, 6, 7 and 8 bits: those of `0`, `3`, `B` and `X`.
const FILLERS: [u32; 4] = [0x00, 0x19, 0x5d, 0xfc];
/// Length of the shortest code.
const BITS_MIN: usize = 5;

/// The codes of one length. They are consecutive numbers, in the order of their bytes.
#[derive(Clone, Default)]
struct Codes {
    first: u32,
    bytes: Vec<u8>,
}

/// The codes, indexed by their length in bits.
static CODES: LazyLock<Vec<Codes>> = LazyLock::new(|| {
    let mut all = vec![Codes::default(); BITS_MAX + 1];
    for (byte, bits) in (0..=u8::MAX).zip(BITS) {
        all[usize::from(bits)].bytes.push(byte);
    }
    for bits in 1..=BITS_MAX {
        let shorter = &all[bits - 1];
        let taken = u32::try_from(shorter.bytes.len()).expect("there are 256 bytes");
        all[bits].first = (shorter.first + taken) << 1;
    }
    all
});

/// The decoded text; `None` if `coded` is not valid.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let codes = &*CODES;
    let mut text = Vec::new();
    let mut code = 0_u32;
    let mut bits = 0;
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let of_length = codes.get(bits)?;
            let place = code.wrapping_sub(of_length.first) as usize;
            if let Some(byte) = of_length.bytes.get(place) {
                text.push(*byte);
                (code, bits) = (0, 0);
            }
        }
    }
    // The padding must be less than a byte and consist of ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

/// Fills `coded` with the code of some text of `length` letters and digits. Returns false if no
/// such text has a code of exactly `coded.len()` bytes.
pub(super) fn fill(coded: &mut [u8], length: usize) -> bool {
    let room = coded.len() * 8;
    let bits = room.min(length * 8);
    if length == 0 || room - bits > 7 || bits < length * BITS_MIN {
        return false;
    }
    let each = bits / length;
    let longer = bits % length;
    coded.fill(0);
    let mut at = 0;
    let mut put = |bit: bool| {
        coded[at / 8] |= u8::from(bit) << (7 - at % 8);
        at += 1;
    };
    for place in 0..length {
        let bits = each + usize::from(place < longer);
        let code = FILLERS[bits - BITS_MIN];
        (0..bits).rev().for_each(|shift| put(code >> shift & 1 == 1));
    }
    (bits..room).for_each(|_| put(true));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard() {
        let coded = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decode(coded).unwrap(), b"www.example.com");
        assert_eq!(decode(b"\xa8\xeb\x10\x64\x9c\xbf").unwrap(), b"no-cache");
        // The end-of-string code within a text, and padding that is not all ones.
        assert_eq!(decode(&[0xff; 4]), None);
        assert_eq!(decode(b"\x00"), None);
    }

    #[test]
    fn any_length_is_filled() {
        for length in 1_usize..200 {
            for bytes in (length * 5).div_ceil(8)..=length {
                let mut coded = vec![0xaa; bytes];
                assert!(fill(&mut coded, length), "{length} in {bytes}");
                let text = decode(&coded).unwrap();
                assert_eq!(text.len(), length);
                assert!(text.iter().all(u8::is_ascii_alphanumeric));
            }
            assert!(!fill(&mut vec![0; length + 1], length));
        }
    }
}
