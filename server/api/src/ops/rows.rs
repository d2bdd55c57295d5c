//! The rows of an answer to a range, written one by one while the store is read, so that no row is
//! in memory twice. Every wire gives them a form of its own ([`Form`]).

use std::marker::PhantomData;
use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_core::RecordRef;
use quorate_core::mvcc::range::{RangeSummary, RowSink};
use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::{Account, Permit};

use crate::error::ApiError;
use crate::memory::{ANSWER_BYTES, charged};

/// The form in which a wire sends the answer to a range. A message has a beginning, rows and an
/// end. The header is at the beginning; in a stream, it is at the end of the last message.
pub(crate) trait Form: Send + 'static {
    /// Length in bytes of the prefix before a message. The prefix states the message's length.
    const PREFIX_BYTES: usize;

    /// Writes the prefix of a message of `length` bytes.
    ///
    /// # Errors
    /// The message is too long for the wire.
    fn put_prefix(prefix: &mut [u8], length: usize) -> Result<(), ApiError>;

    /// Appends the beginning of the message, before the rows.
    fn begin(header: Option<&ResponseHeader>, out: &mut Vec<u8>);

    /// Bytes of a row alone.
    fn row_len(row: RecordRef<'_>) -> usize;

    /// Bytes of a row with all that the wire puts around it. The row alone has `length` bytes. `at`
    /// is the number of rows before it in the message.
    fn framed_len(length: usize, at: usize) -> usize;

    /// Appends a row with all that the wire puts around it: [`framed_len`](Self::framed_len) bytes.
    fn put_row(row: RecordRef<'_>, length: usize, at: usize, out: &mut Vec<u8>);

    /// Appends the end of a message that has `rows` rows.
    fn end(header: Option<&ResponseHeader>, summary: RangeSummary, rows: usize, out: &mut Vec<u8>);
}

/// The treatment of rows for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// They are only measured, and read again when they are sent.
    Measure,
    /// The range ends before them.
    Stop,
}

/// A message with rows, written as far as there is room for it.
pub(crate) struct Rows<F> {
    bytes: Vec<u8>,
    /// Bytes before the message: [`Form::PREFIX_BYTES`] or 0.
    prefix: usize,
    rows: usize,
    /// Number of the message's rows that come before the rows of this piece.
    before: usize,
    last_key: Vec<u8>,
    /// The permit for the bytes beyond [`ANSWER_BYTES`].
    permit: Permit,
    bytes_max: usize,
    full: Full,
    is_full: bool,
    /// Bytes for which the budget must have room before a first row can be kept.
    needs: usize,
    /// Bytes and number of the rows that were measured but not kept.
    measured: (usize, usize),
    form: PhantomData<fn() -> F>,
}

impl<F: Form> Rows<F> {
    fn new(account: &Account, bytes_max: usize, full: Full) -> Self {
        Self {
            bytes: Vec::new(),
            prefix: 0,
            rows: 0,
            before: 0,
            last_key: Vec::new(),
            permit: account.nothing(),
            bytes_max,
            full,
            is_full: false,
            needs: 0,
            measured: (0, 0),
            form: PhantomData,
        }
    }

    /// A whole message that begins with this header. It keeps at most `bytes_max` bytes and
    /// measures the rows beyond them.
    pub(super) fn whole(account: &Account, bytes_max: usize, header: &ResponseHeader) -> Self {
        let mut rows = Self::new(account, bytes_max, Full::Measure);
        rows.bytes.resize(F::PREFIX_BYTES, 0);
        rows.prefix = F::PREFIX_BYTES;
        F::begin(Some(header), &mut rows.bytes);
        rows
    }

    /// A message of a stream, without prefix and header. It keeps as many rows as fit into
    /// `bytes_max`, and at least one row if the budget has room for it. `room` is the permit that
    /// it begins with.
    pub(super) fn chunk(room: Permit, bytes_max: usize) -> Self {
        let mut rows = Self::piece(room, bytes_max, 0);
        F::begin(None, &mut rows.bytes);
        rows
    }

