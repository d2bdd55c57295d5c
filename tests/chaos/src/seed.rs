//! Seeds and the environment variables of a campaign.

use std::env;
use std::fmt::Display;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The variable with the seed.
const SEED: &str = "QUORATE_CHAOS_SEED";
/// The variable with the name of the only fault to inject. Unset: all faults.
const ONLY: &str = "QUORATE_CHAOS_ONLY";

/// Set on an idle machine: the tests then hold the times to their limits.
const MEASURED: &str = "QUORATE_CHAOS_MEASURED";

/// The seed of all random choices of a campaign. Scheduling does not depend on it: the same seed
/// gives the same requests and faults at slightly different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed in `$QUORATE_CHAOS_SEED`, or a new one.
    ///
    /// # Panics
    /// When the variable is not a number.
    pub fn choose() -> Self {
        Self(number_from_env(SEED).unwrap_or_else(rand::random))
    }

    /// The seed of campaign `number` of several.
    #[must_use]
    pub fn derive(self, number: u64) -> Self {
        Self(self.0.rotate_left(32) ^ (number + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// A random number generator for one purpose, the same for each run with this seed.
    pub fn rng(self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.0 ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The command that reruns a test of this crate with this seed. `file` and `test` name the
    /// test, and `setting` is an environment variable with its `value`.
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

/// The name of the only fault to inject, if it is set.
pub fn only_fault() -> Option<String> {
    env::var(ONLY).ok()
}

/// Whether the tests hold times to the limits of an idle machine.
pub fn is_measured() -> bool {
    env::var_os(MEASURED).is_some()
}

/// The number in an environment variable. `None` when it is not set.
///
/// # Panics
/// When it is set to something else than a number.
pub fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
