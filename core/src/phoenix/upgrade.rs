//! What an upgrade request's query says: pure, so that any HTTP stack can ask.

use alloc::string::String;
use core::fmt;

use super::endpoint::percent_decode;
use crate::wire::Serializer;

/// The serializer that a request target such as `/socket/websocket?vsn=2.0.0` asks for.
///
/// No `vsn` at all is 1.0.0, as in Phoenix. Phoenix answers an unsupported one with HTTP 403 and an
/// empty body (specification, section 1.2 and Appendix C).
///
/// # Errors
/// If there is a `vsn` that is neither `1.0.x` nor `2.0.x`.
pub fn serializer_of(target: &str) -> Result<Serializer, UnsupportedVsn> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let vsn = query.split('&').filter_map(|pair| pair.strip_prefix("vsn=")).next_back();
    let Some(vsn) = vsn else { return Ok(Serializer::V1) };
    let decoded = percent_decode(vsn).unwrap_or_default();
    let patch_of = |minor: &str| {
        let patch = decoded.strip_prefix(minor)?;
        (!patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit())).then_some(())
    };
    if patch_of("1.0.").is_some() {
        Ok(Serializer::V1)
    } else if patch_of("2.0.").is_some() {
        Ok(Serializer::V2)
    } else {
        Err(UnsupportedVsn(vsn.chars().take(32).collect()))
    }
}

/// The `vsn` that a client asked for and nobody here speaks; at most 32 characters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedVsn(pub String);

impl fmt::Display for UnsupportedVsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vsn {} is not supported; 1.0.0 and 2.0.0 are", self.0)
    }
}

impl core::error::Error for UnsupportedVsn {}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(serializer_of(target).ok(), serializer, "{target}");
        }
    }
}
