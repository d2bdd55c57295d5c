//! Checks how deep a message nests before it is decoded.
//!
//! Decoding recurses, so a message of one megabyte could overflow the stack, with nested
//! transactions or with nested groups in an unknown field. This check reads the bytes without
//! recursion and refuses messages that nest too deep. etcd refuses such a transaction too, because
//! every level uses at least one of the operations that the transaction may have.

/// Maximum number of levels of nested transactions. etcd's default limit of 128 operations allows
/// no deeper nesting, because every level except the innermost uses one operation. Recursion of
/// this depth needs only a small part of a stack.
pub const TXN_NESTING_MAX: usize = 129;
/// Maximum number of levels of nested groups in unknown fields. etcd allows 10 000, but no version
/// of its protocol has a group.
const GROUPS_MAX: usize = 64;
/// Maximum number of levels of nested messages, as in Go's protobuf library.
const MESSAGES_MAX: usize = 10_000;

/// Why a message must not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The bytes are not valid protobuf.
    Malformed,
    /// Messages nest deeper than Go's protobuf library allows.
    TooDeep,
    /// Transactions nest deeper than [`TXN_NESTING_MAX`].
    TooManyOperations,
}

/// The fields of a message that are messages, with their shapes.
#[derive(Debug)]
pub struct Shape(&'static [(u64, &'static Self)]);

/// A message without fields that are messages.
pub static FLAT: Shape = Shape(&[]);
/// `TxnRequest`.
pub static TXN: Shape = Shape(&[(1, &FLAT), (2, &OPERATION), (3, &OPERATION)]);
/// `RequestOp`.
static OPERATION: Shape = Shape(&[(1, &FLAT), (2, &FLAT), (3, &FLAT), (4, &TXN)]);
/// `AuthUserAddRequest`.
pub static USER_ADD: Shape = Shape(&[(3, &FLAT)]);
/// `AuthRoleGrantPermissionRequest`.
pub static ROLE_GRANT_PERMISSION: Shape = Shape(&[(2, &FLAT)]);
/// `WatchRequest`.
pub static WATCH: Shape = Shape(&[(1, &FLAT), (2, &FLAT), (3, &FLAT)]);

impl Shape {
    /// The shape of a message: the number and the shape of each field that is a message.
    pub const fn new(fields: &'static [(u64, &'static Self)]) -> Self {
        Self(fields)
    }

    fn field(&self, number: u64) -> Option<&'static Self> {
        self.0.iter().find(|(field, _)| *field == number).map(|(_, shape)| *shape)
    }

    fn is_txn(&self) -> bool {
        std::ptr::eq(self, &raw const TXN)
    }
}

/// A message or group that the check is inside of.
#[derive(Clone, Copy)]
enum Open {
    /// A message that ends at an offset.
    Message(&'static Shape, usize),
    /// A group in the field of this number, which ends with an end tag.
    Group(u64),
}

/// Wire types of protobuf.
mod wire_type {
    pub(super) const VARINT: u64 = 0;
    pub(super) const FIXED_64: u64 = 1;
    pub(super) const LENGTH: u64 = 2;
    pub(super) const GROUP: u64 = 3;
    pub(super) const GROUP_END: u64 = 4;
    pub(super) const FIXED_32: u64 = 5;
}

/// Checks a message of this shape before it is decoded.
///
/// # Errors
/// Why the message must not be decoded.
pub fn check(bytes: &[u8], shape: &'static Shape) -> Result<(), Refused> {
    let mut walk = Walk::new(bytes);
    walk.run(shape)?;
    // Checked last, so that a malformed message is reported as malformed.
    if walk.txns_max > TXN_NESTING_MAX {
        return Err(Refused::TooManyOperations);
    }
    Ok(())
}

/// The number of comparisons and operations in an encoded `TxnRequest`, nested transactions
/// included.
///
/// # Errors
/// The message is malformed or nests too deep.
pub fn operations(txn: &[u8]) -> Result<usize, Refused> {
    let mut walk = Walk::new(txn);
    walk.run(&TXN)?;
    Ok(walk.operations)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Comparisons and operations of transactions so far.
    operations: usize,
    open: Vec<Open>,
    /// End offsets of the open messages.
    ends: Vec<usize>,
    txns: usize,
    txns_max: usize,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (open, ends) = (Vec::new(), Vec::new());
        Self { bytes, at: 0, operations: 0, open, ends, txns: 0, txns_max: 0 }
    }

    fn run(&mut self, shape: &'static Shape) -> Result<(), Refused> {
        self.enter(shape, self.bytes.len())?;
        while let Some(open) = self.open.last().copied() {
            self.step(open)?;
        }
        Ok(())
    }

