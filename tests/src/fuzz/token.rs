//! Tokens and their claims, read strictly and read naively.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_core::auth::{AuthError, ClaimNames, Claims, Jws};
use serde_json::Value;
use serde_json::value::RawValue;

/// Reads a token, and claims in a token: no panic, one spelling each, and nothing is read otherwise than a
/// parser reads it.
pub fn token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        compact_form(text);
    }
    claims(data);
}

fn compact_form(text: &str) {
    let Ok(jws) = Jws::read(text) else { return };
    let (signed, signature) = text.rsplit_once('.').expect("three parts");
    let (header, payload) = signed.split_once('.').expect("three parts");
    assert_eq!(jws.signed, signed.as_bytes());
    assert_eq!([payload, signature], [jws.payload.as_bytes(), &jws.signature].map(|part| URL_SAFE_NO_PAD.encode(part)));
    let header = URL_SAFE_NO_PAD.decode(header).expect("it was decoded before");
    let header = members(&header).expect("an object of different names");
    let said = |name| header.iter().find(|(member, _)| member == name).and_then(|(_, raw)| string(raw));
    assert_eq!(Some(&*jws.algorithm), said("alg").as_deref());
    assert_eq!(jws.key_id.as_deref(), said("kid").as_deref());
    assert!(!header.iter().any(|(name, _)| name == "crit") && jws.algorithm.to_lowercase() != "none");
}

fn claims(payload: &[u8]) {
    let parts = [br#"{"alg":"HS256"}"#, payload, b"signature"].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = parts.join(".");
    let read = match Jws::read(&token) {
        Ok(jws) => Claims::from_json(jws.payload, &ClaimNames::default()),
        Err(error) => {
            assert!(payload.is_empty() || payload.len() > 5_000 || std::str::from_utf8(payload).is_err(), "{error}");
            return;
        }
    };
    let members = members(payload);
    assert_eq!(members.is_none(), read == Err(AuthError::NotClaims), "{read:?}");
    let (Some(members), Ok(claims)) = (members, read) else { return };

    let raw = |name| members.iter().find(|(member, _)| member == name).map(|(_, raw)| &**raw);
    assert_eq!(raw("sub").and_then(string).as_deref(), Some(&*claims.user_id));
    let email = raw("email").and_then(string);
    assert_eq!(email.filter(|email| !email.is_empty()).as_deref(), claims.email.as_deref());
    let roles = ["role", "roles"].into_iter().filter_map(raw).flat_map(texts).filter(|role| !role.is_empty());
    assert!(claims.roles.iter().map(|role| String::from(&**role)).eq(roles));
    for (name, read) in [("exp", claims.expires_at), ("nbf", claims.not_before), ("iat", claims.issued_at)] {
        assert_eq!(read, raw(name).map(time), "{name}");
    }
}

/// The members of an object, none of them twice.
fn members(json: &[u8]) -> Option<Vec<(String, Box<RawValue>)>> {
    struct Pairs(Vec<(String, Box<RawValue>)>);
    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let Pairs(pairs) = serde_json::from_str(std::str::from_utf8(json).ok()?).ok()?;
    let names: BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
    (names.len() == pairs.len()).then_some(pairs)
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn texts(raw: &RawValue) -> Vec<String> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::String(text)) => vec![text],
        Ok(Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(Into::into)).collect(),
        _ => Vec::new(),
    }
}

/// Of a time that was taken.
fn time(raw: &RawValue) -> Duration {
    let time: serde_json::Number = serde_json::from_str(raw.get()).expect("a number");
    let secs = time.as_f64().expect("any number is one of these");
    time.as_u64().map_or_else(|| Duration::from_secs_f64(secs), Duration::from_secs)
}
