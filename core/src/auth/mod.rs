//! Who a client is and what it may do, decided from a token and the time, both of them arguments.
//!
//! A [`TokenVerifier`] is the host's: `rejoin-jwt` has one for JWTs, and a verifier of one's own may
//! take any other token. What it finds are [`Claims`]; a [`Requirement`] says whether they suffice.
//! Whoever brings another library for signatures reads the token with [`Jws`] and its claims with
//! [`Claims::from_json`], which is everything but the cryptography.

mod claims;
mod error;
mod json;
mod jws;
mod requirement;

use alloc::sync::Arc;
use core::time::Duration;

pub use claims::{ClaimNames, Claims};
pub use error::AuthError;
pub(crate) use json::{Members, numeric_date};
pub use jws::Jws;
pub(crate) use jws::parts;
pub use requirement::{Denied, Requirement};

/// Says whose token this is, or why it is nobody's.
///
/// It is asked when a client connects and when it brings a fresh token. It answers at once: whatever
/// it needs, such as keys from elsewhere, is there before. An `Arc<dyn TokenVerifier>` is one, too.
///
/// ```
/// use std::time::Duration;
/// use rejoin_core::auth::{AuthError, Claims, TokenVerifier};
///
/// /// For tests: one token is Ann's, for an hour.
/// struct OneToken;
///
/// impl TokenVerifier for OneToken {
///     fn verify(&self, token: &str, now: Duration) -> Result<Claims, AuthError> {
///         if token != "let me in" {
///             return Err(AuthError::Refused);
///         }
///         let mut claims = Claims::new("ann");
///         claims.expires_at = Some(now + Duration::from_secs(3_600));
///         Ok(claims)
///     }
/// }
///
/// let now = Duration::from_secs(1_700_000_000);
/// assert_eq!(OneToken.verify("let me in", now)?.user_id, "ann");
/// assert_eq!(OneToken.verify("", now), Err(AuthError::Refused));
/// # Ok::<(), AuthError>(())
/// ```
pub trait TokenVerifier: Send + Sync {
    /// Verifies a token as it came from the client, who may send anything.
    ///
    /// `now` is the time since the Unix epoch. The claims that are returned are valid at `now`
    /// ([`Claims::check_times`]) and carry the leeway that was allowed for that.
    ///
    /// # Errors
    /// If the token is not to be trusted, whatever the reason.
    fn verify(&self, token: &str, now: Duration) -> Result<Claims, AuthError>;
}

impl<V: TokenVerifier + ?Sized> TokenVerifier for Arc<V> {
    fn verify(&self, token: &str, now: Duration) -> Result<Claims, AuthError> {
        (**self).verify(token, now)
    }
}
