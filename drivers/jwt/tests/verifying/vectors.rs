//! The examples of the standards.

use std::time::Duration;

use rejoin_core::auth::{AuthError, ClaimNames, TokenVerifier};
use rejoin_jwt::{JwtVerifier, Key};
use serde_json::{Value, json};

/// `{"iss":"joe",…,"exp":1300819380,…}`, the payload of RFC 7515, A.1 to A.3.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXP: Duration = Duration::from_secs(1_300_819_380);

/// Takes the example until its last moment, and neither then nor with one bit changed.
#[track_caller]
fn holds(key: &Value, header: &str, signature: &str) {
    let mut names = ClaimNames::default();
    // Joe has no `sub`.
    names.user_id = "iss".into();
    let verifier = JwtVerifier::from_keys([Key::from_jwk(&key.to_string()).unwrap()]).unwrap().claim_names(names);
    let token = format!("{header}.{PAYLOAD}.{signature}");
    let claims = verifier.verify(&token, EXP - Duration::from_nanos(1)).unwrap();
    assert_eq!((claims.user_id.as_str(), claims.expires_at), ("joe", Some(EXP)));
    assert_eq!(claims.payload.parse::<Value>().unwrap()["http://example.com/is_root"], true);
    assert_eq!(verifier.verify(&token, EXP), Err(AuthError::Expired));

    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{header}.{PAYLOAD}.{first}{}", &signature[1..]);
    assert_eq!(verifier.verify(&forged, Duration::ZERO), Err(AuthError::Signature));
    let forged = token.replace("eyJpc3M", "eyJpc3N");
    assert_eq!(verifier.verify(&forged, Duration::ZERO), Err(AuthError::Signature));
}

#[test]
fn the_hs256_token_of_rfc_7515_a_1_is_taken() {
    let key = json!({
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    });
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    holds(&key, header, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

#[test]
fn the_rs256_token_of_rfc_7515_a_2_is_taken() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2\
        lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2\
        R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW\
        9gb54h4FRWyuXpoQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGb\
        ds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN938\
        3LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmt\
        VrBp0igcN_IoypGlUPQGe77Rw";
    holds(&json!({"kty": "RSA", "n": n, "e": "AQAB"}), "eyJhbGciOiJSUzI1NiJ9", signature);
}

#[test]
fn the_es256_token_of_rfc_7515_a_3_is_taken() {
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    holds(&key, "eyJhbGciOiJFUzI1NiJ9", signature);
}

/// Its payload is a sentence: that there are no claims in it is found out after the signature is good.
#[test]
fn the_eddsa_signature_of_rfc_8037_a_4_is_good() {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let verifier = JwtVerifier::from_keys([Key::from_jwk(&key.to_string()).unwrap()]).unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d\
        WbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verifier.verify(token, Duration::ZERO), Err(AuthError::NotClaims));
    assert_eq!(verifier.verify(&token.replace("RXhh", "RXhi"), Duration::ZERO), Err(AuthError::Signature));
}