    /// A piece of a message. It begins after the first `before` rows of the message. It keeps rows
    /// by the same rule as a [`chunk`](Self::chunk).
    pub(super) fn piece(room: Permit, bytes_max: usize, before: usize) -> Self {
        let rows = Self::new(room.account(), bytes_max, Full::Stop);
        Self { permit: room, before, ..rows }
    }

    /// An empty answer, as a placeholder for an answer that bypasses the codec.
    pub(crate) fn nothing(&self) -> Self {
        Self::piece(self.permit.account().nothing(), 0, 0)
    }

    /// Bytes for which the budget must have room before a first row can be kept; 0 if a row was
    /// kept.
    pub(super) fn needs(&self) -> usize {
        self.needs
    }

    /// Ends the message.
    pub(super) fn finish(&mut self, header: Option<&ResponseHeader>, summary: RangeSummary) {
        F::end(header, summary, self.rows, &mut self.bytes);
    }

    /// Number of kept rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The key of the last kept row; empty without rows.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Bytes of the message that are kept.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.prefix
    }

    /// The kept bytes of the message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes[self.prefix..]
    }

    /// Whether a row found no room.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Bytes and number of the rows that were measured but not kept.
    pub(super) fn measured(&self) -> (usize, usize) {
        self.measured
    }

    /// The kept bytes as data for the connection. `following` is the number of bytes that the
    /// caller sends afterwards to complete the message. The data are charged to the budget until
    /// the connection has written them.
    ///
    /// # Errors
    /// The message is too long for the wire.
    pub(crate) fn into_data(mut self, following: usize) -> Result<Bytes, ApiError> {
        if self.prefix > 0 {
            let length = self.len() + following;
            F::put_prefix(&mut self.bytes[..F::PREFIX_BYTES], length)?;
        }
        Ok(charged(self.bytes.into(), self.permit))
    }

    /// Makes room for `more` bytes; returns false if there is none.
    fn make_room(&mut self, more: usize) -> bool {
        let is_first = self.full == Full::Stop && self.rows == 0;
        let needed = self.bytes.len() + more;
        if needed > self.bytes_max && !is_first {
            return false;
        }
        let old = self.bytes.capacity();
        if needed <= old {
            return true;
        }
        let new = needed.max((2 * old).min(self.bytes_max));
        let grown = new.saturating_sub(ANSWER_BYTES + self.permit.bytes());
        if grown > 0 && !self.permit.try_grow(grown) {
            self.needs = if is_first { needed } else { 0 };
            return false;
        }
        self.bytes.reserve_exact(new - self.bytes.len());
        true
    }
}

impl<F: Form> RowSink for Rows<F> {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        let length = F::row_len(row);
        let at = self.before + self.rows + self.measured.1;
        let framed = F::framed_len(length, at);
        if self.is_full || !self.make_room(framed) {
            self.is_full = true;
            if self.full == Full::Stop {
                return ControlFlow::Break(());
            }
            self.measured = (self.measured.0 + framed, self.measured.1 + 1);
            return ControlFlow::Continue(());
        }
        F::put_row(row, length, at, &mut self.bytes);
        self.rows += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(row.key);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Revision;
    use quorate_raft::Budget;

    use super::*;

    /// A form for tests: keys and values as text, and then the number of rows. The prefix is the
    /// length.
    struct Plain;

    impl Form for Plain {
        const PREFIX_BYTES: usize = 6;

        fn put_prefix(prefix: &mut [u8], length: usize) -> Result<(), ApiError> {
            prefix.copy_from_slice(format!("{length:5}\n").as_bytes());
            Ok(())
        }

        fn begin(header: Option<&ResponseHeader>, out: &mut Vec<u8>) {
            let revision = header.map_or(0, |header| header.revision);
            out.extend_from_slice(format!("at {revision}: ").as_bytes());
        }

        fn row_len(row: RecordRef<'_>) -> usize {
            row.key.len() + 1 + row.value.len()
        }

        fn framed_len(length: usize, at: usize) -> usize {
            length + if at == 0 { 0 } else { 2 }
        }

