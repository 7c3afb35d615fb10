//! The two credentials: the key says which project, the token says which user.

use core::fmt;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::{Members, numeric_date, parts};
use crate::text::Text;

/// A JWT that says who the user is.
///
/// It is checked for its shape, and its times are read, but its signature is the server's business.
///
/// ```
/// use rejoin_core::supabase::{AccessToken, TokenError};
///
/// let token = AccessToken::new("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjIwODI3NTg0MDB9.c2lnbmVk")?;
/// assert_eq!(token.expires_at().map(|at| at.as_secs()), Some(2_082_758_400));
/// assert_eq!(format!("{token:?}"), "AccessToken(.., exp 2082758400)");
///
/// assert_eq!(AccessToken::new("sb_publishable_1"), Err(TokenError::ApiKey));
/// # Ok::<(), TokenError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    text: Text,
    expires_at: Option<Duration>,
    issued_at: Option<Duration>,
}

impl AccessToken {
    /// The most bytes a token may have. Issuers stay far below; a file pasted by mistake does not.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Takes a token, without the white space around it, which a copied token often has.
    ///
    /// It must be three parts of base64url without padding, joined by dots, and the middle one a JSON
    /// object of different names. An `exp` that is missing or null means that it never expires, as far
    /// as we know; an `iat` that cannot be read counts as missing, for nothing but the choice of a time
    /// to renew depends on it.
    ///
    /// # Errors
    /// If it has another shape, or an `exp` that is no time after 1970.
    pub fn new(text: impl Into<Text>) -> Result<Self, TokenError> {
        let text = trimmed(text.into()).ok_or(TokenError::NotAJwt)?;
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        if text.starts_with("sb_") {
            return Err(TokenError::ApiKey);
        }
        let claims = URL_SAFE_NO_PAD.decode(claims_part(&text)?).map_err(|_| TokenError::NotAJwt)?;
        let claims = Members::parse(&claims).ok_or(TokenError::Claims)?;
        let positive = |raw| numeric_date(raw).filter(|time| !time.is_zero());
        let expires_at = match claims.get_non_null("exp") {
            Some(exp) => Some(positive(exp).ok_or(TokenError::Expiry)?),
            None => None,
        };
        let issued_at = claims.get("iat").and_then(positive);
        Ok(Self { text, expires_at, issued_at })
    }

    /// The token itself, a secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    pub(crate) const fn text(&self) -> &Text {
        &self.text
    }

    /// When it expires (`exp`), since the Unix epoch; `None` if it does not say.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Duration> {
        self.expires_at
    }

    /// When it was issued (`iat`), since the Unix epoch; `None` if it does not say.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Duration> {
        self.issued_at
    }

    /// Whether a server whose clock reads `unix_now` refuses it: `exp` itself is too late
    /// (specification, section 1.5).
    #[must_use]
    pub fn is_expired(&self, unix_now: Duration) -> bool {
        self.expires_at.is_some_and(|at| at <= unix_now)
    }
}

/// When it expires, at most: the rest is secret.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expires_at {
            Some(at) => write!(f, "AccessToken(.., exp {})", at.as_secs()),
            None => f.write_str("AccessToken(..)"),
        }
    }
}

/// Why a text is not an access token. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// There is nothing, or nothing but white space.
    Empty,
    /// More than [`AccessToken::MAX_BYTES`].
    TooLong,
    /// It starts with `sb_` and so is an API key; servers ignore one in a token's place
    /// (specification, section 1.4).
    ApiKey,
    /// It is not three parts of base64url joined by dots.
    NotAJwt,
    /// The middle part is not a JSON object, or has a name twice.
    Claims,
    /// The claim `exp` is not a positive number of seconds.
    Expiry,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the access token is empty; give a user's JWT, or none"),
            Self::TooLong => {
                write!(f, "the access token is longer than {} bytes; give the JWT alone", AccessToken::MAX_BYTES)
            }
            Self::ApiKey => f.write_str("this is an API key (sb_…) and not an access token; give it as the API key"),
            Self::NotAJwt => f.write_str(
                "the access token is not a JWT; give three parts joined by dots, without quotes and without `Bearer`",
            ),
            Self::Claims => {
                f.write_str("the access token's claims are not a JSON object; take a complete, fresh token")
            }
            Self::Expiry => f.write_str("the access token's `exp` is not a positive number of seconds; issue it anew"),
        }
    }
}

