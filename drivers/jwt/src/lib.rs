//! Verifies JSON Web Tokens for servers made with `rejoin-core`: a [`JwtVerifier`] is the
//! [`TokenVerifier`](rejoin_core::auth::TokenVerifier) that a server is given.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use rejoin_core::auth::{AuthError, TokenVerifier};
//! use rejoin_jwt::JwtVerifier;
//!
//! let verifier = JwtVerifier::from_secret("a secret of thirty-two bytes or more")?
//!     .audience("chat")
//!     .leeway(Duration::from_secs(5));
//! let verifier: Arc<dyn TokenVerifier> = Arc::new(verifier);
//!
//! let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
//! assert_eq!(verifier.verify("not a token", now), Err(AuthError::Malformed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The signatures are checked by [`jsonwebtoken`] with aws-lc, which is chosen by name: whatever
//! provider the process has installed, or none, makes no difference. Which tokens are looked at, and
//! what they must say, is decided here and in [`rejoin_core::auth`]:
//!
//! * The algorithm is the key's. A header that names another one finds no key, `none` among them.
//! * `exp`, `nbf` and `iat` are compared with the time that the caller gives, and a time of another
//!   type is refused.
//! * A token has at most 8 KiB, no `crit`, no name twice, and one spelling in base64.
//!
//! It signs nothing: tokens come from whoever logs users in.

#![forbid(unsafe_code)]

mod error;
mod jwks;
mod key;
mod verifier;

pub use error::KeyError;
pub use key::Key;
pub use verifier::JwtVerifier;
