//! What an HTTP request asks of a long-poll endpoint: pure, so that any HTTP stack can ask.

use super::TOKEN_HEADER;
use super::response::LongPollResponse;
use crate::phoenix::endpoint::percent_decode;
use crate::phoenix::upgrade::serializer_of;
use crate::text::Text;
use crate::wire::Serializer;
use core::fmt;

/// A request to a path that ends in `/longpoll`. The table of sessions by their tokens is the host's.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongPollCall {
    /// A GET: to be handed to the [`LongPollPeer`](super::LongPollPeer) of this token. Without a
    /// token, or with one that the host does not know, it asks for a new session, which is
    /// answered with [`LongPollResponse::opened`] or [`LongPollResponse::forbidden`].
    Poll {
        /// Which session.
        token: Option<Text>,
        /// How a new session's messages are to be written.
        serializer: Serializer,
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
    /// Reads the head of a request: its method, its target such as `/socket/longpoll?vsn=2.0.0`, and
    /// its headers, whose names may have any case.
    ///
    /// The token is taken from the header `x-phoenix-longpoll-token`, else from the query.
    #[must_use]
    pub fn of<'h>(method: &str, target: &str, headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let (mut token, mut content_type, mut asked_headers) = (None, "", "");
        for (name, value) in headers {
            match name {
                name if name.eq_ignore_ascii_case(TOKEN_HEADER) => token = Some(Text::from(value)),
                name if name.eq_ignore_ascii_case("content-type") => content_type = value,
                name if name.eq_ignore_ascii_case("access-control-request-headers") => asked_headers = value,
                _ => {}
            }
        }
        let token = token.or_else(|| token_of(target));
        match method {
            "GET" => match serializer_of(target) {
                Ok(serializer) => Self::Poll { token, serializer },
                Err(_) => Self::Answered(LongPollResponse::forbidden()),
            },
            "POST" => Self::Push { token, body: LongPollBody::of(content_type) },
            "OPTIONS" => Self::Answered(LongPollResponse::preflight(printable(asked_headers))),
            _ => Self::Answered(LongPollResponse::bare(400)),
        }
    }
}

/// Without the token.
impl fmt::Debug for LongPollCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll { token, serializer } => {
                let token = token.as_ref().map(|_| ..);
                f.debug_struct("Poll").field("token", &token).field("serializer", serializer).finish()
            }
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

fn token_of(target: &str) -> Option<Text> {
    let (_, query) = target.split_once('?')?;
    let token = query.split('&').filter_map(|pair| pair.strip_prefix("token=")).next_back()?;
    percent_decode(token).map(Text::from)
}

/// What may be repeated in a header; nothing if it is not all of it.
fn printable(value: &str) -> &str {
    if value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) { value } else { "" }
}
