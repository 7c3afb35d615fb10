//! Claims as issuers write them, as nobody should, and as nobody would.

use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(json: &str) -> Result<Claims, AuthError> {
    Claims::from_json(Payload::unread_json(json.into()), &ClaimNames::default())
}

fn wrong(claim: &'static str) -> AuthError {
    AuthError::ClaimType { claim: Text::from_static(claim) }
}

fn at(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_token_of_supabase_is_read_whole() {
    let json = r#"{"aud":"authenticated","exp":1700003600,"iat":1700000000,"sub":"b7c1","email":"ann@example.com",
        "phone":"","app_metadata":{"provider":"email"},"role":"authenticated","is_anonymous":false}"#;
    let claims = read(json).unwrap();
    assert_eq!((claims.user_id.as_str(), claims.email.as_deref()), ("b7c1", Some("ann@example.com")));
    assert_eq!((claims.roles.as_slice(), claims.permissions.len()), (&[Text::from("authenticated")][..], 0));
    assert_eq!((claims.issued_at, claims.expires_at), (Some(at(1_700_000_000)), Some(at(1_700_003_600))));
    assert_eq!((claims.not_before, claims.leeway), (None, Duration::ZERO));
    assert_eq!(claims.payload.as_json(), Some(json));
}

#[test]
fn roles_and_permissions_are_one_text_or_a_list() {
    let lists = |json: &str| {
        let claims = read(&format!(r#"{{"sub":"ann",{json}}}"#))?;
        Ok([claims.roles, claims.permissions].map(|texts| texts.iter().map(|text| String::from(&**text)).collect()))
    };
    let ok = |roles: &[&str], permissions: &[&str]| {
        Ok([roles, permissions].map(|texts| texts.iter().map(|text| String::from(*text)).collect::<Vec<_>>()))
    };
    assert_eq!(lists(r#""role":"admin""#), ok(&["admin"], &[]));
    assert_eq!(lists(r#""role":["admin","owner"]"#), ok(&["admin", "owner"], &[]));
    assert_eq!(lists(r#""role":"a b","roles":["c","\u0064"]"#), ok(&["a b", "c", "d"], &[]));
    assert_eq!(lists(r#""permissions":["a b","c"]"#), ok(&[], &["a b", "c"]));
    assert_eq!(lists(r#""permissions":" read  write ""#), ok(&[], &["read", "write"]));
    assert_eq!(lists(r#""role":null,"roles":[""],"permissions":"""#), ok(&[], &[]));
    for (bad, claim) in [
        (r#""role":1"#, "role"),
        (r#""role":{"admin":true}"#, "role"),
        (r#""roles":["admin",null]"#, "roles"),
        (r#""roles":[["admin"]]"#, "roles"),
        (r#""permissions":true"#, "permissions"),
    ] {
        assert_eq!(lists(bad), Err(wrong(claim)), "{bad}");
    }
}

#[test]
fn a_token_of_nobody_is_refused() {
    for bad in ["{}", r#"{"sub":null}"#, r#"{"sub":""}"#, r#"{"user_id":"ann"}"#] {
        assert_eq!(read(bad), Err(AuthError::MissingClaim { claim: "sub".into() }), "{bad}");
    }
    for bad in ["1", "true", "[]", r#"["ann"]"#, "{}"] {
        assert_eq!(read(&format!(r#"{{"sub":{bad}}}"#)), Err(wrong("sub")), "{bad}");
    }
    assert_eq!(read(r#"{"sub":"ann","email":["ann@example.com"]}"#), Err(wrong("email")));
}

#[test]
fn a_time_of_the_wrong_type_is_refused_and_never_ignored() {
    for claim in ["exp", "nbf", "iat"] {
        for bad in ["\"1700000000\"", "null", "true", "[1700000000]", "{}", "-1", "1e999", "\"\""] {
            assert_eq!(read(&format!(r#"{{"sub":"ann","{claim}":{bad}}}"#)), Err(wrong(claim)), "{claim}: {bad}");
        }
        assert!(read(&format!(r#"{{"sub":"ann","{claim}":1700000000.25}}"#)).is_ok());
    }
}

#[test]
fn claims_are_one_object_of_different_names() {
    for bad in
        ["", "[]", "null", "\"sub\"", "{}{}", "{", r#"{"sub":"ann","sub":"bob"}"#, r#"{"sub":"ann","x":1,"x":1}"#]
    {
        assert_eq!(read(bad), Err(AuthError::NotClaims), "{bad}");
    }
    assert_eq!(read(r#"{"sub":"ann","exp":1,"e\u0078p":9999999999}"#), Err(AuthError::NotClaims));
    let binary = Payload::binary(Bytes::from_static(br#"{"sub":"ann"}"#));
    assert_eq!(Claims::from_json(binary, &ClaimNames::default()), Err(AuthError::NotClaims));
    let not_utf8 = Payload::unread_json(Text::assume_utf8(Bytes::from_static(b"{\"sub\":\"ann\"}\xff")));
    assert_eq!(Claims::from_json(not_utf8, &ClaimNames::default()), Err(AuthError::NotClaims));
}

#[test]
fn claims_may_have_other_names() {
    let mut names = ClaimNames::default();
    (names.user_id, names.email, names.permissions) = ("uid".into(), "mail".into(), "scope".into());
    names.roles = Vec::from(["groups".into()]);
    let json = r#"{"sub":1,"uid":"ann","mail":"a@b","scope":"read write","groups":["x"],"role":"admin"}"#;
    let claims = Claims::from_json(Payload::unread_json(json.into()), &names).unwrap();
    assert_eq!((claims.user_id.as_str(), claims.email.as_deref()), ("ann", Some("a@b")));
    assert!(claims.has_all_permissions(["read", "write"]) && claims.has_role("x") && !claims.has_role("admin"));
}

#[test]
fn a_token_is_valid_from_nbf_until_just_before_exp() {
    let mut claims = read(r#"{"sub":"ann","nbf":100,"exp":200}"#).unwrap();
    let just_before = |secs| at(secs) - Duration::from_nanos(1);
    assert_eq!(claims.check_times(just_before(100)), Err(AuthError::NotYetValid));
    assert_eq!(claims.check_times(at(100)), Ok(()));
    assert_eq!(claims.check_times(just_before(200)), Ok(()));
    assert_eq!(claims.check_times(at(200)), Err(AuthError::Expired));

    claims.leeway = at(10);
    assert_eq!(claims.check_times(just_before(90)), Err(AuthError::NotYetValid));
    assert_eq!(claims.check_times(at(90)), Ok(()));
    assert_eq!(claims.check_times(just_before(210)), Ok(()));
    assert_eq!(claims.check_times(at(210)), Err(AuthError::Expired));
    assert_eq!((claims.valid_until(), claims.expires_at), (Some(at(210)), Some(at(200))));

    let endless = read(r#"{"sub":"ann"}"#).unwrap();
    assert_eq!((endless.check_times(Duration::MAX), endless.valid_until()), (Ok(()), None));
}

#[test]
fn any_is_false_and_all_is_true_of_nothing() {
    let claims = Claims::new("ann");
    assert!(!claims.has_any_permission([""; 0]) && !claims.has_any_role([""; 0]));
    assert!(claims.has_all_permissions([""; 0]));
}

#[test]
fn debug_names_the_user_and_nothing_else_about_them() {
    let claims = read(r#"{"sub":"b7c1","email":"ann@example.com","role":"admin","name":"Ann","exp":1}"#).unwrap();
    assert_eq!(format!("{claims:?}"), r#"Claims { user_id: "b7c1", expires_at: Some(1s), .. }"#);
}

/// Values of every type, among them what claims should be.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(1, 4, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Value::from))
}

/// What a claim should be, most of the time.
fn mostly(right: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![6 => right, 1 => value()]
}

fn text() -> impl Strategy<Value = Value> {
    "\\PC{1,6}".prop_map(Value::from)
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(json in "\\PC*") {
        drop(read(&json));
    }

    #[test]
    fn any_values_are_read_as_a_parser_reads_them(
        sub in mostly(text()),
        email in mostly(text()),
        role in mostly(proptest::collection::vec(text(), 0..3).prop_map(Value::from)),
        permissions in mostly(text()),
        exp in mostly(any::<u64>().prop_map(Value::from)),
        nbf in mostly((0.0..1e12).prop_map(Value::from)),
    ) {
        let all = json!({"sub": sub, "email": email, "role": role, "permissions": permissions, "exp": exp, "nbf": nbf});
        let refused = [("exp", &exp), ("nbf", &nbf)].map(|(claim, time)| {
            (claim, time.as_f64().is_none_or(|secs| Duration::try_from_secs_f64(secs).is_err() && !time.is_u64()))
        });
        match read(&all.to_string()) {
            Ok(claims) => {
                prop_assert_eq!(Some(&*claims.user_id), sub.as_str());
                prop_assert_eq!(claims.email.as_deref().unwrap_or_default(), email.as_str().unwrap_or_default());
                let said = |held: &Text| role == **held || role.as_array().is_some_and(|all| all.contains(&json!(**held)));
                prop_assert!(claims.roles.iter().all(said), "{:?} of {role}", claims.roles);
                prop_assert!(refused.iter().all(|(_, refused)| !refused));
            }
            Err(AuthError::MissingClaim { claim }) => {
                prop_assert_eq!(claim, "sub");
                prop_assert!(sub.is_null() || sub == "");
            }
            Err(AuthError::ClaimType { claim }) => {
                let time = refused.iter().find(|(name, _)| claim == *name);
                prop_assert!(time.is_none_or(|(_, refused)| *refused), "{claim} of {all}");
                prop_assert!(claim != "sub" || !sub.is_string());
                prop_assert!(claim != "email" || !email.is_string());
            }
            Err(other) => prop_assert!(false, "{other} of {all}"),
        }
    }
}
