//! Simple tokens: random letters and the log index of the login. Each member keeps them in memory,
//! and learns of them from the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng as _;

/// Number of random letters of a token.
const LETTERS: usize = 16;
/// A new token makes the member remove all expired ones only if there are at least this many
/// tokens.
const SWEPT_MIN: usize = 64;

/// The random letters of a new token.
pub fn random_letters() -> String {
    let mut random = rand::rng();
    let letter = |_| {
        let number = random.random_range(0..52u8);
        let first = if number < 26 { b'a' } else { b'A' };
        char::from(first + number % 26)
    };
    (0..LETTERS).map(letter).collect()
}

/// The index of the log entry that gave a token; `None` if the text has no index.
pub(super) fn entry_of(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
    index.parse().ok().filter(|_| is_number)
}

/// A token in use.
#[derive(Debug)]
struct Login {
    user: Arc<str>,
    /// The end of the token, unless it is used before.
    ends: Instant,
}

/// The tokens by their text.
#[derive(Default)]
struct Table {
    logins: HashMap<String, Login>,
    /// Number of tokens at which expired ones are removed next.
    sweep_at: usize,
}

/// The simple tokens that are valid on this member.
pub struct SimpleTokens {
    ttl: Duration,
    table: Mutex<Table>,
}

impl std::fmt::Debug for SimpleTokens {
    /// Does not show the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimpleTokens").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl SimpleTokens {
    /// A table without tokens. A token ends when `ttl` has passed since its last use.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, table: Mutex::default() }
    }

    /// Makes a token valid.
    pub fn add(&self, token: String, user: String, now: Instant) {
        let mut table = self.table.lock();
        if table.logins.len() >= table.sweep_at.max(SWEPT_MIN) {
            table.logins.retain(|_, login| login.ends > now);
            table.sweep_at = 2 * table.logins.len();
        }
        table.logins.insert(token, Login { user: user.into(), ends: now + self.ttl });
    }

    /// The user of a token; `None` if the token is not valid. Renews the time to live of the token.
    pub fn user_of(&self, token: &str, now: Instant) -> Option<Arc<str>> {
        let mut table = self.table.lock();
        let login = table.logins.get_mut(token)?;
        if login.ends <= now {
            table.logins.remove(token);
            return None;
        }
        login.ends = now + self.ttl;
        Some(login.user.clone())
    }

    /// Ends all tokens of a user.
    pub fn end_user(&self, user: &str) {
        self.table.lock().logins.retain(|_, login| *login.user != *user);
    }

    /// Ends all tokens.
    pub fn end_all(&self) {
        self.table.lock().logins.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn with(tokens: &[(&str, &str)], now: Instant) -> SimpleTokens {
        let table = SimpleTokens::new(TTL);
        for (token, user) in tokens {
            table.add((*token).to_owned(), (*user).to_owned(), now);
        }
        table
    }

    #[test]
    fn a_token_has_letters_and_the_index_of_its_entry() {
        let [one, other] = [random_letters(), random_letters()];
        assert!(one.len() == LETTERS && one.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert_ne!(one, other);
        assert_eq!(entry_of(&format!("{one}.17")), Some(17));
        for bad in ["", "a", "a.", "a.b", "a.-1", "a.+1", "a.1.2", "a.18446744073709551616"] {
            assert_eq!(entry_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_lives_on_while_it_is_used() {
        let start = Instant::now();
        let tokens = with(&[("a.1", "alice"), ("b.2", "bob")], start);
        let almost = TTL - Duration::from_millis(1);
        for count in 1..=3 {
            assert_eq!(tokens.user_of("a.1", start + almost * count).as_deref(), Some("alice"));
        }
        assert_eq!(tokens.user_of("a.1", start + almost * 3 + TTL), None);
        assert_eq!(tokens.user_of("b.2", start + TTL), None);
        assert_eq!(tokens.user_of("a.1", start), None, "an ended token does not come back");
        assert_eq!(tokens.user_of("c.3", start), None);
    }

    #[test]
    fn the_tokens_of_one_user_and_of_all_can_be_ended() {
        let now = Instant::now();
        let tokens = with(&[("a.1", "alice"), ("a.2", "alice"), ("b.3", "bob")], now);
        tokens.end_user("alice");
        let found = |token| tokens.user_of(token, now);
        assert_eq!((found("a.1"), found("a.2")), (None, None));
        assert_eq!(found("b.3").as_deref(), Some("bob"));
        tokens.end_all();
        assert_eq!(found("b.3"), None);
    }

    #[test]
    fn unused_tokens_take_no_memory_for_ever() {
        let start = Instant::now();
        let tokens = SimpleTokens::new(TTL);
        for number in 0..1000 {
            let now = start + TTL * number;
            tokens.add(format!("a.{number}"), "alice".to_owned(), now);
            assert!(tokens.table.lock().logins.len() <= SWEPT_MIN);
        }
    }
}
