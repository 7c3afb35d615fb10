//! The version of the protocol that a client asks for, which decides how messages are written.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use super::params::last;
use crate::wire::Serializer;

/// The serializer that a request target such as `/socket/websocket?vsn=2.0.0` asks for.
///
/// No `vsn` at all is 1.0.0, as in Phoenix. Phoenix answers an unsupported one with HTTP 403 and an
/// empty body (specification, section 1.2 and Appendix C). [`UpgradeConfig`](super::UpgradeConfig)
/// looks at the rest of the request too.
///
/// # Errors
/// If there is a `vsn` that is neither `1.0.x` nor `2.0.x`.
pub fn serializer_of(target: &str) -> Result<Serializer, UnsupportedVsn> {
    serializer(target.split_once('?').map_or("", |(_, query)| query))
}

/// The same of the query alone.
pub(super) fn serializer(query: &str) -> Result<Serializer, UnsupportedVsn> {
    match last(query, "vsn") {
        None => Ok(Serializer::V1),
        Some(Ok(vsn)) => vsn.parse(),
        Some(Err(vsn)) => Err(UnsupportedVsn::of(vsn)),
    }
}

/// `1.0.x` or `2.0.x`, as Phoenix itself matches a `vsn`.
impl FromStr for Serializer {
    type Err = UnsupportedVsn;

    fn from_str(vsn: &str) -> Result<Self, UnsupportedVsn> {
        let is = |minor: &str| {
            let patch = vsn.strip_prefix(minor).unwrap_or_default();
            !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit())
        };
        if is("1.0.") {
            Ok(Self::V1)
        } else if is("2.0.") {
            Ok(Self::V2)
        } else {
            Err(UnsupportedVsn::of(vsn))
        }
    }
}

/// The `vsn` that a client asked for and nobody here speaks; at most 32 characters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedVsn(pub String);

impl UnsupportedVsn {
    fn of(vsn: &str) -> Self {
        Self(vsn.chars().take(32).collect())
    }
}

impl fmt::Display for UnsupportedVsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A stranger's words, which shall not write lines of their own into a log.
        write!(f, "vsn {} is not supported; 1.0.0 and 2.0.0 are", self.0.escape_debug())
    }
}

impl core::error::Error for UnsupportedVsn {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn vsn_chooses_the_serializer_as_in_phoenix() {
        for (target, serializer) in [
            ("/socket/websocket", Some(Serializer::V1)),
            ("/socket/websocket?a=b", Some(Serializer::V1)),
            ("/socket/websocket?vsn=1.0.0", Some(Serializer::V1)),
            ("/socket/websocket?a=b&vsn=2.0.0&c", Some(Serializer::V2)),
            ("/socket/websocket?vsn=2%2E0.7", Some(Serializer::V2)),
            ("/socket/websocket?vsn=2.1.0", None),
            ("/socket/websocket?vsn=2.0.0-rc.1", None),
            ("/socket/websocket?vsn=0.9", None),
            ("/socket/websocket?vsn=", None),
            ("/socket/websocket?vsn=2.0.", None),
            ("/socket/websocket?vsn=%", None),
            ("/socket/websocket?vsn", None),
            ("/socket/websocket?vsn=2.0.0&vsn=3", None),
            ("/socket/websocket?vsn=3&%76sn=2.0.0", Some(Serializer::V2)),
        ] {
            assert_eq!(serializer_of(target).ok(), serializer, "{target}");
        }
    }

    #[test]
    fn a_vsn_other_than_the_two_is_named() {
        for serializer in [Serializer::V1, Serializer::V2] {
            assert_eq!(serializer.vsn().parse(), Ok(serializer));
        }
        let error = "3.0.0".parse::<Serializer>().unwrap_err();
        assert_eq!(error.to_string(), "vsn 3.0.0 is not supported; 1.0.0 and 2.0.0 are");
        let error = serializer_of("/socket/websocket?vsn=3%0A2026-01-01%20all%20is%20well").unwrap_err();
        assert_eq!(error.to_string(), r"vsn 3\n2026-01-01 all is well is not supported; 1.0.0 and 2.0.0 are");
        assert_eq!("9".repeat(99).parse::<Serializer>().unwrap_err().0.len(), 32);
    }
}
