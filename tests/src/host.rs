//! A lone server session with a small application behind it: the peer of clients that a test writes.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::phoenix::{
    EndReason, JoinId, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerSession, Status,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

/// A server session whose lanes are drained after every input. Its application is the one that the
/// recordings were made with, as far as they need it: `room:forbidden` may not be joined, `ping` and
/// most other pushes are answered `ok`, `crash` and `stop…` end the channel.
#[derive(Debug)]
pub struct Host {
    /// The session.
    pub session: ServerSession,
    /// The time.
    pub now: Timestamp,
    /// Whether the application answers joins and pushes; the test does if not.
    pub answers: bool,
    /// Whether the transport takes anything at the moment.
    pub plugged: bool,
    /// Joins that nobody answered yet.
    pub joins: Vec<(Text, JoinId)>,
    /// Pushes that the application left alone.
    pub pushes: Vec<(Text, Payload, ReplyTo)>,
    /// Replies that the application gives later.
    later: Vec<(Timestamp, ReplyTo)>,
    /// The joined channels.
    pub channels: BTreeMap<String, ServerChannelId>,
    /// The channels that are over, oldest first.
    pub left: Vec<ServerChannelId>,
    /// Every frame since the last [`Host::take`].
    pub sent: Vec<Frame>,
    /// How the socket was closed (with the code) or dropped.
    pub ends: Vec<Option<u16>>,
    /// Why it is over.
    pub ended: Option<EndReason>,
    /// How often the client was called malformed.
    pub malformed: usize,
    /// What else it was told: `Expiring`, `Limited`, `Dropped`.
    pub notices: Vec<ServerEvent>,
}

impl Host {
    /// The number of its connection.
    pub const CONN: ConnId = ConnId::new(1);

    /// A host with the defaults.
    #[must_use]
    pub fn new(serializer: Serializer) -> Self {
        Self::with(ServerConfig::new(serializer))
    }

    /// A host with this configuration.
    #[must_use]
    pub fn with(config: ServerConfig) -> Self {
        Self {
            session: ServerSession::new(config, Self::CONN, Timestamp::ZERO),
            now: Timestamp::ZERO,
            answers: true,
            plugged: false,
            joins: Vec::new(),
            pushes: Vec::new(),
            later: Vec::new(),
            channels: BTreeMap::new(),
            left: Vec::new(),
            sent: Vec::new(),
            ends: Vec::new(),
            ended: None,
            malformed: 0,
            notices: Vec::new(),
        }
    }

    /// A host whose client has joined `room:a` under vsn 2.0.0 and join_ref 1.
    #[must_use]
    pub fn joined() -> Self {
        let mut host = Self::new(Serializer::V2);
        host.client(r#"["1","1","room:a","phx_join",{}]"#);
        host.take();
        host
    }

    /// The client sends text.
    pub fn client(&mut self, text: &str) {
        self.client_frame(Frame::Text(text.into()));
    }

    /// The client sends a frame.
    pub fn client_frame(&mut self, frame: Frame) {
        self.transport(TransportEvent::Received { conn: Self::CONN, frame });
    }

    /// Something happens to the connection.
    pub fn transport(&mut self, event: TransportEvent) {
        self.session.handle_transport(self.now, event);
        self.drain();
    }

    /// Time passes.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        let next = |host: &Self| host.later.iter().map(|(at, _)| *at).chain(host.session.poll_timeout()).min();
        while let Some(at) = next(self).filter(|at| *at <= until) {
            self.now = at;
            self.session.handle_timeout(at);
            for (_, reply) in self.later.extract_if(.., |(due, _)| *due <= at) {
                // Whoever has left meanwhile needs no reply.
                let _stale = self.session.reply(at, reply, Status::Ok, Payload::EMPTY);
            }
            self.drain();
        }
        self.now = until;
    }

