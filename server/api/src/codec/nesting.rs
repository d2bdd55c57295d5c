//! How deep transactions are nested, found before they are decoded.
//!
//! Decoding recurses, so that a message of a megabyte could exhaust the stack. etcd refuses such a
//! transaction because every level uses up at least one of the operations it may have; this finds
//! the depth without recursion and answers the same.

use quorate_core::limits::TXN_NESTING_MAX;
use tonic::Status;

use crate::codec::undecodable;
use crate::error::{ApiError, status};

/// Numbers of the fields by which transactions nest.
mod field {
    pub(super) const TXN_SUCCESS: u64 = 2;
    pub(super) const TXN_FAILURE: u64 = 3;
    pub(super) const OP_TXN: u64 = 4;
}

/// A message being walked through: where it ends, and which it is.
struct Open {
    end: usize,
    is_txn: bool,
}

/// Refuses an encoded `TxnRequest` whose nesting is deeper than any transaction may have
/// operations.
pub(crate) fn check_txn(bytes: &[u8]) -> Result<(), Status> {
    let mut open = vec![Open { end: bytes.len(), is_txn: true }];
    let mut at = 0;
    let mut depth = 1;
    while let Some(top) = open.last() {
        if at >= top.end {
            depth -= usize::from(top.is_txn);
            open.pop();
            continue;
        }
        let (is_txn, end) = (top.is_txn, top.end);
        let tag = varint(bytes, &mut at, end)?;
        let length = match tag & 7 {
            0 => {
                varint(bytes, &mut at, end)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(bytes, &mut at, end)?).map_err(|_| undecodable())?,
            5 => 4,
            _ => return Err(undecodable()),
        };
        let field_end = at.checked_add(length).filter(|field_end| *field_end <= end);
        let field_end = field_end.ok_or_else(undecodable)?;
        let branch = is_txn && matches!(tag >> 3, field::TXN_SUCCESS | field::TXN_FAILURE);
        let nested = !is_txn && tag >> 3 == field::OP_TXN;
        if tag & 7 == 2 && (branch || nested) {
            depth += usize::from(nested);
            if depth > TXN_NESTING_MAX {
                return Err(status(ApiError::TooManyOps));
            }
            open.push(Open { end: field_end, is_txn: nested });
        } else {
            at = field_end;
        }
    }
    Ok(())
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Result<u64, Status> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        if *at >= end {
            break;
        }
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(undecodable())
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use quorate_proto::etcdserverpb::request_op::Request;
    use quorate_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
    use tonic::Code;

    use super::*;

    /// `depth` transactions, one in the other, with a put in each.
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
    fn depth_is_bounded_and_damage_is_named() {
        for depth in [1, 2, 50, TXN_NESTING_MAX] {
            assert!(check_txn(&nested(depth)).is_ok(), "{depth}");
            assert!(TxnRequest::decode(nested(depth).as_slice()).is_ok(), "{depth}");
        }
        let error = check_txn(&nested(TXN_NESTING_MAX + 1)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        let error = check_txn(&nested(2000)).unwrap_err();
        assert_eq!(error.message(), "etcdserver: too many operations in txn request");
        let good = nested(5);
        for end in 0..good.len() {
            let cut = check_txn(&good[..end]).is_err() || TxnRequest::decode(&good[..end]).is_ok();
            assert!(cut, "{end}");
        }
        assert_eq!(check_txn(&[0xff; 30]).unwrap_err().code(), Code::Internal);
    }
}
