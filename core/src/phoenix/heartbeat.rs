//! One outstanding heartbeat at a time, sent on a schedule that nothing postpones.
//!
//! A server counts only what the client sends, so arriving messages never delay a heartbeat
//! (specification, section 3.3). They may extend its *deadline*, but only while a join is
//! outstanding: a server that works on a join answers nothing else (trap T1).

use core::time::Duration;

use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Option<Duration>,
    timeout: Duration,
    /// Whether the present connection has a schedule.
    scheduled: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Off,
    Resting {
        due: Timestamp,
    },
    /// The ref is `None` until the transport takes the frame.
    Pending {
        reference: Option<u64>,
        sent_at: Timestamp,
        deadline: Timestamp,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Beat,
    Missed,
}

impl Heartbeat {
    pub(super) const fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        Self { interval, timeout, scheduled: false, state: State::Off }
    }

    /// A socket opened: what an earlier one left unanswered is forgotten.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.scheduled = true;
        self.state = self.interval.map_or(State::Off, |interval| State::Resting { due: now.saturating_add(interval) });
    }

    /// A long-poll opened: polling is its sign of life, and only a probe sends a heartbeat.
    pub(super) const fn start_without_schedule(&mut self) {
        self.scheduled = false;
        self.stop();
    }

    pub(super) const fn stop(&mut self) {
        self.state = State::Off;
    }

    /// Whether one is on its way.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    /// A heartbeat is to leave. The deadline runs from here even if the transport is stuck, for a
    /// stuck transport is one of the deaths to be noticed.
    pub(super) fn beat(&mut self, now: Timestamp) {
        self.state = State::Pending { reference: None, sent_at: now, deadline: now.saturating_add(self.timeout) };
    }

    /// The transport takes the heartbeat, with this ref.
    pub(super) const fn taken(&mut self, with: u64) {
        if let State::Pending { reference, .. } = &mut self.state {
            *reference = Some(with);
        }
    }

    /// The round trip, if this ref answers the pending heartbeat.
    pub(super) fn answered(&mut self, now: Timestamp, reference: u64) -> Option<Duration> {
        let State::Pending { reference: pending, sent_at, .. } = self.state else { return None };
        if pending != Some(reference) {
            return None;
        }
        self.state = match self.interval.filter(|_| self.scheduled) {
            Some(interval) => State::Resting { due: sent_at.saturating_add(interval).max(now) },
            None => State::Off,
        };
        Some(now.saturating_since(sent_at))
    }

    /// The peer is busy with a join and has just shown that it is alive.
    pub(super) fn extend(&mut self, now: Timestamp) {
        if let State::Pending { deadline, .. } = &mut self.state {
            *deadline = now.saturating_add(self.timeout);
        }
    }

    pub(super) const fn due(&self) -> Option<(Timestamp, Due)> {
        match self.state {
            State::Off => None,
            State::Resting { due } => Some((due, Due::Beat)),
            State::Pending { deadline, .. } => Some((deadline, Due::Missed)),
        }
    }
}
