//! What a channel wants to be present as, and when it may say so.
//!
//! A server forgets its clients with each join and ends a channel that makes more than five presence
//! calls in 30 s (specification, sections 7.3 and 9.3). So the last wish is kept, and said again as soon
//! as the server does not know it and the budget allows it; wishes in between are passed over.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::payload::Payload;
use crate::phoenix::{PushId, PushOutcome};
use crate::time::Timestamp;

/// How many presence calls, `track` and `untrack` together, a channel makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceBudget {
    /// So many at most; default 5. At least 1.
    pub calls: u32,
    /// In any span of this length; default 31 s. Servers count within 30 s, and what left in time may
    /// arrive closer together.
    pub per: Duration,
}

impl PresenceBudget {
    /// So many calls within any such span.
    #[must_use]
    pub const fn new(calls: u32, per: Duration) -> Self {
        Self { calls, per }
    }
}

impl Default for PresenceBudget {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(31))
    }
}

#[derive(Debug)]
pub(super) struct Tracking {
    /// Whether a wish whose outcome was told is said again after a rejoin.
    again: bool,
    budget: PresenceBudget,
    wish: Option<Wish>,
    told: Told,
    /// Whoever waits to hear that the server knows the wish.
    waiter: Option<Waiter>,
    /// When the last calls left, as many as the budget remembers.
    calls: VecDeque<Timestamp>,
    /// Not to be tried before, since there was no room to send.
    not_before: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Track(Payload),
    Untrack,
}

/// What the server has been told since the channel was joined.
#[derive(Debug)]
enum Told {
    /// Not the wish.
    Nothing,
    Sending {
        push: PushId,
        /// Whoever waits for this very call.
        waiter: Option<Waiter>,
        /// Whether there is a newer wish.
        outdated: bool,
        /// Whether the transport has taken it.
        sent: bool,
    },
    /// The wish, perhaps: there was no answer.
    Unanswered,
    Wish,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    push: PushId,
    /// Whether its wish has left before, in a connection that broke.
    sent: bool,
}

/// Somebody who need not wait any more.
pub(super) type Settled = Option<(PushId, PushOutcome)>;

impl Tracking {
    pub(super) const fn new(again: bool, budget: PresenceBudget) -> Self {
        let calls = VecDeque::new();
        Self { again, budget, wish: None, told: Told::Nothing, waiter: None, calls, not_before: None }
    }

    /// Wishes something else, for whose outcome `push` waits. Who waited for a wish that was never
    /// sent hears that it never will be.
    pub(super) fn wish(&mut self, wish: Wish, push: PushId, joined: bool) -> [Settled; 2] {
        let superseded = self.waiter.take().map(|waiter| (waiter.push, waiter.given_up()));
        let known = self.wish.as_ref() == Some(&wish) && matches!(self.told, Told::Wish);
        let pointless = wish == Wish::Untrack && !joined;
        if known || pointless {
            // The server shows just that already.
            self.wish = Some(wish).filter(|_| !pointless);
            return [superseded, Some((push, PushOutcome::Ok(Payload::EMPTY)))];
        }
        self.wish = Some(wish);
        self.waiter = Some(Waiter { push, sent: false });
        match &mut self.told {
            Told::Sending { outdated, .. } => *outdated = true,
            told => *told = Told::Nothing,
        }
        [superseded, None]
    }

    /// What to say to the server of a joined channel now, if anything.
    pub(super) fn next_call(&self, now: Timestamp) -> Option<&Wish> {
        self.call_due().filter(|at| *at <= now).and(self.wish.as_ref())
    }

    /// When there is something to say to the server of a joined channel.
    pub(super) fn call_due(&self) -> Option<Timestamp> {
        if self.wish.is_none() || !matches!(self.told, Told::Nothing) {
            return None;
        }
        let full = self.calls.len() >= self.capacity();
        let allowed = self.calls.front().filter(|_| full).map(|oldest| oldest.saturating_add(self.budget.per));
        Some(allowed.max(self.not_before).unwrap_or(Timestamp::ZERO))
    }

