//! Hashing of passwords.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::ApiError;

/// The longest password that bcrypt takes, in bytes.
const PASSWORD_BYTES_MAX: usize = 72;
/// Hashes that are computed at the same time take at most this share of the processors: the others
/// are for the requests of all other clients.
const PROCESSORS_PER_HASH: usize = 2;

/// Hashes passwords with bcrypt, beside the threads that serve requests.
pub(crate) struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
    /// How long a hash may wait for its turn.
    patience: Duration,
}

impl Passwords {
    /// `cost` is the logarithm of the work for a hash, from 4 to 31.
    pub(crate) fn new(cost: u32, patience: Duration) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let turns = (processors / PROCESSORS_PER_HASH).max(1);
        Self { cost, turns: Arc::new(Semaphore::new(turns)), patience }
    }

    /// The hash of a password, in the form of etcd's requests.
    ///
    /// # Errors
    /// The password is too long, or too many others are being hashed.
    ///
    /// # Cancel safety
    /// When the future is dropped, a hash that is being computed is completed.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::PasswordTooLong);
        }
        let turn = timeout(self.patience, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| ApiError::Timeout)?.map_err(|_| ApiError::Stopped)?;
        let cost = self.cost;
        let hashed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            bcrypt::hash(password, cost)
        });
        let hash = hashed.await.map_err(|_| ApiError::Stopped)?.map_err(ApiError::unknown)?;
        Ok(STANDARD.encode(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_has_the_cost_and_fits_the_password() {
        let passwords = Passwords::new(4, Duration::from_secs(60));
        for password in [String::new(), "secret".to_owned(), "x".repeat(PASSWORD_BYTES_MAX)] {
            let hash = passwords.hash(password.clone()).await.unwrap();
            let hash = String::from_utf8(STANDARD.decode(hash).unwrap()).unwrap();
            assert!(hash.starts_with("$2b$04$"), "{hash}");
            assert!(bcrypt::verify(&password, &hash).unwrap());
            assert!(!bcrypt::verify(format!("y{password}"), &hash).unwrap());
        }
        let long = passwords.hash("x".repeat(PASSWORD_BYTES_MAX + 1)).await;
        assert_eq!(long, Err(ApiError::PasswordTooLong));
    }
}
