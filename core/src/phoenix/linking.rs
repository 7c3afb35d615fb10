//! What the connection's transitions do to the session: dialling, losing, ending.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::channel::Phase;
use super::config::Config;
use super::connection::ConnectionState;
use super::event::{CloseReason, Event, LossReason, TroubleCause};
use super::lane::Outgoing;
use super::session::Session;
use super::transport::Choice;
use crate::machine::{ConnId, ConnectRequest, OpenError, TransportKind};
use crate::text::Text;
use crate::time::Timestamp;

impl Session {
    pub(super) fn dial(&mut self) {
        self.choose(Choice::dial);
        let conn = self.connection.dial(self.now, self.config.connect_timeout);
        let timeout = self.config.connect_timeout.min(self.choice.patience().unwrap_or(Duration::MAX));
        let Config { endpoint, params, serializer, auth_token, .. } = &self.config;
        let transport = self.choice.kind();
        let url = match transport {
            TransportKind::WebSocket => endpoint.url(params, *serializer),
            TransportKind::LongPoll => endpoint.longpoll_url(params, *serializer),
        };
        let auth = auth_token.as_ref().map(|token| match transport {
            TransportKind::WebSocket => {
                // In the standard alphabet, whatever the name says: so Phoenix reads it.
                let protocols = alloc::format!("phoenix, base64url.bearer.phx.{}", BASE64.encode(token.as_bytes()));
                (Text::from_static("sec-websocket-protocol"), protocols.into())
            }
            TransportKind::LongPoll => (Text::from_static("x-phoenix-authtoken"), token.clone()),
        });
        let mut request = ConnectRequest::new(conn, url, timeout);
        request.transport = transport;
        request.headers = self.config.headers.iter().cloned().chain(auth).collect();
        self.lane.send(Outgoing::Open(request.into()));
    }

    /// One step of the policy; the event, if it changes its mind.
    fn choose(&mut self, step: impl FnOnce(&mut Choice, Timestamp)) {
        let before = self.choice.kind();
        step(&mut self.choice, self.now);
        let transport = self.choice.kind();
        if transport != before {
            self.event(Event::TransportChanged { transport });
        }
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        if self.connection.opened(conn) {
            self.choice.opened();
            self.event(Event::Connected { conn });
            match self.choice.kind() {
                TransportKind::WebSocket => self.heartbeat.start(self.now),
                TransportKind::LongPoll => self.heartbeat.start_without_schedule(),
            }
            if self.choice.is_unheard() {
                self.beat();
            }
            for id in self.channels.by_age() {
                let not_before = self.channels.get(id).and_then(|channel| channel.not_before);
                match not_before.filter(|at| *at > self.now) {
                    Some(at) => self.channels.set_deadline(id, Some(at)),
                    None => self.channels.queue_join(id),
                }
            }
            self.start_joins();
        } else if self.connection.current() != Some(conn) {
            // It was given up while it was being opened: nobody else will close it.
            self.stats.stale_connection += 1;
            self.lane.abort(conn);
        }
    }

    /// The transport says that a connection is over.
    pub(super) fn ended(&mut self, conn: ConnId, reason: LossReason) {
        if self.connection.lingering() == Some(conn) {
            self.connection.rest();
        } else if self.connection.current() != Some(conn) {
            self.stats.stale_connection += 1;
        } else if self.connection.state() == ConnectionState::Closing {
            self.finish();
        } else {
            self.lose(reason);
        }
    }

    /// We say that a connection is over; the transport may never confirm it (trap T7).
    pub(super) fn abort(&mut self, conn: ConnId, reason: LossReason) {
        self.lane.abort(conn);
        self.lose(reason);
    }

    /// The policy has no more patience with a WebSocket that delivers nothing.
    pub(super) fn unheard(&mut self) {
        let open = self.connection.open().is_some();
        match self.connection.current() {
            Some(conn) if open => self.abort(conn, LossReason::HeartbeatTimeout),
            Some(conn) => self.abort(conn, LossReason::ConnectTimeout),
            None => self.choice.given_up(),
        }
    }