    /// The text frames sent since the last call.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent).iter().map(|frame| String::from_utf8_lossy(frame.as_bytes()).into()).collect()
    }

    /// Lets a waiting client in.
    pub fn accept(&mut self, topic: Text, join: JoinId) {
        if let Ok(id) = self.session.accept_join(self.now, join, Payload::EMPTY) {
            self.channels.insert(topic.to_string(), id);
        }
        self.drain();
    }

    /// Takes everything out of the lanes.
    pub fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.react(event);
        }
        while !self.plugged
            && let Some(action) = self.session.poll_transport()
        {
            match action {
                TransportAction::Send { frame, .. } => self.sent.push(frame),
                TransportAction::Close { code, .. } => self.ends.push(Some(code)),
                TransportAction::Abort { .. } => self.ends.push(None),
                TransportAction::Open(_) => unreachable!("a server does not dial"),
            }
        }
    }

    fn react(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Join { join, topic, payload } if self.answers => self.join(topic, join, &payload),
            ServerEvent::Join { join, topic, .. } => self.joins.push((topic, join)),
            ServerEvent::Push { channel, event, payload, reply } if self.answers => {
                self.push(channel, event, payload, reply);
            }
            ServerEvent::Push { event, payload, reply, .. }
            | ServerEvent::UserBroadcast { event, payload, reply, .. } => {
                self.pushes.push((event, payload, reply));
            }
            ServerEvent::Left { channel } => {
                self.channels.retain(|_, id| *id != channel);
                self.left.push(channel);
            }
            ServerEvent::Malformed { .. } => self.malformed += 1,
            ServerEvent::Ended { reason } => self.ended = Some(reason),
            notice => self.notices.push(notice),
        }
    }

    fn join(&mut self, topic: Text, join: JoinId, payload: &Payload) {
        let reason = match &*topic {
            "room:forbidden" => "forbidden",
            "room:joincrash" => "join crashed",
            topic if !topic.starts_with("room:") => {
                let _stale = self.session.refuse_unmatched(self.now, join);
                return;
            }
            _ => {
                self.accept(topic.clone(), join);
                if let Some(channel) = self.channels.get(&*topic).filter(|_| payload.as_bytes() == br#"{"greet":true}"#)
                {
                    let _stale = self.session.push(self.now, *channel, "greeting", Payload::EMPTY);
                }
                return;
            }
        };
        let reason = Payload::json(&serde_json::json!({ "reason": reason })).unwrap_or_default();
        // A join that is over needs no answer.
        let _stale = self.session.refuse_join(self.now, join, reason);
    }

    fn push(&mut self, channel: ServerChannelId, event: Text, payload: Payload, reply: ReplyTo) {
        let now = self.now;
        // What cannot be said because the channel is over needs not be said.
        let _stale = match &*event {
            "noreply" => return self.pushes.push((event, payload, reply)),
            "crash" | "stop_error" => return self.close(channel, true),
            "stop" | "stop_shutdown" => return self.close(channel, false),
            "stop_reply" => {
                let replied = self.session.reply(now, reply, Status::Ok, payload);
                self.close(channel, false);
                replied
            }
            "fail" => self.session.reply(now, reply, Status::Error, payload),
            "slow" => {
                let pause = Duration::from_millis(number_of(&payload, "ms"));
                return self.later.push((now.saturating_add(pause), reply));
            }
            "custom_status" => self.session.reply(now, reply, Status::Other("teapot".into()), payload),
            "push_then_reply" => {
                let _stale = self.session.push(now, channel, "pushed", payload.clone());
                self.session.reply(now, reply, Status::Ok, payload)
            }
            "push_n" => {
                for _ in 0..number_of(&payload, "n") {
                    let _stale = self.session.push(now, channel, "pushed", Payload::EMPTY);
                }
                self.session.reply(now, reply, Status::Ok, payload)
            }
            "shout" => {
                let _stale = self.session.push(now, channel, "shout", payload);
                self.session.reply(now, reply, Status::Ok, Payload::EMPTY)
            }
            _ => self.session.reply(now, reply, Status::Ok, payload),
        };
    }

    fn close(&mut self, channel: ServerChannelId, crashed: bool) {
        // One that is over needs no end.
        let _stale = self.session.close_channel(self.now, channel, crashed);
    }
}

fn number_of(payload: &Payload, member: &str) -> u64 {
    let json: Option<serde_json::Value> = payload.parse().ok();
    json.and_then(|json| json.get(member)?.as_u64()).unwrap_or_default()
}
