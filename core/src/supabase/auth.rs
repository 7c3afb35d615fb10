//! Tokens meet channels: what a join, a dial or an `access_token` push carries, and what waits for it.
//!
//! Which token a frame carries is decided when it leaves, so that it is the one in force then and
//! never an expired one (traps T69, T73).

use alloc::boxed::Box;
use alloc::format;
use core::time::Duration;

use super::access_token::AccessToken;
use super::channels::{Carried, Channel, Refused};
use super::event::{Event, Request, Retry, SubscribeFailure, TokenFailure, TokenReason};
use super::extras::Readiness;
use super::join::join_payload;
use super::session::Session;
use super::tokens::{Credential, News};
use crate::machine::{ConnId, TransportAction};
use crate::payload::Payload;
use crate::phoenix::ChannelId;
use crate::text::Text;

/// What a channel may do about joining.
enum Leave {
    With(Option<AccessToken>),
    /// The provider is being asked, or will be.
    Wait,
    /// Nothing that could be used, until somebody sets a token.
    Stop(TokenFailure),
    /// The server has turned this very token away.
    Refused,
}

impl Session {
    /// Asks for a token before the first join or dial needs it.
    pub(super) fn prepare_token(&mut self) {
        if self.tokens.credential(self.now) == Credential::Pending {
            let news = self.tokens.want(self.now, TokenReason::Missing);
            self.hear(news);
        }
    }

    /// Whether the attempt at the head of the lane may leave: with `Config::authorization` the
    /// provider is heard before each, for as long as it may take.
    pub(super) fn may_dial(&mut self, conn: ConnId) -> bool {
        if !self.config.authorization || !self.config.token_provider {
            return true;
        }
        if self.asked_for_dial != Some(conn) {
            self.asked_for_dial = Some(conn);
            let news = self.tokens.ask(self.now, TokenReason::Dial);
            self.hear(news);
            let patience = self.config.token_timeout.saturating_add(self.config.phoenix.connect_timeout);
            self.inner.extend_dial(self.now, patience);
        }
        !self.tokens.is_asking()
    }

    pub(super) fn take_dial(&mut self) -> Option<TransportAction> {
        if self.config.authorization {
            self.inner.extend_dial(self.now, self.config.phoenix.connect_timeout);
        }
        let mut action = self.inner.take_next()?;
        if let TransportAction::Open(request) = &mut action
            && self.config.authorization
        {
            let bearer = match self.tokens.credential(self.now) {
                Credential::Token(token) => format!("Bearer {}", token.expose()),
                _ => format!("Bearer {}", self.config.api_key.expose()),
            };
            request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            request.headers.push((Text::from_static("authorization"), bearer.into()));
        }
        Some(action)
    }