    fn lose(&mut self, reason: LossReason) {
        let (step, failures) = self.connection.count_loss();
        let gives_up = failures > 0 && self.config.max_attempts.is_some_and(|max| failures >= max);
        let retry_at = if gives_up || self.is_final(&reason) {
            self.connection.rest();
            None
        } else {
            let retry_at = self.now.saturating_add(self.retry_delay(step, &reason));
            self.connection.wait(retry_at);
            Some(retry_at)
        };
        self.event(Event::Disconnected { reason, retry_at });
        self.settle_loss();
        self.choose(Choice::lost);
        if gives_up {
            self.event(Event::GaveUp { attempts: failures });
        }
    }

    /// Whether the configuration says that this loss is not to be answered with another attempt.
    fn is_final(&self, reason: &LossReason) -> bool {
        match reason {
            _ if !self.config.auto_reconnect => true,
            LossReason::Open(OpenError { status: Some(status), .. }) => self.config.stop_statuses.contains(status),
            LossReason::Closed { code: Some(code), .. } => self.config.stop_codes.contains(code),
            _ => false,
        }
    }

    /// The table's delay; for refusals that will hardly change, its longest one; at least what the
    /// server asked for, up to five minutes (specification, section 1.5 and trap T95).
    fn retry_delay(&mut self, attempt: u32, reason: &LossReason) -> Duration {
        let mut delay = self.config.reconnect.delay(attempt);
        let mut floor = Duration::ZERO;
        if let LossReason::Open(OpenError { status, retry_after, .. }) = reason {
            match status {
                Some(401 | 403 | 404) => delay = self.config.reconnect.cap(),
                Some(429) => floor = Duration::from_secs(30),
                _ => {}
            }
            floor = floor.max(retry_after.unwrap_or_default().min(Duration::from_secs(300)));
        }
        self.rng.spread(delay, self.config.jitter).max(floor)
    }

    /// Tells the transport to end the connection, if there is one.
    pub(super) fn hang_up(&mut self) -> bool {
        let Some(conn) = self.connection.current() else { return false };
        self.choice.given_up();
        self.lane.drop_frames();
        if self.connection.open().is_some() {
            self.lane.send(Outgoing::Close { conn, code: 1000, reason: Text::EMPTY });
        } else {
            self.lane.abort(conn);
        }
        true
    }

    /// What the loss of the connection means for everything that ran over it.
    pub(super) fn settle_loss(&mut self) {
        self.heartbeat.stop();
        self.lane.drop_frames();
        self.channels.forget_turns();
        self.unsettle_pushes(None);
        for id in self.channels.by_age() {
            match self.channels.get(id).map(|channel| channel.phase) {
                Some(Phase::Leaving { .. }) => self.close_channel(id, CloseReason::Left),
                Some(Phase::Joined { .. } | Phase::Joining { .. } | Phase::Queued) => {
                    self.channels.set_phase(id, Phase::Idle { errored: true });
                    self.channels.set_deadline(id, None);
                    let cause = TroubleCause::ConnectionLost;
                    self.event(Event::ChannelErrored { channel: id, cause, retry_at: None });
                }
                // A rejoin timer runs only while there is a socket to rejoin on.
                Some(Phase::Idle { .. }) => self.channels.set_deadline(id, None),
                None => {}
            }
            if let Some(channel) = self.channels.get_mut(id) {
                channel.failures = 0;
                channel.notified = false;
            }
        }
    }

    /// The end of everything.
    pub(super) fn finish(&mut self) {
        self.heartbeat.stop();
        self.choice.given_up();
        for id in self.channels.by_age() {
            self.close_channel(id, CloseReason::SessionClosed);
        }
        self.lane.drop_frames();
        self.connection.closed();
        self.event(Event::Closed);
    }

    pub(super) fn beat(&mut self) {
        self.heartbeat.beat(self.now);
        self.lane.send_first(Outgoing::Heartbeat);
    }
}
