//! The token that a client brings, and the places where it may be.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Params, RequestHead, Unfit};
use crate::machine::TransportKind;
use crate::text::Text;

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// What Phoenix's clients put before a token that is a subprotocol (specification, section 1.3).
const SUBPROTOCOL: &str = "base64url.bearer.phx.";

/// Where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenSource {
    /// A parameter of the query. It is in the URL, and so in the logs of every proxy.
    Query(Text),
    /// A header of its own.
    Header(Text),
    /// The header `Authorization: Bearer`.
    Bearer,
    /// Phoenix's `auth_token`: the subprotocol `base64url.bearer.phx.` of a WebSocket, the header
    /// `x-phoenix-authtoken` of a long-poll (specification, section 1.3).
    AuthToken,
}

/// A token as a client has sent it: whose it is and whether it is good nobody knows yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Text);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The first token that is not empty.
///
/// A source whose token cannot be read is an error, and not passed over: who shows a credential
/// does not want to come in as somebody else, or as nobody.
pub(super) fn find(
    sources: &[TokenSource],
    request: &RequestHead<'_>,
    params: &Params,
    kind: TransportKind,
) -> Result<Option<Token>, Unfit> {
    for source in sources {
        let token = match source {
            TokenSource::Query(name) => params.get(name),
            TokenSource::Header(name) => header(request, name)?.map(Cow::Borrowed),
            TokenSource::Bearer => header(request, "authorization")?.and_then(bearer).map(Cow::Borrowed),
            TokenSource::AuthToken => match kind {
                TransportKind::WebSocket => subprotocol(request)?.map(Cow::Owned),
                TransportKind::LongPoll => header(request, "x-phoenix-authtoken")?.map(Cow::Borrowed),
            },
        };
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            return Ok(Some(Token(Text::from(&*token))));
        }
    }
    Ok(None)
}

/// A header that may come only once: of two credentials, which one would it be?
fn header<'a>(request: &RequestHead<'a>, name: &str) -> Result<Option<&'a str>, Unfit> {
    match request.all(name).next() {
        Some(_) => request.only(name).map(Some).ok_or(Unfit::Forbidden),
        None => Ok(None),
    }
}

/// The token of an `Authorization` header, if that is its scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

/// The name says base64url, and phoenix.js and Phoenix write and read the standard alphabet.
fn subprotocol(request: &RequestHead<'_>) -> Result<Option<String>, Unfit> {
    let Some(encoded) = request.list("sec-websocket-protocol").find_map(|item| item.strip_prefix(SUBPROTOCOL)) else {
        return Ok(None);
    };
    let bytes = BASE64.decode(encoded.replace('-', "+").replace('_', "/")).map_err(|_| Unfit::Forbidden)?;
    String::from_utf8(bytes).map(Some).map_err(|_| Unfit::Forbidden)
}
