//! What an HTTP request asks of a long-poll endpoint: pure, so that any HTTP stack can ask.

use super::TOKEN_HEADER;
use super::response::LongPollResponse;
use crate::phoenix::upgrade::{RequestHead, last};
use crate::text::Text;
use core::fmt;

/// A request to a path that ends in `/longpoll`. The table of sessions by their tokens is the host's.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongPollCall {
    /// A GET: to be handed to the [`LongPollPeer`](super::LongPollPeer) of this token. Without a
    /// token, or with one that the host does not know, it asks for a new session:
    /// [`UpgradeConfig::admit`](crate::phoenix::UpgradeConfig::admit) tells for whom. The answer is
    /// [`LongPollResponse::opened`] or [`LongPollResponse::forbidden`].
    Poll {
        /// Which session.
        token: Option<Text>,
    },
    /// A POST: its body is to be handed to the peer of this token. For a token that the host does
    /// not know the answer is [`LongPollResponse::gone`].
    Push {
        /// Which session.
        token: Option<Text>,
        /// How its body is to be read.
        body: LongPollBody,
    },
    /// Something that no session is needed for: this is the answer.
    Answered(LongPollResponse),
}

/// How the body of a POST is to be read (specification, section 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongPollBody {
    /// `application/x-ndjson`: a frame a line, text that begins with `[` or bytes in base64.
    Lines,
    /// Any other content type: one text frame.
    Whole,
}

impl LongPollCall {
    /// Reads the head of a request to a target such as `/socket/longpoll?vsn=2.0.0`.
    ///
    /// The token is taken from the header `x-phoenix-longpoll-token`, else from the query.
    #[must_use]
    pub fn of(request: &RequestHead<'_>) -> Self {
        let header = |name| request.last(name).map(Text::from);
        let token = || header(TOKEN_HEADER).or_else(|| Some(last(request.query(), "token")?.ok()?.as_ref().into()));
        match request.method() {
            "GET" => Self::Poll { token: token() },
            "POST" => {
                Self::Push { token: token(), body: LongPollBody::of(request.last("content-type").unwrap_or_default()) }
            }
            "OPTIONS" => {
                let asked_headers = request.last("access-control-request-headers").unwrap_or_default();
                Self::Answered(LongPollResponse::preflight(printable(asked_headers)))
            }
            _ => Self::Answered(LongPollResponse::not_allowed()),
        }
    }
}

/// Without the token.
impl fmt::Debug for LongPollCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll { token } => f.debug_struct("Poll").field("token", &token.as_ref().map(|_| ..)).finish(),
            Self::Push { token, body } => {
                let token = token.as_ref().map(|_| ..);
                f.debug_struct("Push").field("token", &token).field("body", body).finish()
            }
            Self::Answered(response) => f.debug_tuple("Answered").field(response).finish(),
        }
    }
}

impl LongPollBody {
    fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-ndjson") { Self::Lines } else { Self::Whole }
    }
}

/// What may be repeated in a header; nothing if it is not all of it.
fn printable(value: &str) -> &str {
    if value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) { value } else { "" }
}
