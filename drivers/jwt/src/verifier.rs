//! The verifier: which keys are asked about a token, and in which order it is judged.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rejoin_core::Text;
use rejoin_core::auth::{AuthError, ClaimNames, Claims, Jws, TokenVerifier};
use serde_json::Value;

use crate::{Key, KeyError, jwks};

/// Verifies JWTs of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and
/// `EdDSA` (Ed25519).
///
/// A token that names a `kid` is checked with the keys of that name. If none has it, or it names
/// none, the others are tried that could be meant: see [`Key::with_id`]. When the issuer rotates its
/// keys, make another verifier; [`AuthError::UnknownKey`] is the sign that it may have.
#[derive(Clone)]
pub struct JwtVerifier {
    keys: Vec<Key>,
    names: ClaimNames,
    leeway: Duration,
    audience: Option<Text>,
    issuer: Option<Text>,
}

impl JwtVerifier {
    /// The most keys that are tried for one token; whatever is listed behind them is not.
    pub const MAX_TRIED: usize = 16;

    /// For tokens signed with this secret by HS256, HS384 or HS512.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] below [`Key::MIN_SECRET`]; [`Key::short_secret`] takes any.
    pub fn from_secret(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::from_keys([Key::secret(secret)?])
    }

    /// For tokens signed with a key of this JSON Web Key Set (RFC 7517).
    ///
    /// Keys of unknown types, sizes and algorithms are skipped, and those that are for something else
    /// than signatures (`use`, `key_ops`).
    ///
    /// # Errors
    /// [`KeyError::Syntax`], [`KeyError::ShortSecret`] of an `oct` key, or [`KeyError::NoUsableKey`].
    pub fn from_jwks(json: &str) -> Result<Self, KeyError> {
        Self::from_keys(jwks::keys(json)?)
    }

    /// For tokens signed with one of these keys.
    ///
    /// # Errors
    /// [`KeyError::NoUsableKey`] if there is none.
    pub fn from_keys(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let keys = Vec::from_iter(keys);
        if keys.is_empty() {
            return Err(KeyError::NoUsableKey { keys: 0 });
        }
        Ok(Self { keys, names: ClaimNames::default(), leeway: Duration::ZERO, audience: None, issuer: None })
    }

    /// The same, and a token of HS256, HS384 or HS512 whose `kid` is no `oct` key's may be signed with
    /// this secret, as tokens of Supabase are that are older than its key set. Nothing falls back from
    /// another algorithm.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] below [`Key::MIN_SECRET`].
    pub fn with_fallback_secret(mut self, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        // That is what any secret without a name is for.
        self.keys.push(Key::secret(secret)?);
        Ok(self)
    }

    /// The same, with other names for the claims; [`ClaimNames::default`] otherwise.
    #[must_use]
    pub fn claim_names(mut self, names: ClaimNames) -> Self {
        self.names = names;
        self
    }

    /// The same, for clocks that differ by this much; zero by default ([`Claims::leeway`]).
    #[must_use]
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The same, but `aud` must be this text or a list with it. By default nobody looks at it.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Text>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The same, but `iss` must be this text. By default nobody looks at it.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<Text>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    fn check_signature(&self, jws: &Jws<'_>) -> Result<(), AuthError> {
        let algorithm = Algorithm::from_str(&jws.algorithm).map_err(|_| AuthError::Unsupported)?;
        let mut tried = self.candidates(algorithm, jws.key_id.as_ref()).take(Self::MAX_TRIED).peekable();
        if tried.peek().is_none() {
            return Err(AuthError::UnknownKey);
        }
        if tried.any(|key| key.has_signed(jws, algorithm)) { Ok(()) } else { Err(AuthError::Signature) }
    }

    /// The keys of the algorithm that the token's `kid` may mean.
    fn candidates<'a>(&'a self, algorithm: Algorithm, id: Option<&'a Text>) -> impl Iterator<Item = &'a Key> {
        let of_algorithm = || self.keys.iter().filter(move |key| key.is_for(algorithm));
        let is_known = id.is_some() && of_algorithm().any(|key| key.id() == id);
        of_algorithm().filter(move |key| match id {
            None => true,
            Some(_) if is_known => key.id() == id,
            Some(_) => key.id().is_none(),
        })
    }

    fn check_addressee(&self, claims: &Claims) -> Result<(), AuthError> {
        if self.audience.is_none() && self.issuer.is_none() {
            return Ok(());
        }
        let payload: Value = claims.payload.parse().map_err(|_| AuthError::NotClaims)?;
        let check = |name: &'static str, required: &Option<Text>| {
            let Some(required) = required else { return Ok(()) };
            let claim = Text::from_static(name);
            match payload.get(name) {
                None => Err(AuthError::MissingClaim { claim }),
                Some(Value::Array(all)) if name == "aud" && all.iter().any(|one| *one == **required) => Ok(()),
                Some(one) if *one == **required => Ok(()),
                Some(_) => Err(AuthError::ClaimValue { claim }),
            }
        };
        check("aud", &self.audience)?;
        check("iss", &self.issuer)
    }
}

impl TokenVerifier for JwtVerifier {
    fn verify(&self, token: &str, now: Duration) -> Result<Claims, AuthError> {
        let jws = Jws::read(token)?;
        self.check_signature(&jws)?;
        let mut claims = Claims::from_json(jws.payload, &self.names)?;
        claims.leeway = self.leeway;
        claims.check_times(now)?;
        self.check_addressee(&claims)?;
        Ok(claims)
    }
}

/// The keys show what they show, and nothing of themselves.
impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier").field("keys", &self.keys).finish_non_exhaustive()
    }
}
