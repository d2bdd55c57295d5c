//! Values that contain the id of the operation that wrote them.

use bytes::Bytes;

/// The longest label in front of the filling.
const LABEL_BYTES_MAX: usize = 48;

/// The value of put number `part` of operation `operation`: `length` bytes, or the label if that is
/// longer.
pub fn value(operation: u64, part: usize, length: usize) -> Bytes {
    let label = format!("{operation}.{part}|");
    let mut bytes = Vec::with_capacity(length.max(LABEL_BYTES_MAX));
    bytes.extend_from_slice(label.as_bytes());
    // Fillings differ between operations, so that no page of a file fits another value.
    let mut state = operation.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length.max(label.len()));
    bytes.into()
}

/// The operation that wrote a value; `None` for a value without a label.
pub fn writer(value: &[u8]) -> Option<u64> {
    let label = value.get(..value.len().min(LABEL_BYTES_MAX))?;
    let end = label.iter().position(|byte| *byte == b'.')?;
    std::str::from_utf8(&label[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_contains_the_id_of_its_operation() {
        for length in [0, 3, 8, 9, 100, 4096] {
            let made = value(7_000_000, 2, length);
            assert_eq!(writer(&made), Some(7_000_000));
            assert!(made.len() >= length);
            assert_ne!(made, value(7_000_001, 2, length));
        }
        assert_eq!(writer(b""), None);
        assert_eq!(writer(b"abc.1|"), None);
    }
}
