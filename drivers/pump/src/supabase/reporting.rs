//! What the session reports besides messages, on its way to whoever it concerns.

use std::time::SystemTime;

use rejoin_core::Timestamp;
use rejoin_core::supabase::{Event, Session};

use super::bridge::SupabaseBridge;
use super::event::{ChannelEvent, ConnectionEvent, RetryIn};
use crate::pump::Bridge;

impl SupabaseBridge {
    /// Everything but messages.
    pub(super) fn deliver_rare(&mut self, session: &Session, now: Timestamp, event: Event) {
        let until = |at: Option<Timestamp>| at.map(|at| at.saturating_since(now));
        let connection = match event {
            Event::Subscribed { channel, again } => {
                self.rooms.set_joined(channel, true);
                return self.rooms.tell(channel, ChannelEvent::Subscribed { again }, &mut self.outlets);
            }
            Event::SubscribeFailed { channel, failure, retry } => {
                let event = ChannelEvent::SubscribeFailed { failure, retry: RetryIn::new(retry, now) };
                return self.rooms.tell(channel, event, &mut self.outlets);
            }
            Event::ChannelErrored { channel, trouble, retry } => {
                self.rooms.set_joined(channel, false);
                let event = ChannelEvent::Errored { trouble, retry: RetryIn::new(retry, now) };
                return self.rooms.tell(channel, event, &mut self.outlets);
            }
            Event::ChannelClosed { channel, reason } => {
                return self.rooms.closed(channel, &reason, &mut self.outlets);
            }
            Event::Gap { channel, since, until } => {
                let (since, until) = (self.time_of_day.of(since), self.time_of_day.of(until));
                return self.rooms.tell(channel, ChannelEvent::Gap { since, until }, &mut self.outlets);
            }
            Event::PostgresReady { channel, missed_since } => {
                self.rooms.set_changes(channel, Ok(()));
                let missed_since = missed_since.map(|since| self.time_of_day.of(since));
                return self.rooms.tell(channel, ChannelEvent::PostgresReady { missed_since }, &mut self.outlets);
            }
            Event::PostgresFailed { channel, failure } => {
                self.rooms.set_changes(channel, Err(failure.clone()));
                return self.rooms.tell(channel, ChannelEvent::PostgresFailed { failure }, &mut self.outlets);
            }
            Event::Presence { channel, change } => {
                return self.rooms.tell(channel, ChannelEvent::Presence(change), &mut self.outlets);
            }
            Event::PresenceTrouble { channel, trouble } => {
                return self.rooms.tell(channel, ChannelEvent::PresenceTrouble(trouble), &mut self.outlets);
            }
            Event::FellBackToHttp { push } => {
                let Some((ticket, handle)) = self.tickets.get(&push) else { return };
                ticket.over_http();
                return self.rooms.tell_handle(*handle, &ChannelEvent::FellBackToHttp, &mut self.outlets);
            }
            Event::HttpDone { push, outcome } => {
                self.publish();
                return self.requests.done(push, outcome);
            }
            Event::System { channel, message } => {
                return self.rooms.tell(channel, ChannelEvent::System(message), &mut self.outlets);
            }
            Event::PushSent { push } => {
                return self.tickets.get(&push).map_or((), |(ticket, _)| ticket.sent());
            }
            Event::PushDone { push, outcome } => {
                // Whoever is woken by the outcome may read what came before it.
                self.publish();
                return self.tickets.remove(&push).map_or((), |(ticket, _)| ticket.done(Ok(outcome)));
            }
            Event::Connected { .. } => ConnectionEvent::Connected,
            Event::Disconnected { reason, retry_at } => {
                ConnectionEvent::Disconnected { reason, retry_in: until(retry_at) }
            }
            Event::TransportChanged { transport } => ConnectionEvent::TransportChanged { transport },
            Event::GaveUp { attempts } => ConnectionEvent::GaveUp { attempts },
            Event::Heartbeat(status) => ConnectionEvent::Heartbeat(status),
            Event::TokenRefreshed { expires_at } => {
                ConnectionEvent::TokenRefreshed { expires_at: expires_at.map(|at| SystemTime::UNIX_EPOCH + at) }
            }
            Event::TokenExpired => ConnectionEvent::TokenExpired,
            Event::TokenUnavailable { failure, retry_at } => {
                ConnectionEvent::TokenUnavailable { failure, retry_in: retry_at.saturating_since(now) }
            }
            Event::Malformed { error } => ConnectionEvent::Malformed { error },
            Event::Lagged { missed } => {
                self.rooms.lagged(missed, |channel| ChannelEvent::present(session, channel), &mut self.outlets);
                ConnectionEvent::Lagged { missed }
            }
            Event::Closed => ConnectionEvent::Closed,
            // Messages went their own way; what is new in `Event` has to get a place here.
            _ => return,
        };
        self.tell_inboxes(&connection);
    }
}
