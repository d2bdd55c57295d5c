//! Values one after the other, as certificates are written (DER).

use x509_parser::asn1_rs::{Any, FromDer as _};

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// What is wrong with the bytes, for a sentence that begins with "it".
pub(super) type Unreadable = &'static str;

/// One value.
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    /// With its tag and its length.
    pub(super) raw: &'a [u8],
    pub(super) data: &'a [u8],
}

/// Values that are still to be read.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<Value<'a>, Unreadable> {
        let (rest, value) = Any::from_der(self.0).map_err(|_| "it is cut off or malformed")?;
        let raw = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok(Value { tag: raw[0], raw, data: value.data })
    }

    /// The next value, which must have this tag.
    pub(super) fn value(&mut self, tag: u8) -> Result<Value<'a>, Unreadable> {
        match self.0.first() {
            Some(found) if *found == tag => self.any(),
            _ => Err("a value of it is of another kind than it must be"),
        }
    }

    /// What is in the next value, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], Unreadable> {
        Ok(self.value(tag)?.data)
    }

    /// What is in the next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Unreadable> {
        match self.0.first() {
            Some(found) if *found == tag => Ok(Some(self.any()?.data)),
            _ => Ok(None),
        }
    }

    /// The truth of the next value if it has one; false otherwise.
    pub(super) fn flag(&mut self) -> Result<bool, Unreadable> {
        match self.optional(BOOLEAN)? {
            None | Some([0]) => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err("a truth value of it is neither true nor false"),
        }
    }

    /// The bytes of a string of bits.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        match self.take(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err("a string of bits of it is not one of bytes"),
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Unreadable> {
        if self.is_empty() { Ok(()) } else { Err("something follows where it must end") }
    }
}

/// What is in a value that is all there is.
pub(super) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], Unreadable> {
    let mut der = Der(bytes);
    let data = der.take(tag)?;
    der.end()?;
    Ok(data)
}
