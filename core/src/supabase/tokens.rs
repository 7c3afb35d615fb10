//! Which access token is in force, when a fresh one is wanted, and how long its provider may take.
//!
//! Tokens come, in this order, from the host's provider, from the configuration, and failing both
//! the API key speaks for the client (specification, section 1.4). With a provider it alone is the
//! source of truth: a token set by hand counts until the provider is asked next (section 8.3).
//! Expiry is wall time, which the host tells; without it no token is known to be expired.

use core::time::Duration;

use super::access_token::AccessToken;
use super::event::{RequestId, TokenFailure, TokenReason};
use crate::backoff::{Backoff, Jitter, JitterRng};
use crate::time::Timestamp;

/// A token is refreshed at least this long before it expires.
const LEAST_LEAD: Duration = Duration::from_secs(30);
/// The shortest time between an answer and the next question about the same token.
const SOONEST: Duration = Duration::from_secs(1);
/// By how much the wall clock may differ from what it was expected to say.
const DRIFT: Duration = Duration::from_secs(1);
/// One that expires so soon is not used any more while a better one can be had.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Tokens {
    provider: bool,
    timeout: Duration,
    lead: Duration,
    retry: Backoff,
    jitter: Jitter,
    rng: JitterRng,
    configured: Option<AccessToken>,
    current: Option<AccessToken>,
    signed_out: bool,
    stopped: bool,
    wall: Option<Wall>,
    /// Of all that the host has told, what makes a time of ours the earliest.
    earliest: Option<Wall>,
    asking: Option<Asking>,
    asked: u64,
    /// How many answers in a row brought nothing new.
    fruitless: u32,
    /// When to ask next, and why.
    ask_at: Option<(Timestamp, TokenReason)>,
    /// When the token in force expires.
    expiry: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Wall {
    at: Timestamp,
    since_unix_epoch: Duration,
}

impl Wall {
    fn says(self, when: Timestamp) -> Duration {
        let before = self.at.saturating_since(when);
        self.since_unix_epoch.saturating_add(when.saturating_since(self.at)).saturating_sub(before)
    }
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    id: RequestId,
    deadline: Timestamp,
}

/// With what a channel may be joined now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Token(AccessToken),
    /// There is no token and none is to be had: the API key speaks.
    ApiKey,
    SignedOut,
    /// The provider is to bring one.
    Pending,
    /// The only ones there are have expired.
    Expired,
}

/// What became of a timer or of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Another token is in force, or none.
    Changed,
    /// The provider brought the token that is in force already.
    Same,
    /// The provider brought nothing.
    Failed(TokenFailure),
    /// The token in force has expired.
    Expired,
    /// The provider is to be asked.
    Ask(RequestId, TokenReason),
}

impl Tokens {
    pub(super) fn new(config: &super::Config) -> Self {
        let phoenix = &config.phoenix;
        let heartbeat = phoenix.heartbeat_interval.unwrap_or_default();
        let secs = Duration::from_secs;
        Self {
            provider: config.token_provider,
            timeout: config.token_timeout.max(Duration::from_millis(1)),
            lead: LEAST_LEAD.max(heartbeat.saturating_mul(2)),
            retry: Backoff::Steps([1, 2, 5, 10, 30].map(secs).into()),
            jitter: phoenix.jitter,
            // Another stream than the session's, so that asking for tokens shifts no reconnect.
            rng: JitterRng::new(!phoenix.jitter_seed),
            configured: config.access_token.clone(),
            current: None,
            signed_out: false,
            stopped: false,
            wall: None,
            earliest: None,
            asking: None,
            asked: 0,
            fruitless: 0,
            ask_at: None,
            expiry: None,
        }
    }

    pub(super) fn credential(&self, now: Timestamp) -> Credential {
        if self.signed_out {
            return Credential::SignedOut;
        }
        let tokens = [&self.current, &self.configured].into_iter().flatten();
        let valid = tokens.clone().find(|token| !self.expires_within(token, Duration::ZERO, now));
        match valid {
            Some(token) if self.may_improve(token, now) => Credential::Pending,
            Some(token) => Credential::Token(token.clone()),
            None if self.provider => Credential::Pending,
            None if tokens.count() > 0 => Credential::Expired,
            None => Credential::ApiKey,
        }
    }

    /// Whether the provider should be heard before this token is used.
    fn may_improve(&self, token: &AccessToken, now: Timestamp) -> bool {
        self.provider && self.fruitless == 0 && (self.current.is_none() || self.expires_within(token, MARGIN, now))
    }

    /// A token that may be shown now, even if a better one is being fetched.
    pub(super) fn in_force(&self, now: Timestamp) -> Option<AccessToken> {
        let tokens = [&self.current, &self.configured].into_iter().flatten().filter(|_| !self.signed_out);
        tokens.into_iter().find(|token| !self.is_expired(token, now)).cloned()
    }

    pub(super) fn is_expired(&self, token: &AccessToken, now: Timestamp) -> bool {
        self.expires_within(token, Duration::ZERO, now)
    }

    fn expires_within(&self, token: &AccessToken, margin: Duration, now: Timestamp) -> bool {
        self.unix(now).is_some_and(|unix| token.is_expired(unix.saturating_add(margin)))
    }

    /// The wall clock, if the host has told.
    pub(super) fn unix(&self, now: Timestamp) -> Option<Duration> {
        self.wall.map(|wall| wall.says(now))
    }

    /// The earliest that the wall clock can have said at a time that may have passed before the host told
    /// the time last. It may have slept since, without our time counting that, or have set its clock.
    pub(super) fn earliest_unix(&self, then: Timestamp) -> Option<Duration> {
        self.earliest.map(|wall| wall.says(then))
    }

