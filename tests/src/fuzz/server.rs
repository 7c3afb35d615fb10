//! A server session alone: any frames, any commands of its host, any passing of time.

use std::time::Duration;

use rejoin_core::phoenix::{
    EndReason, JoinId, OnMalformed, OutboxOverflow, PLACE_BYTES, RateLimit, ReplyTo, ServerChannelId, ServerConfig,
    ServerEvent, ServerSession, ServerStats, SharedFrame, Status,
};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

use crate::op::Scrap;
use crate::rng::Rng;

const CONN: ConnId = ConnId::new(1);

/// A server alone, under any frames, and a host that does anything: `traits` chooses its configuration,
/// and the number at each frame what happens beside it. Gives how it ended and what was counted.
pub fn server_ops(traits: u32, steps: &[(Scrap, u32)]) -> (EndReason, ServerStats) {
    let mut run = Run::new(traits);
    for (scrap, choice) in steps {
        let mut rng = Rng::new((*choice).into());
        run.now = run.now.saturating_add(Duration::from_millis(rng.below(2) * rng.below(1_500)));
        let frame = scrap.frame(run.config.serializer, false);
        run.server.handle_transport(run.now, TransportEvent::Received { conn: CONN, frame });
        run.events();
        for _ in 0..4 {
            run.command(&mut rng);
        }
        run.events();
        if rng.chance(300) {
            run.server.handle_timeout(run.now);
            assert!(run.server.poll_timeout().is_none_or(|at| at > run.now), "a deadline is left behind");
        }
        while rng.chance(run.reads) && run.sends() {}
    }
    run.finish()
}

struct Run {
    config: ServerConfig,
    server: ServerSession,
    now: Timestamp,
    joins: Vec<JoinId>,
    replies: Vec<ReplyTo>,
    channels: Vec<ServerChannelId>,
    may_be_heard: bool,
    /// How well the client reads, in permille.
    reads: u64,
    /// The bytes, places included, and the frames that the transport took.
    taken: (usize, u64),
    closed: bool,
    dropped: u64,
    limited: u64,
    ended: Option<EndReason>,
}

impl Run {
    fn new(traits: u32) -> Self {
        let mut config = ServerConfig::new(if traits & 1 == 0 { Serializer::V2 } else { Serializer::V1 });
        (config.channels, config.outbox_bytes) = (4, 3_000);
        if traits & 2 == 0 {
            (config.user_broadcasts, config.malformed) = (true, OnMalformed::Ignore);
        }
        if traits & 4 == 0 {
            (config.auth_timeout, config.held_frames, config.held_bytes) = (Some(Duration::from_secs(1)), 8, 400);
        }
        if traits & 8 == 0 {
            config.joins = Some(RateLimit::per_second(3));
            config.messages = Some(RateLimit::per_second(2).with_burst(5));
            config.bytes = Some(RateLimit::per_second(300));
        }
        config.overflow = overflow((traits >> 4).into());
        config.topic_bytes = if traits & 64 == 0 { 255 } else { 6 };
        Self {
            server: ServerSession::new(config.clone(), CONN, Timestamp::ZERO),
            now: Timestamp::ZERO,
            joins: Vec::new(),
            replies: Vec::new(),
            channels: Vec::new(),
            reads: if traits & 128 == 0 { 800 } else { 100 },
            may_be_heard: config.auth_timeout.is_none(),
            taken: (0, 0),
            closed: false,
            dropped: 0,
            limited: 0,
            ended: None,
            config,
        }
    }

