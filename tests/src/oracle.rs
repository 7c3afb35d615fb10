//! What must hold for everything a client session reports: one outcome a push, nothing after the end.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::phoenix::{ChannelId, Event, Limits, PushId, PushOutcome, Session};
use rejoin_core::{Machine, Timestamp, TransportAction, TransportEvent};

use crate::app::serial_of;
use crate::weather::Climate;
use crate::wirelog::WireLog;

/// Watches a client session and says what is wrong.
#[derive(Debug)]
pub struct Oracle {
    wire: WireLog,
    climate: Climate,
    limits: Limits,
    pushes: BTreeMap<PushId, PushLog>,
    channels: BTreeMap<ChannelId, ChannelLog>,
    connected: bool,
    closed: bool,
    pub(crate) reads_promptly: bool,
    violations: Vec<String>,
}

#[derive(Debug)]
struct PushLog {
    serial: u64,
    wants_reply: bool,
    sent: bool,
    done: Option<PushOutcome>,
}

#[derive(Debug, Default)]
struct ChannelLog {
    joined: bool,
    joined_before: bool,
    closed: bool,
    last_news: u64,
}

impl Oracle {
    /// For a session that has just been made.
    #[must_use]
    pub fn new(session: &Session, climate: Climate) -> Self {
        let (serializer, limits) = (session.config().serializer, session.config().limits.clone());
        Self {
            wire: WireLog::new(serializer, limits.joins_in_flight.max(1)),
            climate,
            limits,
            pushes: BTreeMap::new(),
            channels: BTreeMap::new(),
            connected: false,
            closed: false,
            reads_promptly: true,
            violations: Vec::new(),
        }
    }

