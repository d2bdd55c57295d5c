//! The logins that applied entries report.

use std::sync::{Arc, OnceLock};

/// Learns of logins and of their ends. The member calls these functions in the order of the log,
/// each before the client of the entry gets its answer. They must return at once.
pub trait LoginListener: Send + Sync {
    /// A user has got a token.
    fn began(&self, token: String, user: String);

    /// All tokens of a user have ended; with `None`, those of all users.
    fn ended(&self, user: Option<&str>);
}

/// Reports logins to the listener, once there is one. A restart ends all logins.
#[derive(Default)]
pub(crate) struct Logins {
    /// The last entry of the log at the start. Logins in entries up to it are not reported, because
    /// their tokens may have ended long ago.
    start: u64,
    listener: OnceLock<Arc<dyn LoginListener>>,
}

impl Logins {
    /// Reports logins in entries after `start`.
    pub(crate) fn new(start: u64) -> Self {
        Self { start, listener: OnceLock::new() }
    }

    /// Sets the listener, if there is none.
    pub(crate) fn listen(&self, listener: Arc<dyn LoginListener>) {
        self.listener.set(listener).ok();
    }

    /// The entry at `index` has given a token to a user.
    pub(crate) fn began(&self, index: u64, token: String, user: String) {
        if let Some(listener) = self.listener.get().filter(|_| index > self.start) {
            listener.began(token, user);
        }
    }

    /// All tokens of a user have ended; with `None`, those of all users.
    pub(crate) fn ended(&self, user: Option<&str>) {
        if let Some(listener) = self.listener.get() {
            listener.ended(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl LoginListener for Heard {
        fn began(&self, token: String, user: String) {
            self.0.lock().push(format!("{user} {token}"));
        }

        fn ended(&self, user: Option<&str>) {
            self.0.lock().push(format!("{} ended", user.unwrap_or("all")));
        }
    }

    #[test]
    fn a_restart_ends_logins() {
        let heard: Arc<Heard> = Arc::default();
        let logins = Logins::new(7);
        logins.began(8, "unheard".to_owned(), "alice".to_owned());
        logins.listen(heard.clone());
        logins.began(7, "a.7".to_owned(), "alice".to_owned());
        logins.began(8, "a.8".to_owned(), "alice".to_owned());
        logins.ended(Some("alice"));
        logins.ended(None);
        assert_eq!(*heard.0.lock(), ["alice a.8", "alice ended", "all ended"]);
    }
}
