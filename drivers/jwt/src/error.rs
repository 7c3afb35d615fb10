//! Why there is no verifier.

use std::fmt;

use crate::Key;

/// Why keys are no good. None of them repeats a part of a key, so all of them may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret of fewer bytes than [`Key::MIN_SECRET`], which can be guessed from one token.
    ShortSecret {
        /// How many it has.
        bytes: usize,
    },
    /// A secret without a single byte: everybody could sign.
    EmptySecret,
    /// It is not JSON of the right shape.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A key that is of an unknown type, damaged, too small, or not meant for verifying signatures.
    UnusableKey,
    /// There are no keys, or all of them are [`KeyError::UnusableKey`].
    NoUsableKey {
        /// How many there are.
        keys: usize,
    },
}

impl From<serde_json::Error> for KeyError {
    // The parser's own words may quote what it read, and that may be a key: only the place is kept.
    fn from(error: serde_json::Error) -> Self {
        Self::Syntax { line: error.line(), column: error.column() }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSecret { bytes } => write!(
                f,
                "the JWT secret has {bytes} bytes; give one of {} or more, for example from `openssl rand -base64 48`",
                Key::MIN_SECRET
            ),
            Self::EmptySecret => f.write_str("the JWT secret is empty; give the one that tokens are signed with"),
            Self::Syntax { line, column } => write!(
                f,
                "the JWKS or JWK cannot be read at line {line}, column {column}; give a JSON object, which in a JWKS has a \
                 list `keys`"
            ),
            Self::UnusableKey => f.write_str(
                "the JWK cannot verify signatures; give one for `sig` of RSA (2048 to 8192 bits), P-256, P-384, Ed25519 or \
                 `oct`",
            ),
            Self::NoUsableKey { keys: 0 } => f.write_str("the JWKS has no keys; give the keys that tokens are signed with"),
            Self::NoUsableKey { keys } => write!(
                f,
                "none of the {keys} keys of the JWKS can verify signatures; give one for `sig` of RSA (2048 to 8192 bits), \
                 P-256, P-384, Ed25519 or `oct`"
            ),
        }
    }
}

impl std::error::Error for KeyError {}
