//! An issuer of tokens: key pairs, their public halves as JWKs, and signatures of every algorithm.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as aws, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use rejoin_core::auth::{AuthError, Claims, TokenVerifier};
use serde_json::{Value, json};

/// Of the length that every secret must have.
pub(crate) const SECRET: &[u8] = b"thirty-two bytes, and not a byte";

/// Now, for all tokens here.
pub(crate) const NOW: Duration = Duration::from_secs(1_700_000_000);

/// Every algorithm there is.
pub(crate) const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// One key of an issuer: what signs, and what the verifier gets to see.
#[derive(Clone)]
pub(crate) struct Pair {
    signing: EncodingKey,
    /// Without `kid`, `alg` and `use`.
    pub(crate) jwk: Value,
}

impl Pair {
    /// A pair of the right type, which is the same one whenever it is asked for.
    pub(crate) fn of(algorithm: Algorithm) -> Self {
        static RSA: LazyLock<Pair> = LazyLock::new(Pair::rsa);
        static P256: LazyLock<Pair> = LazyLock::new(|| Pair::ec(Algorithm::ES256));
        static P384: LazyLock<Pair> = LazyLock::new(|| Pair::ec(Algorithm::ES384));
        static ED: LazyLock<Pair> = LazyLock::new(Pair::ed);
        let pair = match algorithm {
            Algorithm::ES256 => &P256,
            Algorithm::ES384 => &P384,
            _ => match algorithm.family() {
                AlgorithmFamily::Hmac => return Self::secret(SECRET),
                AlgorithmFamily::Rsa => &RSA,
                _ => &ED,
            },
        };
        (**pair).clone()
    }

    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(secret), jwk: json!({"kty": "oct", "k": b64(secret)}) }
    }

    /// A fresh one.
    pub(crate) fn ed() -> Self {
        let der = aws::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = aws::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())});
        Self { signing: EncodingKey::from_ed_der(der.as_ref()), jwk }
    }

    /// A fresh one.
    pub(crate) fn ec(algorithm: Algorithm) -> Self {
        let (signing, curve) = match algorithm {
            Algorithm::ES384 => (&aws::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            _ => (&aws::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        };
        let der = aws::EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = aws::EcdsaKeyPair::from_pkcs8(signing, der.as_ref()).unwrap();
        let coordinates = &pair.public_key().as_ref()[1..];
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let jwk = json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)});
        Self { signing: EncodingKey::from_ec_der(der.as_ref()), jwk }
    }

    fn rsa() -> Self {
        let pair = aws::RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = aws::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // What signs wants the key inside of PKCS #8; before it are 26 bytes that say that it is RSA.
        let signing = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
        Self { signing, jwk: json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e)}) }
    }

    /// The JWK with these members as well.
    pub(crate) fn jwk_with(&self, more: Value) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    }

    /// A token of these claims with the header that belongs to it.
    pub(crate) fn token(&self, algorithm: Algorithm, claims: &Value) -> String {
        self.sign(algorithm, &json!({"alg": algorithm, "typ": "JWT"}).to_string(), &claims.to_string())
    }

    /// The same, naming its key.
    pub(crate) fn token_of(&self, algorithm: Algorithm, kid: &str) -> String {
        self.sign(algorithm, &json!({"alg": algorithm, "kid": kid}).to_string(), &ann().to_string())
    }

    /// A token of any header and payload, signed by that algorithm.
    pub(crate) fn sign(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm, &self.signing).unwrap();
        format!("{message}.{}", b64(signer.try_sign(message.as_bytes()).unwrap()))
    }
}

/// Claims of Ann, for an hour.
pub(crate) fn ann() -> Value {
    json!({"sub": "ann", "role": "member", "exp": NOW.as_secs() + 3_600})
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// What a verifier makes of it now, through the trait.
pub(crate) fn verify(verifier: &(impl TokenVerifier + Clone + 'static), token: &str) -> Result<Claims, AuthError> {
    let verifier: Arc<dyn TokenVerifier> = Arc::new(verifier.clone());
    verifier.verify(token, NOW)
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
