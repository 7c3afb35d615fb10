//! Keys out of JSON Web Keys: what is for verifying signatures, and what for.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde_json::Value;

use crate::{Key, KeyError};

/// The usable ones of a key set. Issuers list keys of types to come, and for other uses: those are skipped.
pub(crate) fn keys(json: &str) -> Result<Vec<Key>, KeyError> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_str(json)?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        match key(jwk) {
            Ok(key) => keys.push(key),
            Err(KeyError::UnusableKey) => {}
            Err(error) => return Err(error),
        }
    }
    if keys.is_empty() { Err(KeyError::NoUsableKey { keys: set.keys.len() }) } else { Ok(keys) }
}

pub(crate) fn key(json: &Value) -> Result<Key, KeyError> {
    let jwk: Jwk = serde::Deserialize::deserialize(json).map_err(|_| KeyError::UnusableKey)?;
    let algorithms = algorithms(&jwk);
    if algorithms.is_empty() || !is_for_verifying(&jwk) {
        return Err(KeyError::UnusableKey);
    }
    let material = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::UnusableKey)?;
    check_size(&material, &algorithms)?;
    Ok(Key::new(jwk.common.key_id.map(Into::into), algorithms, material))
}

/// Those of its type and curve, of which `alg` leaves one, or none if the two do not belong together.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => AlgorithmFamily::Hmac.algorithms().to_vec(),
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        _ => Vec::new(),
    };
    if let Some(named) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == named);
    }
    algorithms
}

fn is_for_verifying(jwk: &Jwk) -> bool {
    let (intended, operations) = (&jwk.common.public_key_use, &jwk.common.key_operations);
    intended.as_ref().is_none_or(|intended| *intended == PublicKeyUse::Signature)
        && operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

/// A key of another size would refuse each token as wrongly signed, and nobody would know why.
fn check_size(material: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), KeyError> {
    let (bytes, right) = match material.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => {
            let leading = n.iter().take_while(|byte| **byte == 0).count();
            (n.len() - leading, 256..=1_024)
        }
        DecodingKeyKind::SecretOrDer(bytes) => match (material.family(), algorithms) {
            (AlgorithmFamily::Hmac, _) if bytes.len() < Key::MIN_SECRET => {
                return Err(KeyError::ShortSecret { bytes: bytes.len() });
            }
            (AlgorithmFamily::Hmac, _) => return Ok(()),
            (AlgorithmFamily::Ec, [Algorithm::ES384]) => (bytes.len(), 97..=97),
            (AlgorithmFamily::Ec, _) => (bytes.len(), 65..=65),
            _ => (bytes.len(), 32..=32),
        },
    };
    if right.contains(&bytes) { Ok(()) } else { Err(KeyError::UnusableKey) }
}
