//! What a verified token says about its user, and for how long.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::AuthError;
use super::json::{Members, numeric_date, string, strings};
use crate::payload::Payload;
use crate::text::Text;

/// What a verified token says about its user. All times are since the Unix epoch.
///
/// ```
/// use std::time::Duration;
/// use rejoin_core::Payload;
/// use rejoin_core::auth::{AuthError, ClaimNames, Claims};
///
/// let payload = Payload::from_json_text(r#"{"sub":"ann","role":"admin","exp":1700000000,"room":7}"#)?;
/// let claims = Claims::from_json(payload, &ClaimNames::default())?;
/// assert_eq!(claims.user_id, "ann");
/// assert!(claims.has_role("admin") && claims.permissions.is_empty());
/// assert_eq!(claims.check_times(Duration::from_secs(1_700_000_000)), Err(AuthError::Expired));
///
/// #[derive(serde::Deserialize)]
/// struct Mine { room: u32 }
/// assert_eq!(claims.payload.parse::<Mine>()?.room, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// Who it is; never empty out of [`Claims::from_json`].
    pub user_id: Text,
    /// The user's address.
    pub email: Option<Text>,
    /// What the user is, such as `admin`.
    pub roles: Vec<Text>,
    /// What the user may do, such as `chat:write`.
    pub permissions: Vec<Text>,
    /// From when on it is refused (`exp`); `None` for never.
    pub expires_at: Option<Duration>,
    /// Until when it is refused (`nbf`).
    pub not_before: Option<Duration>,
    /// When it was issued (`iat`).
    pub issued_at: Option<Duration>,
    /// By how much the clocks of issuer and server may differ; zero by default, for a token is to be
    /// refused when it says so. A verifier sets it, so that whoever looks at the claims later, such
    /// as a timer or a [`Requirement`](super::Requirement), does not refuse what was let in.
    pub leeway: Duration,
    /// All claims, those above among them.
    pub payload: Payload,
}

impl Claims {
    /// Claims of this user and nothing else, with `{}` as payload, for verifiers of other tokens than JWTs.
    #[must_use]
    pub fn new(user_id: impl Into<Text>) -> Self {
        Self {
            user_id: user_id.into(),
            email: None,
            roles: Vec::new(),
            permissions: Vec::new(),
            expires_at: None,
            not_before: None,
            issued_at: None,
            leeway: Duration::ZERO,
            payload: Payload::EMPTY,
        }
    }

    /// Reads the payload of a token **whose signature was verified**. Its times are read, but not checked.
    ///
    /// The user id is a text that is not empty. The email is a text, each claim of roles a text or a
    /// list of texts, the permissions a list of texts or a text of several with spaces between them
    /// (RFC 8693, section 4.2). Of these, what is missing, null or an empty text is not there. `exp`,
    /// `nbf` and `iat` are numbers of seconds, or missing (RFC 7519, section 4.1): a time that cannot be
    /// read is no time that may be ignored.
    ///
    /// # Errors
    /// [`AuthError::NotClaims`] if it is not a JSON object of different names,
    /// [`AuthError::MissingClaim`] without a user id, [`AuthError::ClaimType`] for any other type.
    pub fn from_json(payload: Payload, names: &ClaimNames) -> Result<Self, AuthError> {
        let json = payload.as_text().ok_or(AuthError::NotClaims)?;
        let reader = Reader { json, members: Members::parse(json.as_bytes()).ok_or(AuthError::NotClaims)? };
        let mut roles = Vec::new();
        for name in &names.roles {
            roles.extend(reader.texts(name, |text| Vec::from([text]))?);
        }
        let of_spaces = |text: Text| text.split(' ').map(|word| text.slice_ref(word)).collect();
        Ok(Self {
            user_id: reader.text(&names.user_id)?.ok_or(AuthError::MissingClaim { claim: names.user_id.clone() })?,
            email: reader.text(&names.email)?,
            roles,
            permissions: reader.texts(&names.permissions, of_spaces)?,
            expires_at: reader.time("exp")?,
            not_before: reader.time("nbf")?,
            issued_at: reader.time("iat")?,
            leeway: Duration::ZERO,
            payload,
        })
    }

