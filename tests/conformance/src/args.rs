//! Arguments: words, and values with a name.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use goldenscript::Argument;

/// The arguments of a command or of an operation in a transaction. Whoever understands one takes it
/// out; what is left over in the end is a mistake in the script.
#[derive(Debug, Default)]
pub(crate) struct Args {
    words: VecDeque<String>,
    values: Vec<(String, String)>,
}

impl Args {
    /// The arguments of a script's command.
    pub(crate) fn of(command: &goldenscript::Command) -> Self {
        let mut args = Self::default();
        for arg in command.consume_args() {
            match arg {
                Argument::Positional(word) => args.push_word(word.clone()),
                Argument::KeyValue(key, value) => args.push_value(key.clone(), value.clone()),
                _ => {}
            }
        }
        args
    }

    pub(crate) fn push_word(&mut self, word: String) {
        self.words.push_back(word);
    }

    pub(crate) fn push_value(&mut self, key: String, value: String) {
        self.values.push((key, value));
    }

    /// The next word, which must be there.
    pub(crate) fn word(&mut self, what: &str) -> Result<String> {
        self.words.pop_front().with_context(|| format!("no {what} is given"))
    }

    /// The next word, if there is one.
    pub(crate) fn next_word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// The next word as a number.
    pub(crate) fn word_number(&mut self, what: &str) -> Result<i64> {
        number(&self.word(what)?)
    }

    /// Whether a word is among the arguments.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// The value with a name.
    pub(crate) fn value(&mut self, key: &str) -> Option<String> {
        let at = self.values.iter().position(|(k, _)| k == key)?;
        Some(self.values.remove(at).1)
    }

    /// The number with a name; 0 when it is not given.
    pub(crate) fn number(&mut self, key: &str) -> Result<i64> {
        self.value(key).map_or(Ok(0), |value| number(&value))
    }

    /// How often something is to be repeated; `None` for once, as it is.
    pub(crate) fn times(&mut self) -> Result<Option<usize>> {
        let times = self.value("times").map(|value| number(&value)).transpose()?;
        Ok(times.map(usize::try_from).transpose()?)
    }

    /// Nothing may be left over.
    pub(crate) fn finish(self) -> Result<()> {
        match (self.words.front(), self.values.first()) {
            (None, None) => Ok(()),
            (Some(word), _) => bail!("'{word}' is not understood"),
            (None, Some((key, value))) => bail!("'{key}={value}' is not understood"),
        }
    }
}

/// A number in a script.
pub(crate) fn number(text: &str) -> Result<i64> {
    text.parse().with_context(|| format!("'{text}' is not a number"))
}

/// The bytes that a text in a script stands for: a character below 256 is that byte.
pub(crate) fn bytes(text: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.into()
}

/// The key of the copy `n` of something repeated.
pub(crate) fn numbered(key: &Bytes, n: usize) -> Bytes {
    [key.as_ref(), format!("-{n:03}").as_bytes()].concat().into()
}
