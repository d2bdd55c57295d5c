//! Arguments of a command: words and named values.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use goldenscript::Argument;

/// The arguments of a command or of an operation in a transaction. Parsing removes each argument
/// that it understands; anything left at the end is an error in the script.
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

    /// Removes the next word; an error if there is none.
    pub(crate) fn word(&mut self, what: &str) -> Result<String> {
        self.words.pop_front().with_context(|| format!("no {what} is given"))
    }

    /// Removes the next word, if there is one.
    pub(crate) fn next_word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// Removes the next word and parses it as a number.
    pub(crate) fn word_number(&mut self, what: &str) -> Result<i64> {
        number(&self.word(what)?)
    }

    /// Removes all words equal to `name`, and returns whether there were any.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// Removes the value named `key`.
    pub(crate) fn value(&mut self, key: &str) -> Option<String> {
        let at = self.values.iter().position(|(k, _)| k == key)?;
        Some(self.values.remove(at).1)
    }

    /// Removes the value named `key` and parses it as a number; 0 if it is missing.
    pub(crate) fn number(&mut self, key: &str) -> Result<i64> {
        self.value(key).map_or(Ok(0), |value| number(&value))
    }

    /// The value of `times=`: how often to repeat the operation, with numbered keys. If it is
    /// missing, `None`: the operation is done once, with its key as it is.
    pub(crate) fn times(&mut self) -> Result<Option<usize>> {
        let times = self.value("times").map(|value| number(&value)).transpose()?;
        Ok(times.map(usize::try_from).transpose()?)
    }

    /// An error if any argument is left.
    pub(crate) fn finish(self) -> Result<()> {
        match (self.words.front(), self.values.first()) {
            (None, None) => Ok(()),
            (Some(word), _) => bail!("'{word}' is not understood"),
            (None, Some((key, value))) => bail!("'{key}={value}' is not understood"),
        }
    }
}

/// Parses a number of a script.
pub(crate) fn number(text: &str) -> Result<i64> {
    text.parse().with_context(|| format!("'{text}' is not a number"))
}

/// The bytes of a text in a script: a character below 256 stands for the byte of that value, others
/// are encoded as UTF-8.
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

/// The key of repetition `n`.
pub(crate) fn numbered(key: &Bytes, n: usize) -> Bytes {
    [key.as_ref(), format!("-{n:03}").as_bytes()].concat().into()
}