    /// Whether the weather was lawful from the beginning.
    #[must_use]
    pub const fn is_lawful(&self) -> bool {
        matches!(self.climate, Climate::Lawful)
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Something else is wrong.
    pub fn accuse(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// A join was accepted.
    pub fn joins(&mut self, channel: ChannelId) {
        if self.channels.insert(channel, ChannelLog::default()).is_some() {
            self.accuse(format!("S3: {channel:?} is given out twice"));
        }
    }

    /// A push with this serial number was accepted.
    pub fn pushes(&mut self, push: PushId, serial: u64, wants_reply: bool) {
        let log = PushLog { serial, wants_reply, sent: false, done: None };
        if self.pushes.insert(push, log).is_some() {
            self.accuse(format!("S2: {push:?} is given out twice"));
        }
    }

    /// Something is about to reach the client.
    pub fn arrives(&mut self, event: &TransportEvent) {
        self.wire.arrives(event);
    }

    /// The client told its transport to do something.
    pub fn leaves(&mut self, action: &TransportAction) {
        if let Err(what) = self.wire.leaves(action) {
            self.accuse(what);
        }
        if self.closed && matches!(action, TransportAction::Open(_) | TransportAction::Send { .. }) {
            self.accuse(format!("S3: {action:?} after Closed"));
        }
    }

    /// The client reported something.
    pub fn reports(&mut self, now: Timestamp, event: &Event) {
        if self.closed {
            self.accuse(format!("S3: {event:?} after Closed"));
        }
        match event {
            Event::Connected { .. } if std::mem::replace(&mut self.connected, true) => {
                self.accuse("S4: Connected twice");
            }
            Event::Disconnected { retry_at, .. } => {
                self.connected = false;
                // Events that nobody read for a while may be about times that have passed.
                if self.reads_promptly && retry_at.is_some_and(|at| at < now) {
                    self.accuse("S7: a retry in the past");
                }
            }
            Event::PushSent { push } => self.push_sent(*push),
            Event::PushDone { push, outcome } => self.push_done(*push, outcome),
            Event::Malformed { error } if self.climate == Climate::Lawful => {
                self.accuse(format!("S12: the client calls the server malformed: {error}"));
            }
            Event::Closed => self.closed = true,
            _ => {}
        }
        self.channel_reports(event);
    }

    fn channel_reports(&mut self, event: &Event) {
        let (Event::Joined { channel, .. }
        | Event::JoinFailed { channel, .. }
        | Event::ChannelErrored { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::Message { channel, .. }) = event
        else {
            return;
        };
        let Some(log) = self.channels.get_mut(channel) else {
            return self.violations.push(format!("S3: {event:?} of a channel that nobody joined"));
        };
        if log.closed {
            self.violations.push(format!("S3: {event:?} after ChannelClosed"));
        }
        match event {
            Event::Joined { again, .. } => {
                if log.joined || *again != log.joined_before {
                    self.violations.push(format!("S3: {event:?} while {log:?}"));
                }
                (log.joined, log.joined_before, log.last_news) = (true, true, 0);
            }
            Event::JoinFailed { .. } if log.joined => {
                self.violations.push(format!("S3: {event:?} while joined"));
            }
            Event::ChannelErrored { .. } => log.joined = false,
            Event::ChannelClosed { .. } => (log.joined, log.closed) = (false, true),
            Event::Message { event: name, payload, .. } if self.climate == Climate::Lawful => {
                let serial = serial_of(payload).unwrap_or_default();
                if !log.joined {
                    self.violations.push(format!("T12: {event:?} while not joined"));
                } else if *name == "news" && serial <= log.last_news {
                    self.violations.push(format!("S3: message {serial} after {}", log.last_news));
                } else if *name == "news" {
                    log.last_news = serial;
                }
            }
            _ => {}
        }
    }

    fn push_sent(&mut self, push: PushId) {
        match self.pushes.get_mut(&push) {
            Some(log) if log.wants_reply && !log.sent && log.done.is_none() => log.sent = true,
            other => {
                let what = format!("S2: PushSent of {push:?}, of which is known {other:?}");
                self.accuse(what);
            }
        }
    }

    fn push_done(&mut self, push: PushId, outcome: &PushOutcome) {
        let lawful = self.climate == Climate::Lawful;
        let Some(log) = self.pushes.get_mut(&push) else {
            return self.accuse(format!("S2: PushDone of {push:?}, which nobody pushed"));
        };
        let mut wrong = log.done.is_some();
        wrong |= match outcome {
            PushOutcome::Ok(response) | PushOutcome::Error(response) => {
                // A shout is answered with `{}`; an echo must be its own.
                let other = serial_of(response).is_some_and(|serial| serial != log.serial);
                !log.sent || !log.wants_reply || (lawful && other)
            }
            PushOutcome::Other { .. } => !log.sent || !log.wants_reply,
            PushOutcome::Sent => log.wants_reply,
            PushOutcome::Unknown => !log.sent,
            PushOutcome::Dropped => log.sent,
            _ => false,
        };
        if wrong {
            let what = format!("S2: {push:?} ends as {outcome:?}, but {log:?}");
            log.done = Some(outcome.clone());
            return self.accuse(what);
        }
        log.done = Some(outcome.clone());
    }

    /// Checks the queues that can be seen from outside, and that no deadline is left behind.
    pub fn inspects(&mut self, session: &Session, now: Timestamp, after_timeout: bool) {
        if after_timeout && session.poll_timeout().is_some_and(|at| at <= now) {
            self.accuse("S7: handle_timeout leaves its own deadline behind");
        }
        // What nobody has read yet is not known here either.
        if session.queued_events() > 0 {
            return;
        }
        let limits = &self.limits;
        let open = self.pushes.values().filter(|log| log.done.is_none());
        let (mut replies, mut unsent) = (0, 0);
        for log in open {
            replies += usize::from(log.wants_reply);
            unsent += usize::from(!log.sent);
        }
        if replies > limits.pending_replies
            || unsent > limits.send_buffer + limits.outbound_frames
            || session.channels().count() > limits.channels
        {
            let channels = session.channels().count();
            self.accuse(format!("S6: {replies} replies awaited, {unsent} pushes unsent, {channels} channels"));
        }
    }

    /// Checks what can only be said at the end: outcomes against what the servers have seen.
    pub fn concludes(&mut self, seen: &BTreeSet<u64>, seen_twice: &BTreeSet<u64>) {
        if self.climate == Climate::Hostile {
            return;
        }
        let mut wrong = Vec::new();
        for (push, log) in &self.pushes {
            let never_sent = matches!(log.done, Some(PushOutcome::Dropped))
                || (matches!(log.done, Some(PushOutcome::TimedOut)) && !log.sent);
            // An error may be the session's own answer: "unmatched topic".
            let answered = matches!(log.done, Some(PushOutcome::Ok(_)));
            if never_sent && seen.contains(&log.serial) {
                wrong.push(format!("S2: {push:?} counts as never sent, but the server has it: {log:?}"));
            }
            if answered && !seen.contains(&log.serial) {
                wrong.push(format!("S2: {push:?} counts as answered, but no server had it: {log:?}"));
            }
        }
        if !seen_twice.is_empty() {
            wrong.push(format!("S2: pushes sent twice: {seen_twice:?}"));
        }
        self.violations.append(&mut wrong);
    }

    /// L2: every push has its outcome.
    pub fn expects_all_done(&mut self) {
        let open: Vec<_> = self.pushes.iter().filter(|(_, log)| log.done.is_none()).map(|(push, _)| *push).collect();
        if !open.is_empty() {
            self.accuse(format!("L2: no outcome for {open:?}"));
        }
    }

    /// How many pushes were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.pushes.len()
    }
}
