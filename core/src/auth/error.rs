//! Why a token is not trusted.

use core::fmt;

use super::Jws;
use crate::text::Text;

/// Why a token is not trusted. None of them repeats a part of the token, so all of them may be logged.
///
/// Clients are told no more than that they are not authorized: the reason helps only those who run
/// the server, and those who try to get in (upgrade-handler specification, section 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// More than [`Jws::MAX_BYTES`].
    TooLong,
    /// It is not three parts of canonical base64url joined by dots, or the first one is not a JSON
    /// object of different names with a text `alg`.
    Malformed,
    /// Its algorithm is `none` or one that the verifier does not know, or its header has `crit`.
    Unsupported,
    /// The verifier has no key of its algorithm, or none with its `kid`. Keys may have been rotated.
    UnknownKey,
    /// No key that could have signed it has.
    Signature,
    /// It is signed, but what is signed is not a JSON object of different names.
    NotClaims,
    /// A claim is missing that must be there.
    MissingClaim {
        /// Its name, from the configuration.
        claim: Text,
    },
    /// A claim is there but has the wrong type, such as a text for a time.
    ClaimType {
        /// Its name, from the configuration.
        claim: Text,
    },
    /// A claim such as `aud` or `iss` has not the value that is required here.
    ClaimValue {
        /// Its name, from the configuration.
        claim: Text,
    },
    /// It was valid until `exp`, which is now or in the past.
    Expired,
    /// It becomes valid with `nbf`, which is in the future.
    NotYetValid,
    /// It is refused for a reason that only the verifier knows, for example because it was revoked.
    Refused,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the token is longer than {} bytes; issue smaller ones", Jws::MAX_BYTES),
            Self::Malformed => f.write_str("the token is not a JWT; send three parts of base64url joined by dots"),
            Self::Unsupported => f.write_str(
                "the token's header asks for what is not supported; sign without `crit`, with a known `alg`",
            ),
            Self::UnknownKey => {
                f.write_str("the token names a key or an algorithm that has no key here; give the verifier that key")
            }
            Self::Signature => f.write_str("the token's signature is wrong; check that both sides have the same key"),
            Self::NotClaims => {
                f.write_str("the token's claims are not a JSON object of different names; issue it with claims")
            }
            Self::MissingClaim { claim } => write!(f, "the token has no claim `{claim}`; issue it with one"),
            Self::ClaimType { claim } => {
                write!(f, "the token's claim `{claim}` has the wrong type; issue it with the right one")
            }
            Self::ClaimValue { claim } => {
                write!(f, "the token's claim `{claim}` is not the required one; use a token for this server")
            }
            Self::Expired => f.write_str("the token has expired; take a fresh one"),
            Self::NotYetValid => f.write_str("the token is not valid yet; check the clocks of both sides"),
            Self::Refused => f.write_str("the token is refused; take another one"),
        }
    }
}

impl core::error::Error for AuthError {}
