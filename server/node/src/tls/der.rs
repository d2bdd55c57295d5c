//! A reader for DER, the encoding of certificates.

use x509_parser::asn1_rs::{Any, FromDer as _};

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// A parse error: a sentence about the certificate, which it calls "it".
pub(super) type Unreadable = &'static str;

/// A DER value.
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    /// The whole encoding, including tag and length.
    pub(super) raw: &'a [u8],
    /// The content.
    pub(super) data: &'a [u8],
}

/// The values that are still to be read.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, with any tag.
    pub(super) fn any(&mut self) -> Result<Value<'a>, Unreadable> {
        let (rest, value) = Any::from_der(self.0).map_err(|_| "it is truncated or malformed")?;
        let raw = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok(Value { tag: raw[0], raw, data: value.data })
    }

    /// The next value, which must have this tag.
    pub(super) fn value(&mut self, tag: u8) -> Result<Value<'a>, Unreadable> {
        match self.0.first() {
            Some(found) if *found == tag => self.any(),
            _ => Err("a value in it has the wrong type"),
        }
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], Unreadable> {
        Ok(self.value(tag)?.data)
    }

    /// The content of the next value if it has this tag; otherwise `None`, and nothing is read.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Unreadable> {
        match self.0.first() {
            Some(found) if *found == tag => Ok(Some(self.any()?.data)),
            _ => Ok(None),
        }
    }

    /// The next value if it is a boolean; otherwise false, and nothing is read.
    pub(super) fn flag(&mut self) -> Result<bool, Unreadable> {
        match self.optional(BOOLEAN)? {
            None | Some([0]) => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err("a boolean in it is neither true nor false"),
        }
    }

    /// The content of the next value, a bit string of whole bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        match self.take(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err("a bit string in it does not consist of whole bytes"),
        }
    }

    /// Checks that no value follows.
    pub(super) fn end(&self) -> Result<(), Unreadable> {
        if self.is_empty() { Ok(()) } else { Err("it has extra bytes after a value") }
    }
}

/// The content of a value with this tag, which must take up all bytes.
pub(super) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], Unreadable> {
    let mut der = Der(bytes);
    let data = der.take(tag)?;
    der.end()?;
    Ok(data)
}