impl core::error::Error for TokenError {}

/// The project's key, sent when the connection is opened: a JWT or a text such as `sb_publishable_…`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Text);

impl ApiKey {
    /// Takes a key, without the white space around it.
    ///
    /// # Errors
    /// If there is none, or it has characters that no header could carry.
    pub fn new(text: impl Into<Text>) -> Result<Self, ApiKeyError> {
        let text = trimmed(text.into()).ok_or(ApiKeyError::Characters)?;
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if !text.as_bytes().iter().all(u8::is_ascii_graphic) {
            return Err(ApiKeyError::Characters);
        }
        Ok(Self(text))
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why a text is not an API key. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// There is nothing, or nothing but white space.
    Empty,
    /// Something in it is not a visible ASCII character.
    Characters,
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the apikey is missing; give the project's anon or publishable key",
            Self::Characters => "the apikey has a space or another character that keys do not have; copy it again",
        })
    }
}

impl core::error::Error for ApiKeyError {}

/// Without the white space around it; `None` if the bytes are not UTF-8.
fn trimmed(text: Text) -> Option<Text> {
    let all = core::str::from_utf8(text.as_bytes()).ok()?;
    Some(text.slice_ref(all.trim()))
}

/// The middle one of three parts, after a look at the letters of the other two.
fn claims_part(text: &str) -> Result<&str, TokenError> {
    let [header, claims, signature] = parts(text).ok_or(TokenError::NotAJwt)?;
    let legal = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if legal(header) && legal(claims) && legal(signature) { Ok(claims) } else { Err(TokenError::NotAJwt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJIUzI1NiJ9.{}.c2lnbmVk", URL_SAFE_NO_PAD.encode(claims))
    }

    fn expiry(claims: &str) -> Result<Option<Duration>, TokenError> {
        AccessToken::new(jwt(claims)).map(|token| token.expires_at())
    }

    #[test]
    fn the_expiry_is_any_positive_number_or_missing() {
        let secs = Duration::from_secs;
        assert_eq!(expiry(r#"{"exp":2082758400}"#), Ok(Some(secs(2_082_758_400))));
        assert_eq!(expiry(r#"{"exp":2082758400.5}"#), Ok(Some(secs(2_082_758_400) + Duration::from_millis(500))));
        assert_eq!(expiry(r#"{"exp":2e9}"#), Ok(Some(secs(2_000_000_000))));
        assert_eq!(expiry(r#"{"role":"anon"}"#), Ok(None));
        assert_eq!(expiry(r#"{"exp":null}"#), Ok(None));
        for bad in ["0", "-1", "0.0", "-0.5", "1e999", "1e40", r#""2082758400""#, "true", "[1]", "{}"] {
            assert_eq!(expiry(&format!(r#"{{"exp":{bad}}}"#)), Err(TokenError::Expiry), "{bad}");
        }
    }

    #[test]
    fn a_token_expires_in_the_second_that_it_names() {
        let token = AccessToken::new(jwt(r#"{"exp":1000,"iat":400}"#)).unwrap();
        assert!(!token.is_expired(Duration::from_millis(999_999)));
        assert!(token.is_expired(Duration::from_secs(1000)));
        assert_eq!(token.issued_at(), Some(Duration::from_secs(400)));
        assert!(!AccessToken::new(jwt("{}")).unwrap().is_expired(Duration::MAX));
    }

    #[test]
    fn a_time_of_issue_that_cannot_be_read_is_missing() {
        for claims in [r#"{"iat":"yesterday"}"#, r#"{"iat":-1}"#, r#"{"iat":null}"#, "{}"] {
            assert_eq!(AccessToken::new(jwt(claims)).unwrap().issued_at(), None, "{claims}");
        }
    }

    #[test]
    fn white_space_around_a_credential_is_not_part_of_it() {
        let text = jwt("{}");
        let token = AccessToken::new(format!(" \r\n{text}\n")).unwrap();
        assert_eq!(token.expose(), text);
        assert_eq!(token, AccessToken::new(text).unwrap());
        assert_eq!(ApiKey::new("\tsb_publishable_1\n").unwrap().expose(), "sb_publishable_1");
    }

    #[test]
    fn what_is_not_a_token_is_named() {
        let error = |text: &str| AccessToken::new(text).unwrap_err();
        assert_eq!(error(""), TokenError::Empty);
        assert_eq!(error(" \n"), TokenError::Empty);
        assert_eq!(error("sb_secret_x"), TokenError::ApiKey);
        assert_eq!(error(&"a".repeat(AccessToken::MAX_BYTES + 1)), TokenError::TooLong);
        let two_tokens = format!("{0} {0}", jwt("{}"));
        for bad in ["a", "e30.e30", "e30.e30.", ".e30.e30", "e30..e30", "e30.e30.e30.e30", "e30.e30=.e30", "é.e30.e30"]
        {
            assert_eq!(error(bad), TokenError::NotAJwt, "{bad}");
        }
        for bad in [&two_tokens, "Bearer e30.e30.e30", "\"e30.e30.e30\"", "e30.e3+.e30", "e30.e.e30"] {
            assert_eq!(error(bad), TokenError::NotAJwt, "{bad}");
        }
        assert_eq!(error(&jwt("")), TokenError::NotAJwt);
        for bad in ["[]", "1", "\"{}\"", "null", "{", "{}{}", r#"{"exp":1,"exp":2}"#] {
            assert_eq!(error(&jwt(bad)), TokenError::Claims, "{bad}");
        }
        let not_utf8 = Text::assume_utf8([jwt("{}").as_bytes(), b"\xff"].concat().into());
        assert_eq!(AccessToken::new(not_utf8), Err(TokenError::NotAJwt));
    }

    #[test]
    fn what_is_not_a_key_is_named() {
        assert_eq!(ApiKey::new(" \n"), Err(ApiKeyError::Empty));
        for bad in ["a b", "a\nb", "clé", "a\0"] {
            assert_eq!(ApiKey::new(bad), Err(ApiKeyError::Characters), "{bad:?}");
        }
        assert!(ApiKeyError::Empty.to_string().contains("apikey"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = AccessToken::new(jwt(r#"{"exp":1000}"#)).unwrap();
        assert_eq!(format!("{token:?}"), "AccessToken(.., exp 1000)");
        assert_eq!(format!("{:?}", AccessToken::new(jwt("{}")).unwrap()), "AccessToken(..)");
        assert_eq!(format!("{:?}", ApiKey::new("sb_publishable_1").unwrap()), "ApiKey(..)");
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_a_named_error(text in "\\PC*|(sb_)?[A-Za-z0-9_=. \n-]*") {
            if let Err(error) = AccessToken::new(text.as_str()) {
                prop_assert!(text.len() < 24 || !error.to_string().contains(&text));
            }
            if let Ok(key) = ApiKey::new(text.as_str()) {
                prop_assert_eq!(key.expose(), text.trim());
            }
        }

        #[test]
        fn any_claims_are_read_or_refused_and_never_shown(claims in "\\{(\"exp\":)?[-0-9.eE]{0,12}\\}|\\PC*") {
            let text = jwt(&claims);
            match AccessToken::new(text.as_str()) {
                Ok(token) => {
                    prop_assert_eq!(token.expose(), &text);
                    let shown = format!("{token:?}");
                    prop_assert!(!shown.contains("eyJ"), "{}", shown);
                }
                Err(error) => {
                    prop_assert!(matches!(error, TokenError::NotAJwt | TokenError::Claims | TokenError::Expiry));
                }
            }
        }
    }
}
