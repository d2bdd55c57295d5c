//! Hashes passwords and checks them. A hash is slow by design, so the number of hashes at the same
//! time is bounded: clients with wrong passwords cannot hold up other requests.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::ApiError;

/// The longest password that bcrypt takes, in bytes.
const PASSWORD_BYTES_MAX: usize = 72;
/// Number of processors for each concurrent hash: one computes it, and the others are left for
/// other requests.
const PROCESSORS_PER_HASH: usize = 2;
/// Maximum number of passwords that wait for their turn: each waiting call takes memory.
const WAITING_MAX: usize = 64;

/// Hashes passwords with bcrypt, on other threads than those that serve requests.
pub(crate) struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
    places: Semaphore,
    /// How long a hash may wait for its turn.
    patience: Duration,
}

impl Passwords {
    /// `cost` is the base-2 logarithm of the work for a hash, from 4 to 31.
    pub(crate) fn new(cost: u32, patience: Duration) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let turns = (processors / PROCESSORS_PER_HASH).max(1);
        let turns = Arc::new(Semaphore::new(turns));
        Self { cost, turns, places: Semaphore::new(WAITING_MAX), patience }
    }

    /// The hash of a password in base64, the form that etcd's requests have.
    ///
    /// # Errors
    /// The password is too long, too many passwords wait, the turn does not come in time, or the
    /// member stops.
    ///
    /// # Cancel safety
    /// When the future is dropped, a hash that is being computed is completed.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::PasswordTooLong);
        }
        let cost = self.cost;
        let hash = self.compute(move || bcrypt::hash(password, cost)).await?;
        Ok(STANDARD.encode(hash.map_err(ApiError::unknown)?))
    }

    /// Checks a password against its hash.
    ///
    /// # Errors
    /// The password is wrong, too many passwords wait, the turn does not come in time, or the
    /// member stops.
    ///
    /// # Cancel safety
    /// As for [`hash`](Self::hash).
    pub(crate) async fn verify(&self, password: String, hash: Bytes) -> Result<(), ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::AuthFailed);
        }
        let is_right = self.compute(move || {
            let hash = std::str::from_utf8(&hash).ok()?;
            bcrypt::verify(password, hash).ok()
        });
        if is_right.await? == Some(true) { Ok(()) } else { Err(ApiError::AuthFailed) }
    }

    /// Waits for a turn, and computes a hash.
    async fn compute<R: Send + 'static>(
        &self,
        hash: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ApiError> {
        let place = self.places.try_acquire().map_err(|_| ApiError::TooManyRequests)?;
        let turn = timeout(self.patience, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| ApiError::Timeout)?.map_err(|_| ApiError::Stopped)?;
        drop(place);
        let computed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            hash()
        });
        computed.await.map_err(|_| ApiError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_some_passwords_wait() {
        let passwords = Passwords::new(4, Duration::from_secs(60));
        let turns = u32::try_from(passwords.turns.available_permits()).unwrap();
        let taken = passwords.turns.clone().acquire_many_owned(turns).await.unwrap();
        let verify = || passwords.verify(String::new(), Bytes::new());
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(verify())).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert_eq!(verify().await, Err(ApiError::TooManyRequests));
        drop(taken);
        for one in waiting {
            assert_eq!(one.await, Err(ApiError::AuthFailed));
        }
    }

    #[tokio::test]
    async fn a_hash_has_the_cost_and_fits_the_password() {
        let passwords = Passwords::new(4, Duration::from_secs(60));
        for password in [String::new(), "secret".to_owned(), "x".repeat(PASSWORD_BYTES_MAX)] {
            let hash = passwords.hash(password.clone()).await.unwrap();
            let hash = String::from_utf8(STANDARD.decode(hash).unwrap()).unwrap();
            assert!(hash.starts_with("$2b$04$"), "{hash}");
            let wrong = format!("y{password}");
            assert_eq!(passwords.verify(password, hash.clone().into()).await, Ok(()));
            let refused = Err(ApiError::AuthFailed);
            assert_eq!(passwords.verify(wrong, hash.into()).await, refused);
        }
        let long = passwords.hash("x".repeat(PASSWORD_BYTES_MAX + 1)).await;
        assert_eq!(long, Err(ApiError::PasswordTooLong));
        let long = passwords.verify("x".repeat(PASSWORD_BYTES_MAX + 1), Bytes::new()).await;
        assert_eq!(long, Err(ApiError::AuthFailed));
        let no_hash = passwords.verify(String::new(), Bytes::new()).await;
        assert_eq!(no_hash, Err(ApiError::AuthFailed));
    }
}
