//! The numbers that name a campaign.

use std::env;
use std::fmt::Display;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Where a seed is taken from.
const SEED: &str = "QUORATE_CHAOS_SEED";
/// Names the only fault there is to be, as it is called; all of them when it is not set.
const ONLY: &str = "QUORATE_CHAOS_ONLY";

/// Set where times are measured: on a machine that has nothing else to do.
const MEASURED: &str = "QUORATE_CHAOS_MEASURED";

/// What all random choices of a campaign follow from. When a process is scheduled does not follow
/// from it: the same seed gives the same requests and faults, at moments that differ a little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed in `$QUORATE_CHAOS_SEED`, or a new one.
    ///
    /// # Panics
    /// When the variable is no number.
    pub fn choose() -> Self {
        Self(number_from_env(SEED).unwrap_or_else(rand::random))
    }

    /// The seed of one of several campaigns.
    #[must_use]
    pub fn derive(self, number: u64) -> Self {
        Self(self.0.rotate_left(32) ^ (number + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Random numbers for one purpose; the same each time.
    pub fn rng(self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.0 ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The command that runs a test of this crate again with this seed. `file` and `test` name it;
    /// `setting` is the variable that has `value`.
    pub fn replay(self, [file, test]: [&str; 2], setting: &str, value: impl Display) -> String {
        let Self(seed) = self;
        let only = only_fault().map(|fault| format!("{ONLY}={fault} ")).unwrap_or_default();
        let measured = if is_measured() { format!("{MEASURED}=1 ") } else { String::new() };
        format!(
            "{SEED}={seed} {only}{measured}{setting}={value} \
             cargo test -p quorate-test-chaos --test {file} {test} -- --exact --nocapture"
        )
    }
}

/// The name of the only fault there is to be, if there is such a wish.
pub fn only_fault() -> Option<String> {
    env::var(ONLY).ok()
}

/// Whether times are held to what a machine can do that has nothing else to do.
pub fn is_measured() -> bool {
    env::var_os(MEASURED).is_some()
}

/// The number in an environment variable; `None` when it is not set.
///
/// # Panics
/// When it is set to something else.
pub fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
