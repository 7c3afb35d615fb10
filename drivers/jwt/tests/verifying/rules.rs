//! Which tokens are taken, whatever is wrong with the others.

use std::time::Duration;

use crate::issuer::{ALL, Pair, SECRET, ann, b64, jwks, verify};
use jsonwebtoken::Algorithm;
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, HS512, PS256, RS256};
use proptest::prelude::*;
use rejoin_core::auth::{AuthError, ClaimNames, Jws, TokenVerifier};
use rejoin_jwt::{JwtVerifier, Key};
use serde_json::{Value, json};

fn by_secret() -> JwtVerifier {
    JwtVerifier::from_secret(SECRET).unwrap()
}

/// A verifier of one key, which says or does not say what it is for.
fn by(pair: &Pair, more: Value) -> JwtVerifier {
    JwtVerifier::from_jwks(&jwks(&[pair.jwk_with(more)])).unwrap()
}

fn signed(claims: &Value) -> String {
    Pair::secret(SECRET).token(HS256, claims)
}

#[test]
fn tokens_of_every_algorithm_are_taken() {
    for algorithm in ALL {
        let pair = Pair::of(algorithm);
        let token = pair.token(algorithm, &ann());
        for more in [json!({}), json!({"alg": algorithm, "use": "sig", "key_ops": ["verify"]})] {
            let claims = verify(&by(&pair, more), &token).unwrap();
            assert_eq!((claims.user_id.as_str(), claims.has_role("member")), ("ann", true), "{algorithm:?}");
        }
    }
}

#[test]
fn a_key_with_an_algorithm_verifies_no_other_one() {
    for signing in ALL {
        let (pair, other) = (Pair::of(signing), ALL.iter().filter(|other| **other != signing));
        let token = pair.token(signing, &ann());
        for other in other.filter(|other| other.family() == signing.family()) {
            if let Ok(verifier) = JwtVerifier::from_jwks(&jwks(&[pair.jwk_with(json!({"alg": other}))])) {
                assert_eq!(verify(&verifier, &token), Err(AuthError::UnknownKey), "{signing:?} by {other:?}");
            }
        }
    }
}

#[test]
fn a_header_that_names_another_algorithm_changes_nothing() {
    for (signing, named) in [(PS256, RS256), (RS256, PS256), (HS256, HS512)] {
        let pair = Pair::of(signing);
        let token = pair.sign(signing, &json!({"alg": named}).to_string(), &ann().to_string());
        assert_eq!(verify(&by(&pair, json!({})), &token), Err(AuthError::Signature), "{signing:?} as {named:?}");
    }
}

