//! Broadcasts over HTTP: asked for, fallen back to, and what came of them.

use super::access_token::AccessToken;
use super::broadcast::Broadcast;
use super::event::Event;
use super::requests::Pending;
use super::rest::{self, HttpBroadcast, HttpBroadcastError, HttpFailure};
use super::session::Session;
use super::tokens::Credential;
use crate::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use crate::payload::Payload;
use crate::phoenix::{ChannelId, ChannelState, ConnectionState, PushId, PushOutcome};
use crate::time::Timestamp;

impl Session {
    /// Broadcasts over HTTP, whether anybody is subscribed or connected or not. Ends in one
    /// [`Event::HttpDone`]. It may overtake broadcasts of the socket, and they it.
    ///
    /// # Errors
    /// If a server would refuse it, it is for a private channel and there is no token, or too many are
    /// on their way.
    pub fn http_broadcast(&mut self, now: Timestamp, broadcast: HttpBroadcast) -> Result<PushId, HttpBroadcastError> {
        self.advance(now);
        broadcast.check()?;
        let token = self.http_token(core::slice::from_ref(&broadcast))?;
        self.check_http(core::slice::from_ref(&broadcast))?;
        let request = rest::single(self.requests.next_id(), &self.config, token.as_ref(), &broadcast);
        Ok(self.send_http(request, false))
    }

    /// The same for many at a time, of any channels, in one request. A server that refuses one of them
    /// refuses all.
    ///
    /// # Errors
    /// As [`http_broadcast`](Session::http_broadcast), and if the batch is empty or one of them is no
    /// JSON object or is to be stored.
    pub fn http_broadcast_batch(
        &mut self,
        now: Timestamp,
        broadcasts: &[HttpBroadcast],
    ) -> Result<PushId, HttpBroadcastError> {
        self.advance(now);
        if broadcasts.is_empty() {
            return Err(HttpBroadcastError::EmptyBatch);
        }
        broadcasts.iter().try_for_each(HttpBroadcast::check_in_batch)?;
        let token = self.http_token(broadcasts)?;
        self.check_http(broadcasts)?;
        let request = rest::batch(self.requests.next_id(), &self.config, token.as_ref(), broadcasts);
        Ok(self.send_http(request, false))
    }

    /// The answer to a [`Request::Http`](super::Request::Http). One that nobody waits for any more is ignored.
    pub fn handle_http(&mut self, now: Timestamp, id: HttpId, answer: Result<HttpResponse, HttpError>) {
        self.advance(now);
        if let Some(pending) = self.requests.remove(id) {
            self.http_done(&pending, HttpFailure::of(answer));
        }
        self.absorb();
    }

    /// Sends a broadcast over HTTP if it is to go that way while the channel cannot send; gives it back
    /// if it goes, or waits for, the usual way.
    pub(super) fn fall_back(&mut self, id: ChannelId, broadcast: Broadcast) -> Result<PushId, Broadcast> {
        let waits = matches!(self.inner.channel_state(id), Some(ChannelState::Joining | ChannelState::Errored));
        if !waits || !broadcast.http_fallback.unwrap_or(self.config.http_fallback) {
            return Err(broadcast);
        }
        let Some((topic, channel)) = self.inner.topic(id).zip(self.channels.get(id)) else { return Err(broadcast) };
        let Some(token) = self.token_of(channel) else { return Err(broadcast) };
        let message = HttpBroadcast::of(broadcast.clone(), topic, channel.private);
        let messages = core::slice::from_ref(&message);
        if message.check().is_err() || self.check_http(messages).is_err() {
            return Err(broadcast);
        }
        let http = self.requests.next_id();
        let request = if message.fits_batch() {
            rest::batch(http, &self.config, token.as_ref(), messages)
        } else {
            rest::single(http, &self.config, token.as_ref(), &message)
        };
        let push = self.send_http(request, true);
        self.event(Event::FellBackToHttp { push });
        Ok(push)
    }

    pub(super) fn http_timeouts(&mut self) {
        while let Some(late) = self.requests.remove_late(self.now) {
            let failure = if late.is_sent() { HttpFailure::Http(HttpError::TimedOut) } else { HttpFailure::Dropped };
            self.http_done(&late, Err(failure));
        }
    }

    /// Whether this was a request, which is given up now.
    pub(super) fn cancel_http(&mut self, push: PushId) -> bool {
        self.requests.remove_push(push).map(|pending| self.give_up(&pending)).is_some()
    }

    /// The session ends: nothing is asked and nothing awaited any more.
    pub(super) fn end_http(&mut self) {
        while let Some(pending) = self.requests.remove_first() {
            self.give_up(&pending);
        }
    }

    fn give_up(&mut self, pending: &Pending) {
        self.http_done(pending, Err(if pending.is_sent() { HttpFailure::Unknown } else { HttpFailure::Dropped }));
    }

    fn http_done(&mut self, pending: &Pending, outcome: Result<(), HttpFailure>) {
        self.own_pushes -= 1;
        let push = pending.push;
        if !pending.fell_back {
            return self.event(Event::HttpDone { push, outcome });
        }
        let outcome = match outcome {
            Ok(()) => PushOutcome::Ok(Payload::EMPTY),
            Err(HttpFailure::Http(HttpError::TimedOut)) => PushOutcome::TimedOut,
            Err(HttpFailure::Dropped | HttpFailure::Http(HttpError::Unreachable(_))) => PushOutcome::Dropped,
            Err(HttpFailure::Unknown | HttpFailure::Http(_)) => PushOutcome::Unknown,
            Err(refused) => {
                let reason = serde_json::json!({ "reason": alloc::format!("{refused}") });
                PushOutcome::Error(Payload::unread_json(alloc::format!("{reason}").into()))
            }
        };
        self.event(Event::PushDone { push, outcome });
    }

    fn send_http(&mut self, request: HttpRequest, fell_back: bool) -> PushId {
        let push = self.inner.reserve_push();
        self.requests.send(self.now, request, push, fell_back);
        self.own_pushes += 1;
        push
    }

    fn check_http(&self, broadcasts: &[HttpBroadcast]) -> Result<(), HttpBroadcastError> {
        if matches!(self.inner.state(), ConnectionState::Closing | ConnectionState::Closed) {
            return Err(HttpBroadcastError::SessionClosed);
        }
        if self.requests.len() >= self.config.http_broadcasts {
            return Err(HttpBroadcastError::Full);
        }
        let len = rest::size(broadcasts);
        let limits = &self.config.phoenix.limits;
        if len > limits.frame_bytes.min(limits.outbound_frame_bytes) {
            return Err(HttpBroadcastError::TooLarge { len });
        }
        Ok(())
    }

    /// With which token a request goes; without one only public channels can be reached.
    fn http_token(&self, broadcasts: &[HttpBroadcast]) -> Result<Option<AccessToken>, HttpBroadcastError> {
        match self.tokens.credential(self.now) {
            Credential::Token(token) => Ok(Some(token)),
            Credential::ApiKey => Ok(None),
            _ => match self.tokens.in_force(self.now) {
                Some(token) => Ok(Some(token)),
                None if broadcasts.iter().any(|broadcast| broadcast.private) => Err(HttpBroadcastError::NoToken),
                None => Ok(None),
            },
        }
    }
}
