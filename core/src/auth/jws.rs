//! A signed token in its compact form, taken apart before anybody looks at the signature.

use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AuthError;
use super::json::{Members, string};
use crate::payload::Payload;
use crate::text::Text;

/// A token of three parts (RFC 7515, section 7.1), decoded; **nobody has verified it yet**.
///
/// The header is no more than a hint which key to try: whoever verifies takes the algorithm from
/// the key, and the payload is to be read as [`Claims`](super::Claims) only after the signature was found good.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jws<'t> {
    /// `alg` of the header, as the client wrote it, but never `none`.
    pub algorithm: Text,
    /// `kid` of the header, as the client wrote it.
    pub key_id: Option<Text>,
    /// What is signed, as JSON that nobody has parsed yet.
    pub payload: Payload,
    /// The signature.
    pub signature: Vec<u8>,
    /// The bytes that the signature is of: header and payload as they came.
    pub signed: &'t [u8],
}

impl<'t> Jws<'t> {
    /// The most bytes a token may have. It travels in a URL or a header, where 8 KiB is the usual end.
    pub const MAX_BYTES: usize = 8 << 10;

    /// Takes a token apart, as strictly as the standards allow: one token has one spelling.
    ///
    /// # Errors
    /// [`AuthError::TooLong`], [`AuthError::Malformed`], or [`AuthError::Unsupported`] for the algorithm
    /// `none` and for a header with `crit`, whose extensions one must know or refuse.
    pub fn read(token: &'t str) -> Result<Self, AuthError> {
        if token.len() > Self::MAX_BYTES {
            return Err(AuthError::TooLong);
        }
        let [header, payload, signature] = parts(token).ok_or(AuthError::Malformed)?;
        let signed = token.as_bytes().get(..header.len() + 1 + payload.len()).ok_or(AuthError::Malformed)?;

        let header = decode(header)?;
        let members = Members::parse(&header).ok_or(AuthError::Malformed)?;
        let text = |name| match members.get(name).map(string) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(Text::from(&*text))),
            Some(None) => Err(AuthError::Malformed),
        };
        let (algorithm, key_id) = (text("alg")?.ok_or(AuthError::Malformed)?, text("kid")?);
        if algorithm.eq_ignore_ascii_case("none") || members.get("crit").is_some() {
            return Err(AuthError::Unsupported);
        }
        let payload = Text::from_utf8(decode(payload)?.into()).map_err(|_| AuthError::NotClaims)?;
        let (payload, signature) = (Payload::unread_json(payload), decode(signature)?);
        Ok(Self { algorithm, key_id, payload, signature, signed })
    }
}

/// The size and nothing else: the parts together are the token.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jws(payload of {} B)", self.payload.len())
    }
}

/// The three parts between the dots, none of them empty.
pub(crate) fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let parts = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None) => [header, payload, signature],
        _ => return None,
    };
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

/// Without padding, and without bits behind the last byte: [`URL_SAFE_NO_PAD`] refuses both.
fn decode(part: &str) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, payload: &[u8]) -> String {
        format!("{}.{}.c2lnbmVk", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn error(token: &str) -> AuthError {
        Jws::read(token).unwrap_err()
    }

    #[test]
    fn a_token_is_its_header_its_payload_and_its_signature() {
        let token = token(r#"{"typ":"JWT","kid":"k\u0031","alg":"HS256"}"#, b"{\"sub\":\"ann\"}");
        let jws = Jws::read(&token).unwrap();
        assert_eq!((jws.algorithm.as_str(), jws.key_id.as_deref()), ("HS256", Some("k1")));
        assert_eq!((jws.payload.as_json(), &*jws.signature), (Some(r#"{"sub":"ann"}"#), &b"signed"[..]));
        assert_eq!(jws.signed, token.strip_suffix(".c2lnbmVk").unwrap().as_bytes());
        assert_eq!(format!("{jws:?}"), "Jws(payload of 13 B)");
    }

    #[test]
    fn three_parts_and_no_other_number_make_a_token() {
        for bad in
            ["", ".", "..", "a", "e30.e30", "e30.e30.", ".e30.e30", "e30..e30", "e30.e30.e30.e30", "e30.e30.e30."]
        {
            assert_eq!(error(bad), AuthError::Malformed, "{bad}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        // Of `{"alg":"HS256"}`, `{}` and one zero byte.
        assert!(Jws::read("eyJhbGciOiJIUzI1NiJ9.e30.AA").is_ok());
        for bad in ["e30=.AA", "e31.AA", "e30.AA==", "e30.AB", "e30.A", "e3+.AA", "e30. AA", "e30.AA\n", "e30.ÄA"] {
            assert_eq!(error(&format!("eyJhbGciOiJIUzI1NiJ9.{bad}")), AuthError::Malformed, "{bad}");
        }
    }

    #[test]
    fn the_header_is_an_object_of_different_names_with_an_algorithm() {
        for bad in [
            "{}",
            "[]",
            "{",
            r#"{"alg":256}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256","kid":null}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
            r#"{"alg":"none","\u0061lg":"HS256"}"#,
        ] {
            assert_eq!(error(&token(bad, b"{}")), AuthError::Malformed, "{bad}");
        }
    }

    #[test]
    fn no_algorithm_and_extensions_that_must_be_known_are_not_supported() {
        for alg in ["none", "None", "NONE", "nOnE"] {
            assert_eq!(error(&token(&format!(r#"{{"alg":"{alg}"}}"#), b"{}")), AuthError::Unsupported, "{alg}");
        }
        for crit in [r#"["b64"]"#, "[]", "null"] {
            let header = format!(r#"{{"alg":"HS256","b64":false,"crit":{crit}}}"#);
            assert_eq!(error(&token(&header, b"{}")), AuthError::Unsupported, "{crit}");
        }
    }

    #[test]
    fn a_token_has_at_most_eight_kibibytes() {
        let longest = format!("eyJhbGciOiJIUzI1NiJ9.{}.AA", "A".repeat(Jws::MAX_BYTES - 24));
        assert_eq!(longest.len(), Jws::MAX_BYTES);
        assert!(Jws::read(&longest).is_ok());
        assert_eq!(error(&format!("{longest}A")), AuthError::TooLong);
        assert_eq!(error(&".".repeat(10 << 20)), AuthError::TooLong);
    }

    #[test]
    fn a_payload_that_is_not_text_has_no_claims() {
        assert_eq!(error(&token(r#"{"alg":"HS256"}"#, b"{}\xff")), AuthError::NotClaims);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in "\\PC*|[A-Za-z0-9_.-]*") {
            drop(Jws::read(&text));
        }

        #[test]
        fn what_is_taken_apart_can_be_put_together_again(
            header in "\\{\"alg\":\"[HRPE]S(256|384)\"(,\"kid\":\"[a-z]*\")?\\}",
            payload in "\\PC{1,20}",
            signature in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let parts = [header.as_bytes(), payload.as_bytes(), &signature].map(|part| URL_SAFE_NO_PAD.encode(part));
            let token = parts.join(".");
            let jws = Jws::read(&token).unwrap();
            prop_assert_eq!(jws.payload.as_bytes(), payload.as_bytes());
            prop_assert_eq!(jws.signed, token.rsplit_once('.').unwrap().0.as_bytes());
            prop_assert_eq!(jws.signature, signature);
        }
    }
}