        fn put_row(row: RecordRef<'_>, _length: usize, at: usize, out: &mut Vec<u8>) {
            out.extend_from_slice(if at == 0 { b"" } else { b", " });
            out.extend_from_slice(row.key);
            out.push(b'=');
            out.extend_from_slice(row.value);
        }

        fn end(
            _header: Option<&ResponseHeader>,
            summary: RangeSummary,
            rows: usize,
            out: &mut Vec<u8>,
        ) {
            out.extend_from_slice(format!("; {rows} of {}", summary.count).as_bytes());
        }
    }

    fn row(value: &[u8]) -> RecordRef<'_> {
        RecordRef {
            key: b"key",
            value,
            revision: Revision::new(9, 3),
            create_revision: 7,
            version: 2,
            lease: 0,
            previous: Revision::NONE,
        }
    }

    #[test]
    fn a_message_has_the_same_bytes_whole_and_in_pieces() {
        let header = ResponseHeader { revision: 9, ..Default::default() };
        let account = Budget::new(1 << 20).account();
        let values: [&[u8]; 3] = [b"a", b"bb", b"ccc"];
        let summary = RangeSummary { more: true, count: 7 };
        let mut whole = Rows::<Plain>::whole(&account, 1 << 10, &header);
        assert!(values.iter().all(|value| whole.row(row(value)).is_continue()));
        whole.finish(None, summary);
        let whole = whole.into_data(0).unwrap();
        assert_eq!(whole, "   36\nat 9: key=a, key=bb, key=ccc; 3 of 7");
        // From the second row on, the rows are measured, and sent in pieces of one row.
        let mut kept = Rows::<Plain>::whole(&account, 21, &header);
        assert!(values.iter().all(|value| kept.row(row(value)).is_continue()));
        let (bytes, rows) = kept.measured();
        assert_eq!((kept.rows(), rows), (1, 2));
        let mut end = Vec::new();
        Plain::end(None, summary, 3, &mut end);
        let mut data = kept.into_data(bytes + end.len()).unwrap().to_vec();
        for (at, value) in values.iter().enumerate().skip(1) {
            let mut piece = Rows::<Plain>::piece(account.nothing(), 1, at);
            assert!(piece.row(row(value)).is_continue() && piece.row(row(b"")).is_break());
            data.extend_from_slice(&piece.into_data(0).unwrap());
        }
        data.extend_from_slice(&end);
        assert_eq!(data, whole);
    }

    #[test]
    fn rows_without_room_are_measured_or_left_out() {
        let value = vec![b'v'; 10_000];
        let budget = Budget::new(45_000);
        let account = budget.account();
        let mut whole = Rows::<Plain>::whole(&account, 1 << 20, &ResponseHeader::default());
        (0..6).for_each(|_| assert!(whole.row(row(&value)).is_continue()));
        let (bytes, rows) = whole.measured();
        assert!(whole.is_full() && rows > 0 && whole.rows() + rows == 6);
        assert_eq!(bytes / rows, Plain::row_len(row(&value)) + 2);
        assert!(budget.used() >= whole.len() - ANSWER_BYTES);
        let kept = whole.len();
        let data = whole.into_data(bytes).unwrap();
        assert_eq!(data[..Plain::PREFIX_BYTES], *format!("{:5}\n", kept + bytes).as_bytes());
        // A chunk without room for one row asks for room. With that room, it keeps the row.
        let other = account.charge(45_000);
        let mut chunk = Rows::<Plain>::piece(account.nothing(), 100, 0);
        assert!(chunk.row(row(&value)).is_break() && chunk.rows() == 0);
        let room = account.charge(chunk.needs());
        let mut chunk = Rows::<Plain>::piece(room, 100, 0);
        assert!(chunk.row(row(&value)).is_continue() && chunk.row(row(b"")).is_break());
        assert_eq!((chunk.rows(), chunk.is_full(), chunk.needs()), (1, true, 0));
        drop((data, chunk, other));
        assert_eq!(budget.used(), 0);
    }
}