    /// The wish is on its way as this push.
    pub(super) fn sending(&mut self, push: PushId) {
        self.not_before = None;
        self.told = Told::Sending { push, waiter: self.waiter.take(), outdated: false, sent: false };
    }

    /// There was no room to send it.
    pub(super) const fn put_off(&mut self, until: Timestamp) {
        self.not_before = Some(until);
    }

    /// The transport has taken the call. Who waits for it?
    pub(super) fn sent(&mut self, now: Timestamp) -> Option<PushId> {
        if self.calls.len() >= self.capacity() {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
        let Told::Sending { waiter, sent, .. } = &mut self.told else { return None };
        *sent = true;
        let waiter = waiter.as_mut()?;
        waiter.sent = true;
        Some(waiter.push)
    }

    /// How the call ended. One that found no room to leave is made again `later`.
    pub(super) fn done(&mut self, push: PushId, outcome: PushOutcome, later: Timestamp) -> Settled {
        let Told::Sending { push: sending, waiter, outdated, sent } = &mut self.told else { return None };
        if *sending != push {
            return None;
        }
        let (waiter, outdated, sent) = (waiter.take(), *outdated, *sent);
        self.told = Told::Nothing;
        if outcome == PushOutcome::Dropped {
            self.not_before = Some(later);
        }
        match &outcome {
            _ if outdated => {}
            PushOutcome::Dropped | PushOutcome::Unknown => {
                // It is said again, and whoever waits goes on waiting.
                self.waiter = waiter;
                return None;
            }
            PushOutcome::TimedOut if !sent => {}
            PushOutcome::TimedOut => self.told = Told::Unanswered,
            // The server does not want it, now or later.
            PushOutcome::Error(_) | PushOutcome::Other { .. } => self.wish = None,
            PushOutcome::Ok(_) | PushOutcome::Sent => self.told = Told::Wish,
        }
        waiter.map(|waiter| (waiter.push, outcome))
    }

    /// The channel is no longer joined, so that the server has forgotten it. Who need not wait any more,
    /// and which call is void, be it that it waits to leave after the rejoin?
    pub(super) fn lost(&mut self) -> ([Settled; 2], Option<PushId>) {
        self.not_before = None;
        let told = core::mem::replace(&mut self.told, Told::Nothing);
        let over = matches!(told, Told::Wish | Told::Unanswered);
        let (mut superseded, mut void) = (None, None);
        if let Told::Sending { push, waiter, outdated, .. } = told {
            void = Some(push);
            if outdated {
                superseded = waiter.map(|waiter| (waiter.push, waiter.given_up()));
            } else {
                self.waiter = waiter;
            }
        }
        let mut untracked = None;
        match self.wish {
            // Forgotten is as good as untracked.
            Some(Wish::Untrack) => {
                self.wish = None;
                untracked = self.waiter.take().map(|waiter| (waiter.push, PushOutcome::Ok(Payload::EMPTY)));
            }
            Some(Wish::Track(_)) if over && !self.again => self.wish = None,
            _ => {}
        }
        ([superseded, untracked], void)
    }

    /// Nobody wants to hear of this push any more; the wish stays.
    pub(super) fn cancel(&mut self, push: PushId) -> Settled {
        let in_flight = match &mut self.told {
            Told::Sending { waiter, .. } => waiter,
            _ => &mut None,
        };
        let waiter = [&mut self.waiter, in_flight].into_iter().find_map(|w| w.take_if(|w| w.push == push))?;
        Some((push, waiter.given_up()))
    }

    /// The channel is gone: nobody waits any more.
    pub(super) fn end(self) -> [Settled; 2] {
        let in_flight = match self.told {
            Told::Sending { waiter, .. } => waiter,
            _ => None,
        };
        [in_flight, self.waiter].map(|waiter| waiter.map(|waiter| (waiter.push, waiter.given_up())))
    }

    fn capacity(&self) -> usize {
        self.budget.calls.max(1) as usize
    }
}

impl Waiter {
    const fn given_up(self) -> PushOutcome {
        if self.sent { PushOutcome::Unknown } else { PushOutcome::Dropped }
    }
}
