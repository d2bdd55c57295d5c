//! Parses integers in Go's syntax: `10`, `0x10`, `0o17`, `017`, `0b11`, `1_000`.

/// Parses an integer; `None` if it is malformed or out of range.
pub(super) fn parse<N: TryFrom<i128>>(text: &str) -> Option<N> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let has_sign = unsigned.len() < text.len();
    if has_sign && N::try_from(-1).is_err() {
        return None;
    }
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        // The zero is kept, because an underscore may follow it.
        Some(_) if lower.starts_with('0') => (8, lower.as_str()),
        _ => (10, lower.as_str()),
    };
    // An underscore may be between two digits, or between a prefix and a digit.
    let after_prefix = lower.len() > digits.len();
    let separates = |at: usize| (at > 0 || after_prefix) && !digits[at + 1..].starts_with('_');
    let is_sound = digits.match_indices('_').all(|(at, _)| separates(at)) && !digits.ends_with('_');
    let plain = digits.replace('_', "");
    if !is_sound || !plain.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(&plain, radix).ok()?;
    N::try_from(if text.starts_with('-') { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_by_go() {
        for (text, number) in [
            ("0", 0),
            ("10", 10),
            ("-10", -10),
            ("+7", 7),
            ("0x10", 16),
            ("-0XfF", -255),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_1f", 31),
            ("0_7", 7),
        ] {
            assert_eq!(parse::<i64>(text), Some(number), "{text}");
        }
        for text in [
            "",
            "-",
            "0x",
            "08",
            "1__0",
            "_1",
            "1_",
            "0x1g",
            "1.0",
            " 1",
            "9223372036854775808",
            "é",
        ] {
            assert_eq!(parse::<i64>(text), None, "{text}");
        }
        assert_eq!(parse::<u32>("0xFFFFFFFF"), Some(u32::MAX));
        for text in ["-1", "+1", "4294967296"] {
            assert_eq!(parse::<u32>(text), None, "{text}");
        }
    }
}