    /// Whether they are valid at `now`, the time since the Unix epoch, with their leeway.
    ///
    /// # Errors
    /// [`AuthError::Expired`] from `exp` on, [`AuthError::NotYetValid`] before `nbf`.
    pub fn check_times(&self, now: Duration) -> Result<(), AuthError> {
        if self.is_expired(now) {
            return Err(AuthError::Expired);
        }
        match self.not_before {
            Some(at) if at > now.saturating_add(self.leeway) => Err(AuthError::NotYetValid),
            _ => Ok(()),
        }
    }

    /// From when on [`Claims::is_expired`]: `exp` and the leeway. It is the time for a session's timer.
    #[must_use]
    pub fn valid_until(&self) -> Option<Duration> {
        self.expires_at.map(|at| at.saturating_add(self.leeway))
    }

    /// Whether they have expired at `now`, the time since the Unix epoch: `exp` itself is too late
    /// (upgrade-handler specification, section 3.4).
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.valid_until().is_some_and(|at| at <= now)
    }

    /// Whether the user has this permission.
    #[must_use]
    pub fn has_permission(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| held == permission)
    }

    /// Whether the user has one of these permissions; of none, nobody has one.
    #[must_use]
    pub fn has_any_permission(&self, permissions: impl IntoIterator<Item: AsRef<str>>) -> bool {
        permissions.into_iter().any(|permission| self.has_permission(permission.as_ref()))
    }

    /// Whether the user has all these permissions; of none, everybody has all.
    #[must_use]
    pub fn has_all_permissions(&self, permissions: impl IntoIterator<Item: AsRef<str>>) -> bool {
        permissions.into_iter().all(|permission| self.has_permission(permission.as_ref()))
    }

    /// Whether the user has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// Whether the user has one of these roles; of none, nobody has one.
    #[must_use]
    pub fn has_any_role(&self, roles: impl IntoIterator<Item: AsRef<str>>) -> bool {
        roles.into_iter().any(|role| self.has_role(role.as_ref()))
    }
}

/// The user id and the expiry, without which nobody could be helped. All else is personal or may be:
/// addresses, names and pictures are common claims, and roles tell what somebody does.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("user_id", &self.user_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// How an issuer calls the claims that are read. `exp`, `nbf` and `iat` have these names everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimNames {
    /// `sub` by default.
    pub user_id: Text,
    /// `email` by default.
    pub email: Text,
    /// `role` and `roles` by default; what all of them say counts.
    pub roles: Vec<Text>,
    /// `permissions` by default; OAuth calls them `scope`.
    pub permissions: Text,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let [user_id, email, role, roles, permissions] =
            ["sub", "email", "role", "roles", "permissions"].map(Text::from_static);
        Self { user_id, email, roles: Vec::from([role, roles]), permissions }
    }
}

/// The members of a payload as the types that claims have, all of them slices of it.
struct Reader<'a> {
    json: &'a Text,
    members: Members<'a>,
}

impl Reader<'_> {
    fn text(&self, name: &Text) -> Result<Option<Text>, AuthError> {
        let Some(raw) = self.members.get_non_null(name) else { return Ok(None) };
        let text = string(raw).ok_or_else(|| wrong_type(name))?;
        Ok(Some(self.slice(text)).filter(|text| !text.is_empty()))
    }

    /// A list of texts, or one text that `split` makes a list of.
    fn texts(&self, name: &Text, split: impl Fn(Text) -> Vec<Text>) -> Result<Vec<Text>, AuthError> {
        let Some(raw) = self.members.get_non_null(name) else { return Ok(Vec::new()) };
        let mut texts = match strings(raw) {
            Some(texts) => texts.into_iter().map(|text| self.slice(text)).collect(),
            None => split(self.slice(string(raw).ok_or_else(|| wrong_type(name))?)),
        };
        texts.retain(|text| !text.is_empty());
        Ok(texts)
    }

    fn time(&self, name: &'static str) -> Result<Option<Duration>, AuthError> {
        let Some(raw) = self.members.get(name) else { return Ok(None) };
        numeric_date(raw).map(Some).ok_or_else(|| wrong_type(&Text::from_static(name)))
    }

    fn slice(&self, text: Cow<'_, str>) -> Text {
        match text {
            Cow::Borrowed(text) => self.json.slice_ref(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

fn wrong_type(name: &Text) -> AuthError {
    AuthError::ClaimType { claim: name.clone() }
}

#[cfg(test)]
mod tests;
