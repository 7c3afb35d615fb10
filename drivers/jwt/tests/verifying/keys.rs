//! Which keys a verifier has, and which of them it asks.

use crate::issuer::{NOW, Pair, SECRET, ann, b64, jwks, verify};
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, RS256};
use rejoin_core::auth::{AuthError, TokenVerifier};
use rejoin_jwt::{JwtVerifier, Key, KeyError};
use serde_json::{Value, json};

fn of(keys: &[Value]) -> Result<JwtVerifier, KeyError> {
    JwtVerifier::from_jwks(&jwks(keys))
}

fn user(verifier: &JwtVerifier, token: &str) -> Result<String, AuthError> {
    verify(verifier, token).map(|claims| String::from(&*claims.user_id))
}

const TAKEN: Result<&str, AuthError> = Ok("ann");

#[test]
fn a_short_secret_is_refused_unless_it_is_asked_for() {
    let short = &SECRET[..31];
    let error = JwtVerifier::from_secret(short).unwrap_err();
    assert_eq!(error, KeyError::ShortSecret { bytes: 31 });
    assert!(error.to_string().contains("31 bytes") && error.to_string().contains("32"), "{error}");
    assert!(
        JwtVerifier::from_secret(SECRET).is_ok() && JwtVerifier::from_secret(str::from_utf8(SECRET).unwrap()).is_ok()
    );
    assert_eq!(of(&[Pair::secret(short).jwk]).unwrap_err(), KeyError::ShortSecret { bytes: 31 });

    let verifier = JwtVerifier::from_keys([Key::short_secret(short).unwrap()]).unwrap();
    assert_eq!(user(&verifier, &Pair::secret(short).token(HS256, &ann())).as_deref(), TAKEN.as_deref());
    assert_eq!(Key::short_secret("").unwrap_err(), KeyError::EmptySecret);
}

