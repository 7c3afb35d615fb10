//! A key and the algorithms that it is for.

use std::fmt;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use rejoin_core::Text;
use rejoin_core::auth::Jws;

use crate::{KeyError, jwks};

/// A key that tokens may be signed with: a secret, or the public half of a pair.
#[derive(Clone)]
pub struct Key {
    id: Option<Text>,
    /// What it may be used for, whatever a token's header says; never empty.
    algorithms: Vec<Algorithm>,
    material: DecodingKey,
}

impl Key {
    /// The least bytes of a secret: 256 bits are out of reach for guessing, whichever of HS256, HS384
    /// and HS512 it is for (upgrade-handler specification, section 3.4).
    pub const MIN_SECRET: usize = 32;

    /// The secret of HS256, HS384 and HS512, as it is: one that is written in base64 is to be decoded
    /// only if the issuer does so, too.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] below [`Key::MIN_SECRET`].
    pub fn secret(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let bytes = secret.as_ref().len();
        if bytes < Self::MIN_SECRET { Err(KeyError::ShortSecret { bytes }) } else { Self::short_secret(secret) }
    }

    /// The same of any length, for an issuer that one cannot change.
    ///
    /// Whoever has a single token can try secrets on it, as many as they like, and sign tokens of
    /// their own with the one that fits.
    ///
    /// # Errors
    /// [`KeyError::EmptySecret`].
    pub fn short_secret(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        if secret.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        let algorithms = AlgorithmFamily::Hmac.algorithms().to_vec();
        Ok(Self { id: None, algorithms, material: DecodingKey::from_secret(secret) })
    }

    /// One JWK (RFC 7517): RSA, P-256, P-384, Ed25519 or `oct`.
    ///
    /// It is for the algorithm of its `alg`; without that for the one of its curve, or for all of its type.
    ///
    /// # Errors
    /// [`KeyError::Syntax`], [`KeyError::ShortSecret`] or [`KeyError::UnusableKey`].
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        jwks::key(&serde_json::from_str(json)?)
    }

    /// The same, for tokens that name this `kid`; they try no other key then. A key without a name is
    /// tried for tokens that name no key, or none that is known.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Text>) -> Self {
        self.id = Some(id.into());
        self
    }

    pub(crate) const fn new(id: Option<Text>, algorithms: Vec<Algorithm>, material: DecodingKey) -> Self {
        Self { id, algorithms, material }
    }

    pub(crate) const fn id(&self) -> Option<&Text> {
        self.id.as_ref()
    }

    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether this key signed the token, with an algorithm that it [is for](Self::is_for).
    ///
    /// The provider is called by name, for the process-wide one is whatever the rest of the program
    /// wants, and panics where nobody wants one.
    pub(crate) fn has_signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> bool {
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.material);
        verifier.is_ok_and(|verifier| verifier.verify(jws.signed, &jws.signature).is_ok())
    }
}

/// Without the key itself, public or not.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}