#[test]
fn what_the_public_knows_is_no_secret() {
    for algorithm in [RS256, ES256, EdDSA] {
        let pair = Pair::of(algorithm);
        let jwk = pair.jwk.to_string();
        let parts = ["n", "x", "y"].iter().filter_map(|part| pair.jwk[*part].as_str());
        for public in parts.chain([jwk.as_str()]) {
            for secret in [public.as_bytes().to_vec(), decode(public)] {
                let token = Pair::secret(&secret).token(HS256, &ann());
                assert_eq!(verify(&by(&pair, json!({})), &token), Err(AuthError::UnknownKey), "{algorithm:?}");
            }
        }
    }
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let payload = b64(ann().to_string());
    for alg in ["none", "None", "NONE"] {
        let header = b64(json!({ "alg": alg }).to_string());
        assert_eq!(verify(&by_secret(), &format!("{header}.{payload}.")), Err(AuthError::Malformed));
        assert_eq!(verify(&by_secret(), &format!("{header}.{payload}.AAAA")), Err(AuthError::Unsupported));
        let signed = Pair::secret(SECRET).sign(HS256, &json!({ "alg": alg }).to_string(), &ann().to_string());
        assert_eq!(verify(&by_secret(), &signed), Err(AuthError::Unsupported));
    }
    let header = b64(r#"{"alg":"HS256"}"#);
    assert_eq!(verify(&by_secret(), &format!("{header}.{payload}.AAAA")), Err(AuthError::Signature));
}

#[test]
fn an_algorithm_that_nobody_knows_is_not_supported() {
    for alg in ["", "hs256", "HS257", "ES512", "ES256K", "RSA-OAEP", "dir"] {
        let token = Pair::secret(SECRET).sign(HS256, &json!({ "alg": alg }).to_string(), &ann().to_string());
        assert_eq!(verify(&by_secret(), &token), Err(AuthError::Unsupported), "{alg}");
    }
}

#[test]
fn keys_that_a_header_brings_along_are_not_looked_at() {
    let mine = Pair::ed();
    let header = json!({"alg": "EdDSA", "jwk": mine.jwk, "jku": "https://example.com/jwks", "x5c": []}).to_string();
    let token = mine.sign(EdDSA, &header, &ann().to_string());
    assert_eq!(verify(&by(&Pair::of(EdDSA), json!({})), &token), Err(AuthError::Signature));
    assert_eq!(verify(&by_secret(), &token), Err(AuthError::UnknownKey));
}

#[test]
fn even_a_good_signature_does_not_excuse_a_second_spelling() {
    let sign = |header: &str, payload: &str| Pair::secret(SECRET).sign(HS256, header, payload);
    let twice = sign(r#"{"alg":"HS256","alg":"HS256"}"#, &ann().to_string());
    assert_eq!(verify(&by_secret(), &twice), Err(AuthError::Malformed));
    let twice = sign(r#"{"alg":"HS256"}"#, r#"{"sub":"ann","sub":"bob"}"#);
    assert_eq!(verify(&by_secret(), &twice), Err(AuthError::NotClaims));
    let extended = sign(r#"{"alg":"HS256","crit":["exp"]}"#, &ann().to_string());
    assert_eq!(verify(&by_secret(), &extended), Err(AuthError::Unsupported));

    let token = signed(&ann());
    assert!(verify(&by_secret(), &token).is_ok());
    let bits = token[..token.len() - 1].to_owned() + next(&token);
    for bad in [format!("{token}="), format!("{token}.AAAA"), format!(" {token}"), format!("{token}\n"), bits] {
        assert_eq!(verify(&by_secret(), &bad), Err(AuthError::Malformed), "{bad}");
    }
}

/// The last letter with a bit that belongs to no byte: of 43 letters for 32 bytes, two bits are left over.
fn next(token: &str) -> &'static str {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = LETTERS.find(&token[token.len() - 1..]).unwrap();
    &LETTERS[at + 1..at + 2]
}

#[test]
fn a_token_is_taken_until_just_before_it_expires() {
    let verifier = by_secret();
    let token = signed(&json!({"sub": "ann", "nbf": 100, "exp": 200}));
    let at = |millis| verifier.verify(&token, Duration::from_millis(millis)).map(|claims| claims.user_id);
    assert_eq!(at(99_999), Err(AuthError::NotYetValid));
    assert_eq!(at(100_000), Ok("ann".into()));
    assert_eq!(at(199_999), Ok("ann".into()));
    assert_eq!(at(200_000), Err(AuthError::Expired));
}

#[test]
fn leeway_is_for_both_ends_and_stays_with_the_claims() {
    let verifier = by_secret().leeway(Duration::from_secs(10));
    let token = signed(&json!({"sub": "ann", "nbf": 100, "exp": 200}));
    let at = |secs| verifier.verify(&token, Duration::from_secs(secs)).map(|claims| claims.valid_until());
    assert_eq!(at(89), Err(AuthError::NotYetValid));
    assert_eq!(at(90), Ok(Some(Duration::from_secs(210))));
    assert_eq!(at(209), Ok(Some(Duration::from_secs(210))));
    assert_eq!(at(210), Err(AuthError::Expired));
}

#[test]
fn a_time_of_another_type_is_refused_though_it_is_signed() {
    for claim in ["exp", "nbf", "iat"] {
        for bad in [json!("9999999999"), json!(null), json!([9_999_999_999_u64]), json!(true), json!(-1)] {
            let token = signed(&json!({"sub": "ann", claim: bad}));
            assert_eq!(
                verify(&by_secret(), &token),
                Err(AuthError::ClaimType { claim: claim.into() }),
                "{claim}: {bad}"
            );
        }
    }
}

#[test]
fn a_huge_token_is_refused_unread() {
    let token = |padding| signed(&json!({"sub": "ann", "x": "x".repeat(padding)}));
    assert!(verify(&by_secret(), &token(6_000)).is_ok());
    assert_eq!(verify(&by_secret(), &token(6_200)), Err(AuthError::TooLong));
    assert_eq!(verify(&by_secret(), &"A.".repeat(8 << 20)), Err(AuthError::TooLong));
}

#[test]
fn audience_and_issuer_are_looked_at_where_they_are_required() {
    let missing = |claim: &'static str| Err(AuthError::MissingClaim { claim: claim.into() });
    let wrong = |claim: &'static str| Err(AuthError::ClaimValue { claim: claim.into() });
    let token = |aud: Value, iss: Value| signed(&json!({"sub": "ann", "aud": aud, "iss": iss}));
    let verifier = by_secret().audience("chat").issuer("us");
    let user = |token: &str| verify(&verifier, token).map(|claims| String::from(&*claims.user_id));
    assert_eq!(user(&token(json!("chat"), json!("us"))), Ok("ann".into()));
    assert_eq!(user(&token(json!(["shop", "chat"]), json!("us"))), Ok("ann".into()));
    for aud in [json!("shop"), json!("chat "), json!([]), json!([["chat"]]), json!(null), json!({"chat": 1})] {
        assert_eq!(user(&token(aud.clone(), json!("us"))), wrong("aud"), "{aud}");
    }
    for iss in [json!("them"), json!(["us"]), json!(null)] {
        assert_eq!(user(&token(json!("chat"), iss.clone())), wrong("iss"), "{iss}");
    }
    assert_eq!(user(&signed(&json!({"sub": "ann", "iss": "us"}))), missing("aud"));
    assert_eq!(user(&signed(&json!({"sub": "ann", "aud": "chat"}))), missing("iss"));
    assert!(verify(&by_secret(), &token(json!("shop"), json!(7))).is_ok());
}

#[test]
fn the_names_of_claims_are_the_issuers() {
    let mut names = ClaimNames::default();
    (names.user_id, names.permissions) = ("uid".into(), "scope".into());
    let token = signed(&json!({"uid": "ann", "scope": "chat:read chat:write"}));
    let claims = verify(&by_secret().claim_names(names), &token).unwrap();
    assert!(claims.user_id == "ann" && claims.has_all_permissions(["chat:read", "chat:write"]));
    assert_eq!(verify(&by_secret(), &token), Err(AuthError::MissingClaim { claim: "sub".into() }));
}

#[test]
fn nothing_that_is_shown_has_a_secret_or_a_token_in_it() {
    let token = signed(&ann());
    let verifier = by_secret().audience("chat");
    let error = verify(&verifier, &token).unwrap_err();
    let key = Key::secret(SECRET).unwrap().with_id("k1");
    for shown in [format!("{verifier:?}"), format!("{key:?}"), format!("{error:?} {error}")] {
        assert!(!shown.contains("thirty") && !shown.contains("116, 104") && !shown.contains("eyJ"), "{shown}");
    }
    assert!(format!("{key:?}").contains("k1"));
}

/// Tokens with one part replaced, so that not all of them fail at the first look.
fn nearly(part: usize, by: &str) -> String {
    let token = signed(&ann());
    let mut parts: Vec<_> = token.split('.').collect();
    parts[part] = by;
    parts.join(".")
}

fn damaged() -> impl Strategy<Value = String> {
    let part =
        prop_oneof!["[A-Za-z0-9_-]{0,60}", "\\PC{0,20}".prop_map(b64), "\\{\"alg\":\"\\PC{0,5}\"\\}".prop_map(b64)];
    prop_oneof!["\\PC*", "[A-Za-z0-9_=.-]*", (0..3_usize, part).prop_map(|(at, by)| nearly(at, &by))]
}

proptest! {
    #[test]
    fn any_text_that_is_not_signed_is_refused(token in damaged()) {
        let genuine = signed(&ann());
        prop_assume!(token != genuine);
        let all: Vec<_> = [HS256, RS256, ES256, Algorithm::ES384, EdDSA].map(|each| Pair::of(each).jwk).into();
        let verifier = JwtVerifier::from_jwks(&jwks(&all)).unwrap();
        let error = verify(&verifier, &token).unwrap_err();
        prop_assert!(token.len() <= Jws::MAX_BYTES || error == AuthError::TooLong);
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(algorithm in prop::sample::select(&ALL[..]), at in 0.0..1.0, byte in 0_u8..128) {
        let pair = Pair::of(algorithm);
        let token = pair.token(algorithm, &ann());
        let mut bytes = token.clone().into_bytes();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verify(&by(&pair, json!({})), &changed).is_ok(), changed == token);
    }
}
