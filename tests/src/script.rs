//! A lone Phoenix session and a peer that the test writes frame by frame.

use rejoin_core::phoenix::{ChannelId, Config, Event, JoinOptions, LossReason, Push, PushId, PushOutcome, Session};
use rejoin_core::{Jitter, Payload, Timestamp};

use crate::scripted::Scripted;

/// The defaults, with delays that are exactly what the tables say.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the URL is a constant")]
pub fn config() -> Config {
    let mut config = Config::new("ws://sim/socket").expect("a URL");
    config.jitter = Jitter::None;
    config
}

/// A Phoenix session under a script.
pub type Script = Scripted<Session>;

impl Script {
    /// An idle session.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let serializer = config.serializer;
        Self::driving(Session::new(config, Timestamp::ZERO), serializer)
    }

    /// A connected session.
    #[must_use]
    pub fn open(config: Config) -> Self {
        let mut script = Self::new(config);
        script.connect();
        script.opened();
        script.events.clear();
        script
    }

    /// A connected session that has joined `room`.
    #[must_use]
    pub fn in_room(config: Config) -> (Self, ChannelId) {
        let mut script = Self::open(config);
        let room = script.join("room");
        script.accept("room");
        script.sent.clear();
        script.events.clear();
        (script, room)
    }

    /// `connect`.
    pub fn connect(&mut self) {
        self.session.connect(self.now);
        self.drain();
    }

    /// `join` with the defaults.
    #[expect(clippy::missing_panics_doc, reason = "a script that cannot join is wrong")]
    pub fn join(&mut self, topic: &str) -> ChannelId {
        let id = self.session.join(self.now, topic, JoinOptions::default()).expect("the join is accepted");
        self.drain();
        id
    }

    /// `push` of an event with `{}` that wants a reply.
    #[expect(clippy::missing_panics_doc, reason = "a script that cannot push is wrong")]
    pub fn push(&mut self, channel: ChannelId, event: &str) -> PushId {
        let push = Push::new(event, Payload::EMPTY);
        let id = self.session.push(self.now, channel, push).expect("the push is accepted");
        self.drain();
        id
    }

    /// `leave`.
    #[expect(clippy::missing_panics_doc, reason = "a script that cannot leave is wrong")]
    pub fn leave(&mut self, channel: ChannelId) {
        self.session.leave(self.now, channel).expect("the channel is there");
        self.drain();
    }

    /// The outcomes of a push among the events that were not taken yet.
    #[must_use]
    pub fn outcomes(&self, push: PushId) -> Vec<PushOutcome> {
        let of = |event: &Event| match event {
            Event::PushDone { push: done, outcome } if *done == push => Some(outcome.clone()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| of(event)).collect()
    }

    /// The reasons of the losses among the events that were not taken yet.
    #[must_use]
    pub fn losses(&self) -> Vec<LossReason> {
        let of = |event: &Event| match event {
            Event::Disconnected { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| of(event)).collect()
    }

    /// The names of the events among the messages that were not taken yet.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let of = |event: &Event| match event {
            Event::Message { event, .. } => Some(event.to_string()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| of(event)).collect()
    }
}
