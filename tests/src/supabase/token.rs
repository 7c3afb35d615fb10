//! Tokens: made without a secret and read without a key, with the server's words for what is wrong.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The signature that stands for one made with another secret. Every other one is good.
pub const BAD_SIGNATURE: &str = "bad";

/// A token of this role that expires at `exp`, in seconds since 1970.
#[must_use]
pub fn token(role: &str, exp: i64) -> String {
    token_with(&json!({ "role": role, "exp": exp }), "c2lnbmF0dXJl")
}

/// A token of these claims with this signature.
#[must_use]
pub fn token_with(claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims))
}

/// What the server knows about whoever holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) role: String,
    /// Seconds since 1970; `None` for a key of the new style, which the gateway turns into a token
    /// of its own.
    pub(super) exp: Option<i64>,
}

impl Claims {
    /// Reads a token at the time `unix_now`, in seconds since 1970.
    pub(super) fn of(token: &str, unix_now: i64) -> Result<Self, Flaw> {
        if let Some(key) = token.strip_prefix("sb_") {
            let role = if key.starts_with("secret_") { "service_role" } else { "anon" };
            return Ok(Self { role: role.into(), exp: None });
        }
        let [header, claims, signature] = *token.split('.').collect::<Vec<_>>() else { return Err(Flaw::Malformed) };
        let (Some(_), Some(claims)) = (object(header), object(claims)) else { return Err(Flaw::Malformed) };
        if signature == BAD_SIGNATURE {
            return Err(Flaw::Signature);
        }
        let (Some(role), Some(exp)) = (claims["role"].as_str(), claims["exp"].as_i64()) else {
            return Err(Flaw::Claims);
        };
        match unix_now - exp {
            _ if exp <= 0 => Err(Flaw::Expiry),
            age if age >= 0 => Err(Flaw::Expired { age }),
            _ => Ok(Self { role: role.into(), exp: Some(exp) }),
        }
    }
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Malformed,
    Signature,
    Claims,
    Expiry,
    /// For so many seconds.
    Expired {
        age: i64,
    },
}

impl Flaw {
    /// The code before the reason of a refused join (section 9.2).
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "MalformedJWT",
            Self::Signature => "JwtSignatureError",
            Self::Claims | Self::Expiry | Self::Expired { .. } => "InvalidJWTToken",
        }
    }
}

/// The reason of a join or of a shutdown; an upgrade's does not tell the age.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("The token provided is not a valid JWT"),
            Self::Signature => f.write_str("Failed to validate JWT signature"),
            Self::Claims => f.write_str("Fields `role` and `exp` are required in JWT"),
            Self::Expiry => f.write_str("Token expiration time is invalid"),
            Self::Expired { age } => write!(f, "Token has expired {age} seconds ago"),
        }
    }
}

fn object(part: &str) -> Option<Value> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok().filter(Value::is_object)
}
