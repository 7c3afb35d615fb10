//! The client's half: frames to send and events about a connection on one side, HTTP on the other.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;

use super::answer::Answer;
use super::batch::Batch;
use super::{TIMEOUT, TOKEN_HEADER};
use crate::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use crate::machine::{ConnId, ConnectRequest, Frame, OpenError, TransportEvent, without_query};
use crate::phoenix::endpoint::percent_encode;
use crate::text::Text;

/// A connection by long-poll: what a socket is to a [`TransportKind::WebSocket`], without I/O.
///
/// A host makes one where a [`Session`](crate::phoenix::Session) asks for
/// [`TransportAction::Open`](crate::TransportAction::Open) with [`TransportKind::LongPoll`], and drops it at
/// `Abort` or after [`TransportEvent::Closed`] or `OpenFailed`, together with the requests under way. In
/// between it
///
/// 1. hands over frames with [`send`](LongPoll::send) while [`is_ready`](LongPoll::is_ready), and leaves
///    the machine's transport lane alone while it is not, unless
///    [`Machine::connection`](crate::Machine::connection) names another connection by now,
/// 2. carries out every request of [`poll_request`](LongPoll::poll_request) and tells what came of it with
///    [`handle_response`](LongPoll::handle_response), in whatever order they end,
/// 3. passes on every event of [`poll_event`](LongPoll::poll_event).
///
/// At most two requests are under way: the GET that the server holds until it has something to say,
/// and one POST. Frames handed over before the POST is asked for travel together, up to 100; those
/// handed over later wait for its answer. The next GET is asked for once every event has been polled,
/// so that a slow reader slows the server down and nothing else.
///
/// It keeps no time: the machine that asked for the connection bounds the opening, and
/// [`HttpRequest::timeout`] every exchange after that. How a connection ends is told by the code of
/// `Closed`: 3410 if the server has lost the session, 1008 if it forbids it, 1011 if it failed, 1000 after
/// [`close`](LongPoll::close), none if HTTP itself did (specification, section 10.2).
///
/// [`TransportKind::WebSocket`]: crate::TransportKind::WebSocket
/// [`TransportKind::LongPoll`]: crate::TransportKind::LongPoll
pub struct LongPoll {
    request: ConnectRequest,
    body_limit: usize,
    state: State,
    token: Option<Text>,
    last_id: u64,
    polling: Option<HttpId>,
    pushing: Option<HttpId>,
    batch: Batch,
    events: VecDeque<TransportEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    /// `close` was called; what was handed over before is still to be sent.
    Closing,
    Closed,
}

/// How much of a refusal's body is worth a message.
const EXCERPT: usize = 200;

impl LongPoll {
    /// Opens a connection with the first [`poll_request`](LongPoll::poll_request). Frames may have
    /// `frame_bytes` bytes; a response, which carries many of them, twice that and 64 KiB.
    #[must_use]
    pub fn new(request: ConnectRequest, frame_bytes: usize) -> Self {
        Self {
            request,
            body_limit: frame_bytes.saturating_mul(2).saturating_add(64 << 10),
            state: State::Opening,
            token: None,
            last_id: 0,
            polling: None,
            pushing: None,
            batch: Batch::default(),
            events: VecDeque::new(),
        }
    }

    /// Whether a frame handed over now would leave with the next POST: the connection is open, no POST
    /// is under way, and the batch has room. One that is handed over all the same waits its turn.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Open && self.pushing.is_none() && self.batch.has_room()
    }

    /// Sends a frame, after everything sent before. Without effect after `close` or the end.
    pub fn send(&mut self, frame: Frame) {
        if matches!(self.state, State::Opening | State::Open) {
            self.batch.push(frame);
        }
    }

    /// Closes the connection once the server has taken what was sent before; then
    /// [`TransportEvent::Closed`] says 1000. The server, which no close frame can tell, forgets the session
    /// when nobody polls it.
    pub fn close(&mut self) {
        if self.state == State::Opening {
            // Nothing could be sent yet.
            self.batch = Batch::default();
        }
        if matches!(self.state, State::Opening | State::Open) {
            self.state = State::Closing;
            self.settle();
        }
    }

    /// The next request to carry out.
    pub fn poll_request(&mut self) -> Option<HttpRequest> {
        let opened = matches!(self.state, State::Open | State::Closing);
        if opened
            && self.pushing.is_none()
            && let Some((content_type, body)) = self.batch.take()
        {
            let (id, url) = (self.next_id(), self.url());
            self.pushing = Some(id);
            return Some(self.headed(HttpRequest::post(id, url, content_type, body, TIMEOUT)));
        }
        let wants_more = matches!(self.state, State::Opening | State::Open) && self.events.is_empty();
        if wants_more && self.polling.is_none() {
            let (id, url) = (self.next_id(), self.url());
            self.polling = Some(id);
            let timeout = if opened { TIMEOUT } else { self.request.timeout };
            let get = HttpRequest::get(id, url, timeout).header("accept", Text::from_static("application/json"));
            return Some(self.headed(get));
        }
        None
    }

    /// What came of a request. One that is not under way (any more) is ignored.
    pub fn handle_response(&mut self, id: HttpId, result: Result<HttpResponse, HttpError>) {
        if self.polling == Some(id) {
            self.polling = None;
            match self.state {
                State::Opening => self.opened(result),
                State::Open | State::Closing => self.polled(result),
                State::Closed => {}
            }
        } else if self.pushing == Some(id) {
            self.pushing = None;
            self.pushed(result);
        }
    }

    /// The next event about the connection.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// The number of the connection.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.request.conn
    }
}