#[test]
fn a_key_set_that_cannot_be_read_says_where() {
    for bad in ["", "{", "[]", "null", "{}", r#"{"keys":{}}"#, "\u{feff}{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----"] {
        let error = JwtVerifier::from_jwks(bad).unwrap_err();
        assert!(matches!(error, KeyError::Syntax { .. }), "{bad}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let quoting = JwtVerifier::from_jwks(r#"{"keys":"thirty-two bytes"}"#).unwrap_err();
    assert!(!format!("{quoting} {quoting:?}").contains("thirty"), "{quoting}");
    assert_eq!(JwtVerifier::from_jwks(r#"{"keys":[]}"#).unwrap_err(), KeyError::NoUsableKey { keys: 0 });
    assert_eq!(JwtVerifier::from_keys([]).unwrap_err(), KeyError::NoUsableKey { keys: 0 });
}

/// What a key set may list besides the keys that are for tokens.
fn unusable() -> Vec<Value> {
    let (ec, rsa, secret) = (Pair::of(ES256), Pair::of(RS256), Pair::secret(SECRET));
    vec![
        json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"}),
        json!({"kty": 7}),
        json!("key"),
        json!({}),
        ec.jwk_with(json!({"use": "enc"})),
        ec.jwk_with(json!({"use": "wrap"})),
        ec.jwk_with(json!({"key_ops": ["deriveKey"]})),
        ec.jwk_with(json!({"crv": "P-521"})),
        ec.jwk_with(json!({"crv": "secp256k1"})),
        ec.jwk_with(json!({"crv": "P-384"})),
        ec.jwk_with(json!({"alg": "ES384"})),
        ec.jwk_with(json!({"x": "AAAA"})),
        ec.jwk_with(json!({"x": "not base64"})),
        ec.jwk_with(json!({"kid": 7})),
        json!({"kty": "OKP", "crv": "Ed448", "x": b64([7; 57])}),
        json!({"kty": "OKP", "crv": "X25519", "x": b64([7; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": b64([7; 31])}),
        rsa.jwk_with(json!({"alg": "RSA-OAEP"})),
        rsa.jwk_with(json!({"alg": "HS256"})),
        rsa.jwk_with(json!({"n": b64([0xff; 128])})),
        rsa.jwk_with(json!({"n": b64([vec![0; 200], vec![0xff; 255]].concat())})),
        rsa.jwk_with(json!({"n": b64(vec![0xff; 1_025])})),
        secret.jwk_with(json!({"alg": "RS256"})),
        secret.jwk_with(json!({"alg": "A256GCM"})),
    ]
}

#[test]
fn keys_for_something_else_are_skipped_but_not_all_keys() {
    let mut keys = unusable();
    for key in &keys {
        assert_eq!(of(std::slice::from_ref(key)).unwrap_err(), KeyError::NoUsableKey { keys: 1 }, "{key}");
    }
    assert_eq!(of(&keys).unwrap_err(), KeyError::NoUsableKey { keys: keys.len() });
    keys.insert(3, Pair::of(EdDSA).jwk);
    let verifier = of(&keys).unwrap();
    assert_eq!(user(&verifier, &Pair::of(EdDSA).token(EdDSA, &ann())).as_deref(), TAKEN.as_deref());
    for skipped in [ES256, RS256, HS256] {
        let token = Pair::of(skipped).token(skipped, &ann());
        assert_eq!(user(&verifier, &token), Err(AuthError::UnknownKey), "{skipped:?}");
    }
}

#[test]
fn keys_are_rotated_one_by_one() {
    let (old, new) = (Pair::ed(), Pair::ed());
    let [old_jwk, new_jwk] = [(&old, "2025"), (&new, "2026")].map(|(pair, kid)| pair.jwk_with(json!({"kid": kid})));
    let [before, both, after] =
        [vec![old_jwk.clone()], vec![new_jwk.clone(), old_jwk], vec![new_jwk]].map(|keys| of(&keys).unwrap());
    let (old_token, new_token) = (old.token_of(EdDSA, "2025"), new.token_of(EdDSA, "2026"));
    for (verifier, token, expected) in [
        (&before, &old_token, TAKEN),
        (&before, &new_token, Err(AuthError::UnknownKey)),
        (&both, &old_token, TAKEN),
        (&both, &new_token, TAKEN),
        (&after, &old_token, Err(AuthError::UnknownKey)),
        (&after, &new_token, TAKEN),
        // The name is another one's: its keys are asked and no other.
        (&both, &old.token_of(EdDSA, "2026"), Err(AuthError::Signature)),
        // No name: all are asked.
        (&both, &old.token(EdDSA, &ann()), TAKEN),
        (&after, &old.token(EdDSA, &ann()), Err(AuthError::Signature)),
    ] {
        assert_eq!(user(verifier, token).as_deref(), expected.as_deref());
    }
}

#[test]
fn keys_of_different_types_may_share_a_name() {
    let named = |algorithm| Pair::of(algorithm).jwk_with(json!({"kid": "k"}));
    let verifier = of(&[named(ES256), named(EdDSA), named(RS256)]).unwrap();
    for algorithm in [ES256, EdDSA, RS256] {
        let token = Pair::of(algorithm).token_of(algorithm, "k");
        assert_eq!(user(&verifier, &token).as_deref(), TAKEN.as_deref(), "{algorithm:?}");
    }
}

#[test]
fn at_most_sixteen_keys_are_tried() {
    let pairs: Vec<_> = (0..=JwtVerifier::MAX_TRIED).map(|_| Pair::ed()).collect();
    let all: Vec<_> = pairs.iter().enumerate().map(|(n, pair)| pair.jwk_with(json!({"kid": n.to_string()}))).collect();
    let verifier = of(&all).unwrap();
    assert_eq!(user(&verifier, &pairs[15].token(EdDSA, &ann())).as_deref(), TAKEN.as_deref());
    assert_eq!(user(&verifier, &pairs[16].token(EdDSA, &ann())), Err(AuthError::Signature));
    assert_eq!(user(&verifier, &pairs[16].token_of(EdDSA, "16")).as_deref(), TAKEN.as_deref());
}

#[test]
fn only_tokens_of_a_secret_fall_back_to_the_secret() {
    let listed = Pair::secret(b"another secret of thirty-two bytes or so");
    let [oct, ed] = [&listed, &Pair::of(EdDSA)].map(|pair| pair.jwk_with(json!({"kid": "new"})));
    let verifier = of(&[oct, ed]).unwrap().with_fallback_secret(SECRET).unwrap();
    let legacy = Pair::secret(SECRET);
    for (token, expected) in [
        (legacy.token_of(HS256, "old"), TAKEN),
        (legacy.token(HS256, &ann()), TAKEN),
        (listed.token_of(HS256, "new"), TAKEN),
        // This name is an `oct` key's.
        (legacy.token_of(HS256, "new"), Err(AuthError::Signature)),
        (Pair::ed().token_of(EdDSA, "old"), Err(AuthError::UnknownKey)),
        (Pair::of(ES256).token_of(ES256, "old"), Err(AuthError::UnknownKey)),
        (Pair::of(RS256).token_of(RS256, "new"), Err(AuthError::UnknownKey)),
    ] {
        assert_eq!(user(&verifier, &token).as_deref(), expected.as_deref());
    }
    let error = JwtVerifier::from_secret(SECRET).unwrap().with_fallback_secret("short").unwrap_err();
    assert_eq!(error, KeyError::ShortSecret { bytes: 5 });
}

#[test]
fn a_secret_is_for_tokens_that_name_a_key_and_for_those_that_do_not() {
    let verifier = JwtVerifier::from_secret(SECRET).unwrap();
    let pair = Pair::secret(SECRET);
    assert!(verifier.verify(&pair.token(HS256, &ann()), NOW).is_ok());
    assert!(verifier.verify(&pair.token_of(HS256, "any"), NOW).is_ok());
    let named = JwtVerifier::from_keys([Key::secret(SECRET).unwrap().with_id("k")]).unwrap();
    assert!(named.verify(&pair.token_of(HS256, "k"), NOW).is_ok());
    assert_eq!(named.verify(&pair.token_of(HS256, "any"), NOW), Err(AuthError::UnknownKey));
}