    pub(super) fn take_join(&mut self, id: ChannelId) -> Option<TransportAction> {
        let channel = self.channels.get(id)?;
        match self.leave(channel) {
            Leave::With(token) => {
                let heard_until = self.heard_until(channel);
                let resuming = channel.extras.as_ref().and_then(|extras| extras.resuming.as_ref());
                let resumed = resuming.zip(heard_until).and_then(|(resuming, until)| resuming.config_since(until));
                let payload = join_payload(resumed.as_ref().unwrap_or(&channel.config), token.as_ref());
                // The channel is there, and a join payload of ours is an object.
                let _ = self.inner.set_join_payload(id, payload);
                let action = self.inner.take_next();
                // Nothing keeps a copy of the token that nobody will look at.
                let _ = self.inner.set_join_payload(id, Payload::EMPTY);
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.carried = Carried::of(token.as_ref());
                    channel.told = false;
                    if let Some(members) = channel.presence() {
                        members.lifetime += 1;
                    }
                    if let Some(postgres) = channel.postgres() {
                        (postgres.readiness, postgres.words) = (Readiness::Unknown, 0);
                    }
                    if let Some(resuming) = channel.resuming() {
                        resuming.heard_until = heard_until;
                    }
                }
                action
            }
            wait => {
                self.hold(id);
                match wait {
                    Leave::Stop(failure) => self.no_token(id, failure, Retry::OnToken),
                    _ => self.ask_for(id, TokenReason::Missing),
                }
                None
            }
        }
    }

    /// Until when a channel has heard every stored broadcast, if it need not ask for all of them again.
    fn heard_until(&self, channel: &Channel) -> Option<Duration> {
        let resuming = channel.extras.as_ref()?.resuming.as_ref()?;
        let lost = channel.gap_since?;
        if resuming.is_delivered(lost) { self.tokens.earliest_unix(lost) } else { resuming.heard_until }
    }

    pub(super) fn take_notice(&mut self, id: ChannelId) -> Option<TransportAction> {
        let token = match self.channels.get(id).map(|channel| (channel, self.leave(channel))) {
            Some((channel, Leave::With(Some(token)))) if !channel.carried.is(Some(&token)) => token,
            // It has become void.
            _ => return self.inner.take_next(),
        };
        let payload = access_token_payload(&token);
        let action = self.inner.take_notice("access_token", &payload)?;
        if let Some(channel) = self.channels.get_mut(id) {
            channel.carried = Carried::of(Some(&token));
            channel.told = true;
        }
        Some(action)
    }

    /// What came of a question or a timer of the token manager.
    pub(super) fn hear(&mut self, news: Option<News>) {
        match news {
            None => {}
            // One that nobody has taken yet is void.
            Some(News::Ask(id, reason)) => self.request = Some(Request::Token { id, reason }),
            Some(News::Changed) => {
                if let Credential::Token(token) = self.tokens.credential(self.now) {
                    self.event(Event::TokenRefreshed { expires_at: token.expires_at() });
                }
                self.apply_tokens();
                self.stop_who_waits_in_vain();
            }
            Some(News::Same) => {
                if self.channels.iter().any(|channel| self.needs_another_token(channel)) {
                    self.tokens.rest(self.now, TokenReason::Rejected);
                } else {
                    self.tokens.settle(self.now);
                }
                self.apply_tokens();
            }
            Some(News::Failed(failure)) => self.token_failed(&failure),
            Some(News::Expired) => self.event(Event::TokenExpired),
        }
    }

    pub(super) fn token_timeouts(&mut self) {
        while let Some(news) = self.tokens.timeout(self.now) {
            self.hear(Some(news));
        }
    }

    /// Another token may be in force: who waited for it joins, who is joined is told.
    pub(super) fn apply_tokens(&mut self) {
        for id in self.channels.ids() {
            let waits = |channel: &Channel| channel.waits && matches!(self.leave(channel), Leave::With(_));
            if self.channels.get(id).is_some_and(waits) {
                self.release(id);
            } else {
                self.tell_token(id);
            }
        }
    }

    /// Tells the server of a joined channel's token, if it does not know it (trap T74).
    pub(super) fn tell_token(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(id).filter(|channel| channel.joined) else { return };
        if let Leave::With(Some(token)) = self.leave(channel)
            && !channel.carried.is(Some(&token))
        {
            self.inner.notify(id);
        }
    }

    /// There is no token, says the provider or the user: who waited for one hears why.
    pub(super) fn stop_who_waits_in_vain(&mut self) {
        for id in self.channels.ids() {
            if let Some(channel) = self.channels.get(id).filter(|channel| channel.waits)
                && let Leave::Stop(failure) = self.leave(channel)
            {
                self.no_token(id, failure, Retry::OnToken);
            }
        }
    }

    fn token_failed(&mut self, failure: &TokenFailure) {
        let retry_at = self.tokens.next_ask().unwrap_or(self.now);
        self.message(Event::TokenUnavailable { failure: failure.clone(), retry_at });
        for id in self.channels.ids() {
            let Some(channel) = self.channels.get(id).filter(|channel| channel.waits) else { continue };
            match self.leave(channel) {
                // An older token has to do.
                Leave::With(_) => self.release(id),
                Leave::Wait => self.no_token(id, failure.clone(), Retry::At(retry_at)),
                Leave::Stop(_) | Leave::Refused => {}
            }
        }
    }

    /// Whether the server has turned this channel away for the token that the provider brings.
    fn needs_another_token(&self, channel: &Channel) -> bool {
        channel.waits && channel.own_token.is_none() && matches!(self.leave(channel), Leave::Refused)
    }

    /// The server turned a channel away for its token: it waits for another one.
    /// False if another one is in force already, so that it can be joined with that.
    pub(super) fn wait_for_another_token(&mut self, id: ChannelId, backoff: Retry) -> bool {
        let Some(channel) = self.channels.get_mut(id) else { return false };
        // A token that was pushed may have crossed with the server's word about the one before.
        if !channel.told {
            // The next token is tried at once. If that is refused, too, a provider that makes a new one
            // for each question must not set the pace.
            let not_before = match backoff {
                Retry::At(at) if channel.refused.is_some() => at,
                _ => self.now,
            };
            channel.refused = Some(Box::new(Refused { carried: channel.carried.clone(), not_before }));
        }
        let Some(channel) = self.channels.get(id) else { return false };
        if matches!(self.leave(channel), Leave::With(_)) {
            return false;
        }
        self.hold(id);
        self.ask_for(id, TokenReason::Rejected);
        true
    }

    /// Asks the provider, if it is the one who could help this channel.
    fn ask_for(&mut self, id: ChannelId, reason: TokenReason) {
        if self.channels.get(id).is_some_and(|channel| channel.own_token.is_none() && !channel.anonymous) {
            let news = self.tokens.want(self.now, reason);
            self.hear(news);
        }
    }

    fn hold(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.waits = true;
        }
        // The channel is there: the lane has just named it, or the caller has.
        let _ = self.inner.hold_join(id);
    }

    fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.waits = false;
        let at = channel.refused.as_ref().map_or(self.now, |refused| refused.not_before);
        let _ = self.inner.retry_join(self.now, id, at);
    }

    fn no_token(&mut self, id: ChannelId, failure: TokenFailure, retry: Retry) {
        let event = Event::SubscribeFailed { channel: id, failure: SubscribeFailure::NoToken(failure), retry };
        match retry {
            // Said again with each failure of the provider, for each channel that waits.
            Retry::At(_) => self.message(event),
            _ => self.event(event),
        }
    }

    /// The token that a channel would be joined with now, or none; `None` if it would not be joined.
    pub(super) fn token_of(&self, channel: &Channel) -> Option<Option<AccessToken>> {
        match self.leave(channel) {
            Leave::With(token) => Some(token),
            Leave::Wait | Leave::Stop(_) | Leave::Refused => None,
        }
    }

    fn leave(&self, channel: &Channel) -> Leave {
        let token = match &channel.own_token {
            _ if channel.anonymous => None,
            Some(own) if self.tokens.is_expired(own, self.now) => return Leave::Stop(TokenFailure::Expired),
            Some(own) => Some(AccessToken::clone(own)),
            None => match self.tokens.credential(self.now) {
                Credential::Token(token) => Some(token),
                Credential::ApiKey => None,
                Credential::SignedOut if channel.private => return Leave::Stop(TokenFailure::SignedOut),
                Credential::SignedOut => None,
                Credential::Pending => return Leave::Wait,
                Credential::Expired => return Leave::Stop(TokenFailure::Expired),
            },
        };
        match &channel.refused {
            Some(refused) if refused.carried.is(token.as_ref()) => Leave::Refused,
            _ => Leave::With(token),
        }
    }
}

fn access_token_payload(token: &AccessToken) -> Payload {
    // A token is ASCII without quotes.
    Payload::unread_json(format!(r#"{{"access_token":"{}"}}"#, token.expose()).into())
}
