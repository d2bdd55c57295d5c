//! Counts of reads and writes of keys.

/// Operations on keys, counted as etcd's `etcd_mvcc_*` metrics count them: a range for a comparison
/// or for a previous value counts like a client's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ranges read.
    pub ranges: u64,
    /// Keys written.
    pub puts: u64,
    /// Bytes of keys and values written.
    pub put_bytes: u64,
    /// Ranges deleted, even if they had no keys.
    pub deletes: u64,
    /// Steps with more than one of these operations.
    pub txns: u64,
    /// Operations in the current step.
    open: u64,
}

impl Tally {
    /// Counts one range.
    pub fn range(&mut self) {
        self.ranges += 1;
        self.open += 1;
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.puts += 1;
        self.put_bytes += (key.len() + value.len()) as u64;
        self.open += 1;
    }

    pub(crate) fn delete(&mut self) {
        self.deletes += 1;
        self.open += 1;
    }

    /// Ends a step. A transaction with writes has two steps: its decision, then its execution.
    pub(crate) fn end_step(&mut self) {
        self.txns += u64::from(self.open > 1);
        self.open = 0;
    }
}