    fn enter(&mut self, shape: &'static Shape, end: usize) -> Result<(), Refused> {
        if self.ends.len() == MESSAGES_MAX {
            return Err(Refused::TooDeep);
        }
        self.txns += usize::from(shape.is_txn());
        self.txns_max = self.txns_max.max(self.txns);
        self.ends.push(end);
        self.open.push(Open::Message(shape, end));
        Ok(())
    }

    /// Reads the next field of the innermost message or group, or leaves it at its end.
    fn step(&mut self, open: Open) -> Result<(), Refused> {
        if let Open::Message(shape, end) = open
            && self.at >= end
        {
            self.txns -= usize::from(shape.is_txn());
            self.ends.pop();
            self.open.pop();
            return Ok(());
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        match tag & 7 {
            wire_type::VARINT => self.varint().map(|_| ()),
            wire_type::FIXED_64 => self.skip(8),
            wire_type::FIXED_32 => self.skip(4),
            wire_type::LENGTH => {
                let length = usize::try_from(self.varint()?).map_err(|_| Refused::Malformed)?;
                let nested = match open {
                    Open::Message(shape, _) => shape.field(number),
                    Open::Group(_) => None,
                };
                let start = self.at;
                self.skip(length)?;
                let Some(shape) = nested else { return Ok(()) };
                let end = std::mem::replace(&mut self.at, start);
                let is_in_txn = matches!(open, Open::Message(around, _) if around.is_txn());
                self.operations += usize::from(is_in_txn);
                self.enter(shape, end)
            }
            wire_type::GROUP => {
                let groups = self.open.iter().rev().take_while(|o| matches!(o, Open::Group(_)));
                if groups.take(GROUPS_MAX).count() == GROUPS_MAX {
                    return Err(Refused::Malformed);
                }
                self.open.push(Open::Group(number));
                Ok(())
            }
            wire_type::GROUP_END if matches!(open, Open::Group(begun) if begun == number) => {
                self.open.pop();
                Ok(())
            }
            _ => Err(Refused::Malformed),
        }
    }

    /// End offset of the innermost message.
    fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    fn skip(&mut self, length: usize) -> Result<(), Refused> {
        let behind = self.at.checked_add(length).filter(|behind| *behind <= self.end());
        self.at = behind.ok_or(Refused::Malformed)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Refused> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.at >= self.end() {
                break;
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Refused::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use crate::etcdserverpb::request_op::Request;
    use crate::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
    use prost::Message;

    use super::*;

    /// `depth` nested transactions, with a put in each.
    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let put =
                PutRequest { key: "k".into(), value: vec![0; 9].into(), ..Default::default() };
            let put = RequestOp { request: Some(Request::RequestPut(put)) };
            let txn = TxnRequest { failure: vec![put], ..Default::default() };
            let mut outer = txn.encode_to_vec();
            let mut op = Vec::new();
            prost::encoding::bytes::encode(4, &bytes, &mut op);
            if !bytes.is_empty() {
                prost::encoding::bytes::encode(2, &op, &mut outer);
            }
            bytes = outer;
        }
        bytes
    }

    #[test]
    fn depth_is_bounded_and_malformed_messages_are_refused() {
        for depth in [1, 2, 50, TXN_NESTING_MAX] {
            assert!(check(&nested(depth), &TXN).is_ok(), "{depth}");
            assert!(TxnRequest::decode(nested(depth).as_slice()).is_ok(), "{depth}");
        }
        for depth in [TXN_NESTING_MAX + 1, 4999] {
            assert_eq!(check(&nested(depth), &TXN), Err(Refused::TooManyOperations));
        }
        assert_eq!(check(&nested(5000), &TXN), Err(Refused::TooDeep));
        let good = nested(5);
        for end in 0..good.len() {
            let cut =
                check(&good[..end], &TXN).is_err() || TxnRequest::decode(&good[..end]).is_ok();
            assert!(cut, "{end}");
        }
        assert_eq!(check(&[0xff; 30], &TXN), Err(Refused::Malformed));
    }

    /// `depth` nested groups in a field that no request has.
    fn groups(depth: usize) -> Vec<u8> {
        [vec![0x73; depth], vec![0x74; depth]].concat()
    }

    #[test]
    fn groups_are_bounded() {
        for shape in [&FLAT, &TXN] {
            for depth in [1, GROUPS_MAX] {
                assert!(check(&groups(depth), shape).is_ok());
                assert!(RangeRequest::decode(groups(depth).as_slice()).is_ok());
            }
            for bad in [groups(GROUPS_MAX + 1), groups(1 << 20), vec![0x73], vec![0x74]] {
                assert_eq!(check(&bad, shape), Err(Refused::Malformed));
            }
        }
        // The end tag is that of another group.
        assert!(check(&[0x73, 0x7c], &FLAT).is_err());
        // A field in a group is not checked as a message.
        assert!(check(&[0x73, 0x12, 0x01, 0xff, 0x74], &TXN).is_ok());
    }
}
