//! Tokens of a transaction's text.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context as _, Result, bail};

/// A token of a transaction's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A bare word: a name, a number, a key.
    Word(String),
    /// A text in double quotes.
    Quoted(String),
    /// The name of an argument, followed by its value.
    Name(String),
    /// An operator or punctuation.
    Sign(&'static str),
}

const SIGNS: [(char, &str); 8] = [
    ('(', "("),
    (')', ")"),
    (',', ","),
    (';', ";"),
    ('=', "="),
    ('<', "<"),
    ('>', ">"),
    ('?', "?"),
];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '$')
}

/// Splits a text into tokens.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.peek().copied() {
        if c.is_whitespace() {
            chars.next();
        } else if is_word(c) {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| is_word(*c)) {
                word.push(c);
            }
            // `=` belongs to a name only directly after the word; in a comparison, a parenthesis
            // comes between.
            match chars.next_if_eq(&'=') {
                Some(_) => tokens.push(Token::Name(word)),
                None => tokens.push(Token::Word(word)),
            }
        } else if c == '"' {
            chars.next();
            tokens.push(Token::Quoted(quoted(&mut chars)?));
        } else {
            chars.next();
            tokens.push(Token::Sign(sign(c, &mut chars)?));
        }
    }
    Ok(tokens)
}

fn sign(c: char, chars: &mut Peekable<Chars<'_>>) -> Result<&'static str> {
    if c == '!' && chars.next_if_eq(&'=').is_some() {
        return Ok("!=");
    }
    let sign = SIGNS.iter().find(|(sign, _)| *sign == c);
    Ok(sign.with_context(|| format!("'{c}' is not understood"))?.1)
}

/// The rest of a quoted text, with those of goldenscript's escapes that keys need.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String> {
    let mut text = String::new();
    loop {
        match chars.next().context("a quote is not closed")? {
            '"' => return Ok(text),
            '\\' => match chars.next().context("a quote is not closed")? {
                '0' => text.push('\0'),
                'n' => text.push('\n'),
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    let byte = u8::from_str_radix(&digits, 16).context("\\x wants two digits")?;
                    text.push(char::from(byte));
                }
                c @ ('"' | '\\') => text.push(c),
                c => bail!("'\\{c}' is not understood"),
            },
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_names_quotes_and_signs() {
        let word = |word: &str| Token::Word(word.to_owned());
        let found = tokens(r#"mod(a-1)!=-5 end=b "\x00\"x" ?9; limit= 3"#).unwrap();
        let expected = [
            word("mod"),
            Token::Sign("("),
            word("a-1"),
            Token::Sign(")"),
            Token::Sign("!="),
            word("-5"),
            Token::Name("end".to_owned()),
            word("b"),
            Token::Quoted("\0\"x".to_owned()),
            Token::Sign("?"),
            word("9"),
            Token::Sign(";"),
            Token::Name("limit".to_owned()),
            word("3"),
        ];
        assert_eq!(found, expected);
        assert!(tokens("\"open").is_err() && tokens("a & b").is_err());
    }
}
