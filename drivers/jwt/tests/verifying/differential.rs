//! What the library takes by its own rules, and what we take: where they differ, we are stricter.

use std::collections::HashSet;

use crate::issuer::{ALL, NOW, Pair, jwks, verify};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use rejoin_core::auth::AuthError;
use rejoin_jwt::JwtVerifier;
use serde_json::{Value, json};

/// The library with the clock put out of action: of times it knows only its own.
fn library(pair: &Pair, algorithm: Algorithm, token: &str) -> Option<Value> {
    let jwk: Jwk = serde_json::from_value(pair.jwk.clone()).unwrap();
    let mut validation = Validation::new(algorithm);
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    validation.required_spec_claims = HashSet::new();
    let decoded = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation);
    decoded.ok().map(|decoded| decoded.claims)
}

/// Headers that name any algorithm, or none.
fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(&ALL[..]).prop_map(|alg| json!({ "alg": alg }).to_string()),
        2 => prop::sample::select(&ALL[..]).prop_map(|alg| json!({"typ": "JWT", "alg": alg, "kid": "k"}).to_string()),
        1 => Just(r#"{"alg":"none"}"#.to_owned()),
        1 => Just(r#"{"alg":"HS256","alg":"RS256"}"#.to_owned()),
        1 => Just("{}".to_owned()),
    ]
}

fn payload() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (any::<u32>(), "[a-z]{1,5}").prop_map(|(exp, sub)| json!({"sub": sub, "exp": exp}).to_string()),
        1 => "[a-z]{0,5}".prop_map(|sub| json!({ "sub": sub }).to_string()),
        1 => Just(r#"{"sub":"ann","sub":"bob"}"#.to_owned()),
        1 => Just(r#"{"sub":"ann","exp":"9999999999"}"#.to_owned()),
        1 => "\\PC{0,9}",
    ]
}

proptest! {
    #[test]
    fn whatever_we_take_the_library_takes_and_what_else_it_takes_we_refuse_for_the_claims(
        signing in prop::sample::select(&ALL[..]),
        checking in prop::sample::select(&ALL[..]),
        same in prop::bool::weighted(0.8),
        header in prop::option::weighted(0.4, header()),
        payload in payload(),
        missing in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let checking = if same { signing } else { checking };
        let header = header.unwrap_or_else(|| json!({ "alg": signing }).to_string());
        let mut token = Pair::of(signing).sign(signing, &header, &payload);
        if let Some(at) = missing {
            token.remove(at.index(token.len()));
        }
        let key = Pair::of(checking);
        let verifier = JwtVerifier::from_jwks(&jwks(&[key.jwk_with(json!({"alg": checking}))])).unwrap();
        match (verify(&verifier, &token), library(&key, checking, &token)) {
            (Ok(ours), theirs) => {
                let theirs = theirs.expect("nothing is taken that the library refuses");
                prop_assert_eq!(Some(&*ours.user_id), theirs["sub"].as_str());
                prop_assert!(ours.expires_at.is_none_or(|at| Some(at.as_secs()) == theirs["exp"].as_u64() && at > NOW));
            }
            // It reads none of these, as it was told.
            (
                Err(
                    AuthError::NotClaims
                    | AuthError::MissingClaim { .. }
                    | AuthError::ClaimType { .. }
                    | AuthError::Expired,
                ),
                _,
            ) => {}
            (Err(error), theirs) => prop_assert!(theirs.is_none(), "{error}: {token} with {header}"),
        }
    }
}