    pub(super) fn set_wall_clock(&mut self, now: Timestamp, since_unix_epoch: Duration) {
        // A clock that goes as expected changes no plan.
        if self.unix(now).is_none_or(|expected| expected.abs_diff(since_unix_epoch) >= DRIFT) {
            let wall = Wall { at: now, since_unix_epoch };
            self.wall = Some(wall);
            self.earliest = self.earliest.filter(|earliest| earliest.says(now) <= since_unix_epoch).or(Some(wall));
            self.schedule(now);
        }
    }

    pub(super) const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// When the provider is asked next, if it is not being asked.
    pub(super) fn next_ask(&self) -> Option<Timestamp> {
        self.ask_at.map(|(at, _)| at)
    }

    /// Asks the provider, if there is one, unless it is being asked or has just been of no help.
    pub(super) fn want(&mut self, now: Timestamp, reason: TokenReason) -> Option<News> {
        let resting = self.fruitless > 0 && self.ask_at.is_some_and(|(at, _)| at > now);
        if resting { None } else { self.ask(now, reason) }
    }

    /// Asks the provider, if there is one, unless it is being asked.
    pub(super) fn ask(&mut self, now: Timestamp, reason: TokenReason) -> Option<News> {
        if !self.provider || self.asking.is_some() {
            return None;
        }
        self.asked += 1;
        let id = RequestId(self.asked);
        self.asking = Some(Asking { id, deadline: now.saturating_add(self.timeout) });
        self.ask_at = None;
        Some(News::Ask(id, reason))
    }

    /// Nothing will be asked and nothing expires any more, whatever the host says from now on.
    pub(super) fn stop(&mut self) {
        (self.asking, self.ask_at, self.expiry) = (None, None, None);
        (self.provider, self.stopped) = (false, true);
    }

    /// The host chose a token, or none; a question that is still open is void.
    pub(super) fn set(&mut self, now: Timestamp, token: Option<AccessToken>) {
        self.asking = None;
        self.fruitless = 0;
        self.signed_out = token.is_none();
        self.current = token;
        self.schedule(now);
    }

    /// The provider's answer; `None` if nobody waits for it any more.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: Result<Option<AccessToken>, TokenFailure>,
    ) -> Option<News> {
        self.asking.take_if(|asking| asking.id == id)?;
        Some(match answer {
            Ok(Some(token)) if self.is_expired(&token, now) => self.failed(now, TokenFailure::Expired),
            Ok(Some(token)) if self.current.as_ref() == Some(&token) => News::Same,
            Ok(token) => {
                self.set(now, token);
                if self.current.as_ref().is_some_and(|token| self.expires_within(token, MARGIN, now)) {
                    // The best that can be had, so nobody waits for a better one until the next question.
                    self.fruitless = 1;
                }
                News::Changed
            }
            Err(failure) => self.failed(now, failure),
        })
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        let asking = self.asking.map(|asking| asking.deadline);
        [asking, self.next_ask(), self.expiry].into_iter().flatten().min()
    }

    /// What has come due, one thing at a time.
    pub(super) fn timeout(&mut self, now: Timestamp) -> Option<News> {
        if self.asking.is_some_and(|asking| asking.deadline <= now) {
            self.asking = None;
            return Some(self.failed(now, TokenFailure::TimedOut));
        }
        if self.expiry.is_some_and(|at| at <= now) {
            self.expiry = None;
            return Some(News::Expired);
        }
        let (_, reason) = self.ask_at.filter(|(at, _)| *at <= now)?;
        self.ask_at = None;
        self.ask(now, reason)
    }

    fn failed(&mut self, now: Timestamp, failure: TokenFailure) -> News {
        self.rest(now, TokenReason::Retry);
        News::Failed(failure)
    }

    /// The provider brought nothing new, and nobody needs another token: it is asked in time for its end.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.fruitless = 0;
        self.schedule(now);
    }

    /// Nothing new came: the provider is left alone for a while.
    pub(super) fn rest(&mut self, now: Timestamp, reason: TokenReason) {
        let delay = self.rng.spread(self.retry.delay(self.fruitless), self.jitter);
        self.fruitless = self.fruitless.saturating_add(1);
        self.ask_at = Some((now.saturating_add(delay), reason));
    }

    /// Plans the refresh of the token in force, and the word about its end.
    fn schedule(&mut self, now: Timestamp) {
        // What a fruitless answer has planned stays.
        self.ask_at = self.ask_at.filter(|_| self.fruitless > 0);
        self.expiry = None;
        let token = self.current.as_ref().or(self.configured.as_ref()).filter(|_| !self.signed_out && !self.stopped);
        let (Some(token), Some(unix)) = (token, self.unix(now)) else { return };
        let Some(expires_at) = token.expires_at() else { return };
        let left = expires_at.saturating_sub(unix);
        self.expiry = Some(now.saturating_add(left));
        if !self.provider || self.fruitless > 0 || self.asking.is_some() {
            return;
        }
        let lifetime = token.issued_at().map_or(left, |issued| expires_at.saturating_sub(issued));
        // A token of less than a minute is still used for half of its life.
        let lead = self.lead.max(lifetime / 10).min(left / 2);
        let early = match self.jitter {
            Jitter::None => Duration::ZERO,
            jitter => self.rng.spread(lead / 10, jitter),
        };
        // A provider that keeps bringing the same token is asked ever sooner, but not without end.
        let in_time = left.saturating_sub(lead).saturating_sub(early).max(SOONEST);
        self.ask_at = Some((now.saturating_add(in_time), TokenReason::Expiring));
    }
}
