//! What claims must have to be let in.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::Claims;
use crate::text::Text;

/// What a user must be allowed, on top of having a token; by default nothing more.
///
/// ```
/// use std::time::Duration;
/// use rejoin_core::auth::{Claims, Denied, Requirement};
///
/// let moderators = Requirement::default().permission("chat:write").role("moderator").role("admin");
/// let mut ann = Claims::new("ann");
/// assert_eq!(moderators.check(&ann, Duration::ZERO), Err(Denied::Permissions));
///
/// ann.permissions = vec!["chat:read".into(), "chat:write".into()];
/// ann.roles = vec!["admin".into()];
/// assert_eq!(moderators.check(&ann, Duration::ZERO), Ok(()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// All of these; none by default.
    pub permissions: Vec<Text>,
    /// One of these at least, unless there are none, which is the default.
    pub roles: Vec<Text>,
    /// Whether a token may have expired since it was verified; `false` by default.
    pub allow_expired: bool,
}

impl Requirement {
    /// The same, and this permission, too.
    #[must_use]
    pub fn permission(mut self, permission: impl Into<Text>) -> Self {
        self.permissions.push(permission.into());
        self
    }

    /// The same, with one more role that suffices.
    #[must_use]
    pub fn role(mut self, role: impl Into<Text>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Whether the claims suffice; `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// With the first reason in this order: expiry, permissions, roles (upgrade-handler specification, section 3.5).
    pub fn check(&self, claims: &Claims, now: Duration) -> Result<(), Denied> {
        if !self.allow_expired && claims.is_expired(now) {
            Err(Denied::Expired)
        } else if !claims.has_all_permissions(&self.permissions) {
            Err(Denied::Permissions)
        } else if !self.roles.is_empty() && !claims.has_any_role(&self.roles) {
            Err(Denied::Roles)
        } else {
            Ok(())
        }
    }
}

/// Why a user whose token is good may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The token has expired meanwhile.
    Expired,
    /// One of the required permissions is missing at least.
    Permissions,
    /// The user has none of the roles of which one is required.
    Roles,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the token has expired; take a fresh one",
            Self::Permissions => "a required permission is missing; take a token that has them all",
            Self::Roles => "the required role is missing; take a token that has one of them",
        })
    }
}

impl core::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn texts(all: &[&str]) -> Vec<Text> {
        all.iter().map(|text| Text::from(*text)).collect()
    }

    #[test]
    fn the_first_reason_is_expiry_then_permissions_then_roles() {
        let requirement = Requirement::default().permission("write").role("admin").role("owner");
        let mut claims = Claims::new("ann");
        claims.expires_at = Some(Duration::from_secs(100));
        let [before, at] = [99, 100].map(Duration::from_secs);
        assert_eq!(requirement.check(&claims, at), Err(Denied::Expired));
        assert_eq!(requirement.check(&claims, before), Err(Denied::Permissions));
        claims.permissions = texts(&["read", "write"]);
        assert_eq!(requirement.check(&claims, before), Err(Denied::Roles));
        claims.roles = texts(&["owner"]);
        assert_eq!(requirement.check(&claims, before), Ok(()));
        assert_eq!(requirement.check(&claims, at), Err(Denied::Expired));
        let lenient = Requirement { allow_expired: true, ..requirement };
        assert_eq!(lenient.check(&claims, at), Ok(()));
    }

    #[test]
    fn nothing_is_required_by_default_but_to_be_in_time() {
        let (nothing, mut claims) = (Requirement::default(), Claims::new("ann"));
        assert_eq!(nothing.check(&claims, Duration::MAX), Ok(()));
        claims.expires_at = Some(Duration::ZERO);
        assert_eq!(nothing.check(&claims, Duration::ZERO), Err(Denied::Expired));
    }

    #[test]
    fn each_reason_has_words_of_its_own() {
        let words: BTreeSet<_> =
            [Denied::Expired, Denied::Permissions, Denied::Roles].iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 3);
    }

    proptest! {
        #[test]
        fn all_permissions_and_any_role_are_what_sets_say(
            wanted in proptest::collection::btree_set("[a-d]", 0..3),
            held in proptest::collection::btree_set("[a-d]", 0..4),
        ) {
            let list = |set: &BTreeSet<_>| set.iter().map(|text: &alloc::string::String| Text::from(&**text)).collect();
            let mut claims = Claims::new("ann");
            (claims.permissions, claims.roles) = (list(&held), list(&held));
            let permissions = Requirement { permissions: list(&wanted), ..Requirement::default() };
            prop_assert_eq!(permissions.check(&claims, Duration::ZERO).is_ok(), wanted.is_subset(&held));
            let roles = Requirement { roles: list(&wanted), ..Requirement::default() };
            let let_in = wanted.is_empty() || !wanted.is_disjoint(&held);
            prop_assert_eq!(roles.check(&claims, Duration::ZERO).is_ok(), let_in);
            prop_assert_eq!(claims.has_any_permission(&wanted), !wanted.is_disjoint(&held));
        }
    }
}
