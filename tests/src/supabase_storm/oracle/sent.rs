//! What the oracle makes of the messages that the client sends.

use std::time::Duration;

use rejoin_core::supabase::AccessToken;
use rejoin_core::wire::Message;
use rejoin_core::{ConnId, Timestamp};
use serde_json::Value;

use super::Oracle;
use crate::supabase_storm::room::Room;

impl Oracle {
    pub(super) fn sends(&mut self, now: Timestamp, conn: ConnId, message: &Message) {
        match message.event.as_str() {
            "phx_join" => {
                self.paces(now);
                let token = self.carried(now, message);
                self.shows_none(message, token.is_none());
                self.tokens.shown.insert((conn, message.topic.to_string()), token);
            }
            "access_token" => {
                let token = self.carried(now, message);
                let before = self.tokens.shown.insert((conn, message.topic.to_string()), token.clone());
                if token.is_none() || before == Some(token) {
                    self.accuse(format!("T74: a token is shown twice on {}", message.topic));
                }
            }
            "presence" => self.budgets(now, message),
            _ => {}
        }
    }

    /// T32: so many joins within a second.
    fn paces(&mut self, now: Timestamp) {
        let Some(limit) = self.config.phoenix.limits.joins_per_second else { return };
        self.joins.push_back(now);
        if self.joins.len() > limit.get() as usize {
            let nth_last = self.joins.pop_front();
            if nth_last.is_some_and(|at| at.saturating_add(Duration::from_secs(1)) > now) {
                self.accuse(format!("T32: more than {limit} joins within a second"));
            }
        }
    }

    /// T65: so many calls in 30 s, or the server ends the channel.
    fn budgets(&mut self, now: Timestamp, message: &Message) {
        let join_ref = message.join_ref.as_ref().map(|r| r.as_str().to_owned()).unwrap_or_default();
        let calls = self.calls.entry((message.topic.to_string(), join_ref)).or_default();
        calls.push_back(now);
        calls.retain(|at| at.saturating_add(Duration::from_secs(30)) >= now);
        let count = calls.len();
        if count > 5 {
            self.accuse(format!("T65: {count} presence calls within 30 s on {}", message.topic));
        }
    }

    /// The token that a frame carries, which has not expired by the client's clock.
    fn carried(&mut self, now: Timestamp, message: &Message) -> Option<String> {
        let payload: Value = message.payload.parse().ok()?;
        let text = payload.get("access_token")?.as_str()?.to_owned();
        let (at, wall) = self.tokens.wall;
        // Of small steps of the clock nobody takes notice.
        let unix = wall + now.saturating_since(at) - Duration::from_secs(1);
        if AccessToken::new(text.clone()).is_ok_and(|token| token.is_expired(unix)) {
            self.accuse(format!("T69: {} on {} with a token that has expired", message.event, message.topic));
        }
        Some(text)
    }

    /// Who joins without a token is nobody, or has none and cannot get one.
    fn shows_none(&mut self, message: &Message, none: bool) {
        let Some(Room { private, anonymous, .. }) = self.newest.get(message.topic.as_str()).copied() else {
            return self.accuse(format!("{} is joined, which nobody wanted", message.topic));
        };
        let may =
            anonymous || (self.tokens.signed_out && !private) || (!self.config.token_provider && !self.tokens.any);
        if none && !may {
            self.accuse(format!("T73: {} is joined without a token", message.topic));
        }
        if !none && anonymous {
            self.accuse(format!("{} is joined with a token, which it must not be", message.topic));
        }
    }
}