/// Without the token and the query: those are secret.
impl fmt::Debug for LongPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPoll")
            .field("conn", &self.request.conn)
            .field("url", &without_query(&self.request.url))
            .field("state", &self.state)
            .field("polling", &self.polling)
            .field("pushing", &self.pushing)
            .field("batch", &self.batch)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl LongPoll {
    fn next_id(&mut self) -> HttpId {
        self.last_id += 1;
        HttpId::new(self.last_id)
    }

    fn url(&self) -> String {
        let mut url = self.request.url.clone();
        if let Some(token) = &self.token {
            url.push_str(if url.contains('?') { "&token=" } else { "?token=" });
            percent_encode(&mut url, token);
        }
        url
    }

    fn headed(&self, mut request: HttpRequest) -> HttpRequest {
        request.headers.extend(self.request.headers.iter().cloned());
        request.headers.extend(self.token.clone().map(|token| (Text::from_static(TOKEN_HEADER), token)));
        request.body_limit = self.body_limit;
        request
    }

    /// The answer to the first GET. A new session is, of all things, status 410 with a token.
    fn opened(&mut self, result: Result<HttpResponse, HttpError>) {
        let error = match result {
            Err(error) => OpenError::io(alloc::format!("{error}")),
            Ok(response) if response.status != 200 => {
                OpenError::refused(response.status, response.retry_after, excerpt(&response.body))
            }
            Ok(response) => match Answer::read(&response.body) {
                Some(answer) if answer.status == 410 && answer.token().is_some() => {
                    self.token = answer.token();
                    self.state = State::Open;
                    return self.events.push_back(TransportEvent::Opened { conn: self.request.conn });
                }
                Some(answer) if answer.status >= 400 => {
                    OpenError::refused(answer.status, response.retry_after, String::new())
                }
                _ => OpenError::refused(200, None, "what answered the poll is no Phoenix long-poll; check the URL"),
            },
        };
        self.state = State::Closed;
        self.events.push_back(TransportEvent::OpenFailed { conn: self.request.conn, error });
    }

    fn polled(&mut self, result: Result<HttpResponse, HttpError>) {
        let ended = match self.read(&result) {
            Ok(Answer { status: 204, .. }) => {
                if self.state == State::Open {
                    self.events.push_back(TransportEvent::Alive { conn: self.request.conn });
                }
                return;
            }
            Ok(answer @ Answer { status: 200, .. }) => {
                if let Some(token) = answer.token() {
                    self.token = Some(token);
                }
                let conn = self.request.conn;
                let received = answer.messages.into_frames().map(|frame| TransportEvent::Received { conn, frame });
                return self.events.extend(received);
            }
            Ok(answer) => end_of(answer.status),
            Err(ended) => ended,
        };
        // Nobody listens any more while closing; what is still to be sent says how it ends.
        if self.state == State::Open {
            self.closed(ended);
        }
    }

    fn pushed(&mut self, result: Result<HttpResponse, HttpError>) {
        match self.read(&result) {
            Ok(Answer { status: 200, .. }) => self.settle(),
            Ok(answer) => self.closed(end_of(answer.status)),
            Err(ended) => self.closed(ended),
        }
    }

    fn read<'r>(&self, result: &'r Result<HttpResponse, HttpError>) -> Result<Answer<'r>, End> {
        match result {
            Err(error) => Err(End { code: None, reason: alloc::format!("{error}").into() }),
            Ok(response) if response.status != 200 => {
                Err(End { code: Some(1011), reason: alloc::format!("HTTP {}", response.status).into() })
            }
            Ok(response) => Answer::read(&response.body).ok_or_else(|| End {
                code: Some(1011),
                reason: Text::from_static("what answered is no Phoenix long-poll"),
            }),
        }
    }

    /// The end of a close, once everything is sent.
    fn settle(&mut self) {
        if self.state == State::Closing && self.pushing.is_none() && self.batch.is_empty() {
            self.closed(End { code: Some(1000), reason: Text::EMPTY });
        }
    }

    fn closed(&mut self, End { code, reason }: End) {
        if self.state != State::Closed {
            self.state = State::Closed;
            (self.polling, self.pushing, self.batch) = (None, None, Batch::default());
            self.events.push_back(TransportEvent::Closed { conn: self.request.conn, code, reason });
        }
    }
}

/// How a connection ends.
struct End {
    code: Option<u16>,
    reason: Text,
}

/// What a status other than 200 and 204 means on an open connection.
fn end_of(status: u16) -> End {
    let (code, reason) = match status {
        410 => (3410, Text::from_static("session_gone")),
        403 => (1008, Text::from_static("forbidden")),
        0 | 500 => (1011, Text::from_static("the server failed")),
        status => (1011, alloc::format!("status {status}").into()),
    };
    End { code: Some(code), reason }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned()
}
