//! Positions in the history of the store.

/// The position of one change. `main` counts the transactions that wrote. `sub` counts the changes
/// inside one transaction, in execution order.
///
/// As in etcd, an empty store is at main revision 1, and its first change has main revision 2.
/// `Revision::NONE` (0, 0) means "no such change".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Main revision: what clients see as `mod_revision`.
    pub main: i64,
    /// Position inside the transaction, from 0.
    pub sub: u32,
}

impl Revision {
    /// Means "no such change". It is the `previous` revision of a key's first version.
    pub const NONE: Self = Self { main: 0, sub: 0 };
    /// Main revision of a store without any write.
    pub const EMPTY_STORE: i64 = 1;
    /// Length of the stored form in bytes.
    pub const ENCODED_LEN: usize = 12;

    /// Makes a revision from its two parts.
    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }

    /// The first possible change of main revision `main`.
    pub const fn start_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }

    /// The lowest revision above this one.
    pub const fn next(self) -> Self {
        match self.sub.checked_add(1) {
            Some(sub) => Self { main: self.main, sub },
            None => Self::start_of(self.main + 1),
        }
    }

    /// Whether this is `Revision::NONE`.
    pub const fn is_none(self) -> bool {
        self.main == 0
    }

    /// The stored form: `main`, then `sub`, both big endian. The bytes sort as the revisions do,
    /// because `main` is never negative.
    pub fn to_bytes(self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.main.to_be_bytes());
        out[8..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// Decodes the stored form.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LEN]) -> Self {
        let [m0, m1, m2, m3, m4, m5, m6, m7, s0, s1, s2, s3] = *bytes;
        Self {
            main: i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
            sub: u32::from_be_bytes([s0, s1, s2, s3]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Revision;

    proptest! {
        #[test]
        fn bytes_round_trip_and_keep_the_order(
            a in (0i64.., any::<u32>()),
            b in (0i64.., any::<u32>()),
        ) {
            let a = Revision::new(a.0, a.1);
            let b = Revision::new(b.0, b.1);
            prop_assert_eq!(Revision::from_bytes(&a.to_bytes()), a);
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }
    }
}
