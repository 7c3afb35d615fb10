//! Who may come in: an HTTP request's head in, a decision and a response's head out, for any HTTP stack.

mod handshake;
mod head;
mod origin;
mod params;
mod token;
mod vsn;

use alloc::vec::Vec;

use super::LongPollResponse;
use crate::machine::TransportKind;
use crate::text::Text;
use crate::wire::Serializer;

pub use head::{RequestHead, ResponseHead};
pub use origin::{AllowedOrigin, OriginError, OriginPolicy};
pub use params::Params;
pub(super) use params::last;
pub use token::{Token, TokenSource};
pub use vsn::{UnsupportedVsn, serializer_of};

/// What a request needs to be let in. Start from `default`. Which path the socket has is the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// The pages that may come; default [`OriginPolicy::SameHost`].
    pub origin: OriginPolicy,
    /// Where a token is looked for, in this order: the first that is not empty counts.
    ///
    /// Default: Phoenix's own [`TokenSource::AuthToken`], the query parameters `token` and `apikey`,
    /// the header `x-api-key`, and [`TokenSource::Bearer`]. Phoenix's own is first because the
    /// parameter `token` of a long-poll may be that of a session which is gone.
    pub token_sources: Vec<TokenSource>,
    /// Whether who brings no token is refused; default no, as the host may let anybody in.
    pub token_required: bool,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        let query = |name| TokenSource::Query(Text::from_static(name));
        Self {
            origin: OriginPolicy::default(),
            token_sources: Vec::from([
                TokenSource::AuthToken,
                query("token"),
                query("apikey"),
                TokenSource::Header(Text::from_static("x-api-key")),
                TokenSource::Bearer,
            ]),
            token_required: false,
        }
    }
}

impl UpgradeConfig {
    /// Looks at a request for a WebSocket. What is wrong with it is answered in this order
    /// (upgrade-handler specification, section 1.2; Phoenix specification, Appendix C):
    ///
    /// | what is wrong | answer |
    /// |---|---|
    /// | a method other than GET | 405 with `Allow: GET` |
    /// | no `Connection: upgrade` and `Upgrade: websocket` | 426 with both |
    /// | `Sec-WebSocket-Version` is not 13 | 426 with `Sec-WebSocket-Version: 13` |
    /// | `Sec-WebSocket-Key` is not 16 bytes in base64 | 400 |
    /// | an `Origin` that is not allowed | 403 |
    /// | a query that cannot be decoded | 400, as in Phoenix |
    /// | a `vsn` that nobody speaks | 403 |
    /// | a token that cannot be read, or none where one is required | 403 |
    ///
    /// A header that may come once and comes twice is wrong.
    ///
    /// ```
    /// use rejoin_core::phoenix::{Decision, RequestHead, UpgradeConfig};
    ///
    /// let headers = [
    ///     ("host", "localhost:4000"),
    ///     ("connection", "Upgrade"),
    ///     ("upgrade", "websocket"),
    ///     ("sec-websocket-version", "13"),
    ///     ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    /// ];
    /// let request = RequestHead::new("GET", "/socket/websocket?vsn=2.0.0&token=t", headers);
    /// let Decision::Accept(upgrade) = UpgradeConfig::default().decide(&request) else { panic!("it is let in") };
    /// assert_eq!(upgrade.response.status, 101);
    /// assert_eq!(upgrade.admission.token.unwrap().expose(), "t");
    /// ```
    pub fn decide(&self, request: &RequestHead<'_>) -> Decision {
        let upgrade = handshake::answer(request).and_then(|response| {
            let admission = self.admission(request, TransportKind::WebSocket).map_err(|unfit| match unfit {
                Unfit::Unreadable => ResponseHead::new(400),
                Unfit::Forbidden => ResponseHead::forbidden(),
            })?;
            Ok(handshake::upgrade(request, response, admission))
        });
        upgrade.map_or_else(Decision::Refuse, Decision::Accept)
    }

    /// Looks at the request with which a long-poll session begins: a
    /// [`LongPollCall::Poll`](super::LongPollCall) that names no session the host knows. The rules are
    /// those of [`decide`](Self::decide), without the WebSocket's own.
    ///
    /// # Errors
    /// If it is not let in: the answer is HTTP 400 for a query that cannot be decoded, and else
    /// [`LongPollResponse::forbidden`].
    pub fn admit(&self, request: &RequestHead<'_>) -> Result<Admission, LongPollResponse> {
        self.admission(request, TransportKind::LongPoll).map_err(|unfit| match unfit {
            Unfit::Unreadable => LongPollResponse::bare(400),
            Unfit::Forbidden => LongPollResponse::forbidden(),
        })
    }

    /// Looks at what the two transports have in common: origin, query, `vsn` and token.
    fn admission(&self, request: &RequestHead<'_>, kind: TransportKind) -> Result<Admission, Unfit> {
        if !self.origin.allows(request) {
            return Err(Unfit::Forbidden);
        }
        let params = Params::of(request.query()).ok_or(Unfit::Unreadable)?;
        let serializer = vsn::serializer(request.query()).map_err(|_| Unfit::Forbidden)?;
        let token = token::find(&self.token_sources, request, &params, kind)?;
        if token.is_none() && self.token_required {
            return Err(Unfit::Forbidden);
        }
        Ok(Admission { serializer, token, params })
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// Its query is no query.
    Unreadable,
    /// It may not.
    Forbidden,
}

/// What becomes of a request for a WebSocket.
#[expect(clippy::exhaustive_enums, reason = "who asks to come in is let in or is not")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may be let in. A host that does not like the token refuses with [`ResponseHead::forbidden`]
    /// instead.
    Accept(Upgrade),
    /// It is answered with this head and an empty body.
    Refuse(ResponseHead),
}

/// A request for a WebSocket that may be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upgrade {
    /// What it says about its client.
    pub admission: Admission,
    /// The subprotocol that was chosen, which the response names: `phoenix` if the client offers it.
    pub subprotocol: Option<Text>,
    /// What lets it in: status 101.
    pub response: ResponseHead,
}

/// What a client says about itself when it comes, whatever it comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// How it writes messages.
    pub serializer: Serializer,
    /// Its token, which nobody has verified. `None` if it has brought none, or an empty one.
    pub token: Option<Token>,
    /// The parameters of its query, `vsn` and tokens among them, as in Phoenix.
    pub params: Params,
}