    /// Whatever is over by now answers with an error, which is the point.
    fn command(&mut self, rng: &mut Rng) {
        let (now, server) = (self.now, &mut self.server);
        let channel = self.channels.get(rng.below(self.channels.len() as u64 + 1) as usize).copied();
        match (rng.below(17), channel) {
            (0..4, _) if !self.joins.is_empty() => {
                let join = self.joins.remove(0);
                self.channels.extend(server.accept_join(now, join, Payload::EMPTY).ok());
            }
            (4, _) if !self.joins.is_empty() => _ = server.refuse_join(now, self.joins.remove(0), Payload::EMPTY),
            (5, _) if !self.joins.is_empty() => _ = server.refuse_unmatched(now, self.joins.remove(0)),
            (6, _) if !self.replies.is_empty() => {
                drop(server.reply(now, self.replies.remove(0), Status::Ok, payload(rng)))
            }
            (7..11, Some(channel)) => {
                let message = Message::new("room:a", "news", Payload::json(&rng.number()).unwrap_or_default());
                let Ok(frame) = self.config.serializer.encode_from_server(&message) else { return };
                let shared = SharedFrame::from(frame);
                let shared = if rng.chance(700) { shared.with_key(["x", "y"][rng.below(2) as usize]) } else { shared };
                let _stale = server.push_encoded(now, channel, shared);
            }
            (11, Some(channel)) => drop(server.push(now, channel, "news", payload(rng))),
            (12, Some(channel)) => _ = server.set_overflow(channel, overflow(rng.number())),
            (13, Some(channel)) => _ = server.close_channel(now, channel, rng.chance(500)),
            (14, _) => {
                self.may_be_heard = true;
                let expires_at = rng.chance(500).then(|| now.saturating_add(Duration::from_secs(rng.below(200))));
                server.authenticate(now, expires_at);
            }
            (15, _) if rng.chance(20) => server.refuse(now, 1008, ""),
            (16, _) if rng.chance(20) => server.close(now, 1012, "restart"),
            _ => {}
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            assert!(self.ended.is_none(), "{event:?} after Ended");
            let is_heard = matches!(event, ServerEvent::Join { .. } | ServerEvent::Push { .. });
            assert!(self.may_be_heard || !is_heard, "{event:?} before authentication");
            match event {
                ServerEvent::Join { join, .. } => self.joins.push(join),
                ServerEvent::Push { reply, .. } | ServerEvent::UserBroadcast { reply, .. } => self.replies.push(reply),
                ServerEvent::Dropped { messages, .. } => self.dropped += messages,
                ServerEvent::Limited { messages, .. } => self.limited += messages,
                ServerEvent::Ended { reason } => self.ended = Some(reason),
                _ => {}
            }
        }
    }

    /// Whether there was something to do with the socket.
    fn sends(&mut self) -> bool {
        let is_over = self.server.connection().is_none();
        let Some(action) = self.server.poll_transport() else { return false };
        match action {
            TransportAction::Send { frame, .. } => {
                assert!(!self.closed && !is_over, "a message after the end");
                self.taken = (self.taken.0 + frame.len() + PLACE_BYTES, self.taken.1 + 1);
                let said = self.config.serializer.decode_from_server(frame);
                assert!(said.is_ok(), "the server sends what no client reads: {said:?}");
            }
            TransportAction::Close { .. } => {
                assert!(!self.closed && !is_over, "a second end");
                self.closed = true;
            }
            TransportAction::Abort { .. } => assert!(is_over, "a drop of what still matters"),
            TransportAction::Open(_) => panic!("a server does not dial"),
        }
        true
    }

    fn finish(mut self) -> (EndReason, ServerStats) {
        let before = self.taken.0;
        while self.sends() {}
        let waited = self.taken.0 - before;
        assert!(waited <= self.config.outbox_bytes, "{waited} bytes waited");
        self.server.handle_transport(self.now, TransportEvent::Closed { conn: CONN, code: None, reason: Text::EMPTY });
        self.events();
        assert!(!self.sends());
        assert!(self.server.is_finished() && self.server.poll_timeout().is_none());
        let stats = self.server.stats();
        assert_eq!((self.dropped, self.limited), (stats.dropped, stats.limited), "what was dropped and what was told");
        (self.ended.expect("a socket that is gone has ended"), stats)
    }
}

fn overflow(number: u64) -> OutboxOverflow {
    match number % 4 {
        0 => OutboxOverflow::Close,
        1 => OutboxOverflow::DropNewest,
        2 => OutboxOverflow::DropOldest,
        _ => OutboxOverflow::Latest,
    }
}

fn payload(rng: &mut Rng) -> Payload {
    let longest = rng.below(2) * 5_000;
    match rng.bytes(longest) {
        bytes if rng.chance(500) => Payload::binary(bytes.into()),
        bytes => Payload::json(&bytes).unwrap_or_default(),
    }
}
