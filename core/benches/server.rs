//! What a frame costs a server session in memory, and what an idle session keeps.
//!
//! Goal: a million frames a second on one core, whichever way they go. The floor of a frame that comes
//! in is the usual way to read it, with the payload left unread, in the same run.

#![expect(clippy::disallowed_methods, reason = "it is not the core that looks at the clock here")]

mod counting;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rejoin_core::phoenix::{
    OutboxOverflow, ServerChannelId, ServerConfig, ServerEvent, ServerSession, SharedFrame, Status,
};
use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};
use serde_json::value::RawValue;

use counting::heap;

const NOW: Timestamp = Timestamp::ZERO;
const CONN: ConnId = ConnId::new(1);
const FRAMES: usize = 20_000;
const ROUNDS: usize = 25;

fn main() {
    let payload = |size: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(size));
    let push = |size: usize| message(Some("room:17"), "17", "room:17", "shout", &payload(size));
    println!("{:44} {:>8} {:>10} {:>12} {:>8}", "", "ns", "floor, ns", "frames/s", "allocs");
    for (what, text) in [("push of 100 B", push(61)), ("push of 1 KiB", push(985))] {
        report(&format!("{what}, event, reply"), 2, Some(&text), || Run::joined(20).echoes(&text));
        report(&format!("{what}, event"), 1, Some(&text), || Run::joined(20).hears(&text));
    }
    let heartbeat = message(None, "18", "phoenix", "heartbeat", "{}");
    report("heartbeat, reply", 2, Some(&heartbeat), || Run::joined(20).answers(&heartbeat));
    let news = Message::new("room:17", "news", Payload::from_json_text(payload(61)).unwrap());
    let shared = SharedFrame::from(Serializer::V2.encode_from_server(&news).unwrap());
    report("shared frame, taken at once", 1, None, || Run::joined(20).sends(&shared));
    for overflow in [OutboxOverflow::DropOldest, OutboxOverflow::Latest] {
        let shared = shared.clone().with_key("cursor");
        let what = format!("shared frame, nobody reads, {overflow:?}");
        report(&what, 1, None, || Run::joined(20).floods(&shared, overflow));
    }
    memory();
}

/// The best of many rounds, of so many frames each.
fn report(what: &str, frames: u32, floor: Option<&str>, run: impl Fn() -> (Duration, u64)) {
    let best = (0..ROUNDS).map(|_| run()).min().unwrap();
    let each = |time: Duration| time.as_nanos() as f64 / FRAMES as f64;
    let floor = floor.map(|text| (0..ROUNDS).map(|_| by_serde(text)).min().unwrap());
    let floor = floor.map_or("-".to_owned(), |floor| format!("{:.0}", each(floor)));
    let (ns, allocations) = (each(best.0), best.1 as f64 / FRAMES as f64);
    println!("{what:44} {ns:>8.0} {floor:>10} {:>12.0} {allocations:>8.2}", f64::from(frames) * 1e9 / ns);
}

/// The floor: four fields, and the payload left unread.
fn by_serde(text: &str) -> Duration {
    type Array<'a> = (Option<&'a str>, Option<&'a str>, &'a str, &'a str, &'a RawValue);
    let start = Instant::now();
    for _ in 0..FRAMES {
        black_box(serde_json::from_str::<Array<'_>>(black_box(text)).unwrap());
    }
    start.elapsed()
}

/// What a session keeps of itself and on the heap, once everything that came was read.
fn memory() {
    let config = Arc::new(ServerConfig::new(Serializer::V2));
    let inline = size_of::<ServerSession>();
    for channels in [0, 1, 10, 100] {
        let before = heap().0;
        let run = Run::with(Arc::clone(&config), channels);
        let heap = heap().0 - before - (run.channels.capacity() * size_of::<ServerChannelId>()) as i64;
        println!("idle session with {channels:>3} channels: {inline} B, and {heap} B on the heap");
    }
}

fn message(join_ref: Option<&str>, reference: &str, topic: &str, event: &str, payload: &str) -> String {
    let message = Message::new(topic, event, Payload::from_json_text(payload).unwrap());
    let message = message.with_refs(join_ref.map(|_| Ref::from("17")), Some(Ref::from(reference)));
    let Ok(Frame::Text(text)) = Serializer::V2.encode_from_client(&message) else { panic!("it is JSON") };
    text.as_str().into()
}

/// The same frame many times out of one buffer, as a read leaves them.
fn frames(text: &str) -> Vec<Frame> {
    let mut buffer: BytesMut = text.bytes().cycle().take(text.len() * FRAMES).collect();
    (0..FRAMES).map(|_| Frame::Text(Text::assume_utf8(buffer.split_to(text.len()).freeze()))).collect()
}

/// A session that has joined rooms, with nothing left to read.
struct Run {
    session: ServerSession,
    channels: Vec<ServerChannelId>,
}

impl Run {
    fn joined(channels: usize) -> Self {
        Self::with(ServerConfig::new(Serializer::V2), channels)
    }

    fn with(config: impl Into<Arc<ServerConfig>>, channels: usize) -> Self {
        let mut run = Self { session: ServerSession::new(config, CONN, NOW), channels: Vec::with_capacity(channels) };
        for n in 0..channels {
            let number = n.to_string();
            let join = Message::new(format!("room:{n}"), "phx_join", Payload::EMPTY);
            let join = join.with_refs(Some(Ref::from(&*number)), Some(Ref::from(&*number)));
            run.receive(Serializer::V2.encode_from_client(&join).unwrap());
            let Some(ServerEvent::Join { join, .. }) = run.session.poll_event() else { panic!("it joins") };
            run.channels.push(run.session.accept_join(NOW, join, Payload::EMPTY).unwrap());
            run.send();
        }
        run
    }

    fn receive(&mut self, frame: Frame) {
        self.session.handle_transport(NOW, TransportEvent::Received { conn: CONN, frame });
    }

    fn send(&mut self) {
        let action = self.session.poll_transport();
        assert!(matches!(action, Some(TransportAction::Send { .. })));
        black_box(action);
    }

    fn hears(mut self, text: &str) -> (Duration, u64) {
        each(frames(text), |frame| {
            self.receive(frame);
            let event = self.session.poll_event();
            assert!(matches!(event, Some(ServerEvent::Push { .. })));
            black_box(event);
        })
    }

    fn echoes(mut self, text: &str) -> (Duration, u64) {
        each(frames(text), |frame| {
            self.receive(frame);
            let Some(ServerEvent::Push { payload, reply, .. }) = self.session.poll_event() else { panic!("a push") };
            self.session.reply(NOW, reply, Status::Ok, payload).unwrap();
            self.send();
        })
    }

    fn answers(mut self, text: &str) -> (Duration, u64) {
        each(frames(text), |frame| {
            self.receive(frame);
            self.send();
        })
    }

    fn sends(mut self, shared: &SharedFrame) -> (Duration, u64) {
        each(vec![shared.clone(); FRAMES], |frame| {
            self.session.push_encoded(NOW, self.channels[17], frame).unwrap();
            self.send();
        })
    }

    fn floods(mut self, shared: &SharedFrame, overflow: OutboxOverflow) -> (Duration, u64) {
        self.session.set_overflow(self.channels[17], overflow).unwrap();
        // The outbox is full before it counts.
        for _ in 0..(16 << 20) / shared.frame.len() {
            self.session.push_encoded(NOW, self.channels[17], shared.clone()).unwrap();
        }
        each(vec![shared.clone(); FRAMES], |frame| {
            self.session.push_encoded(NOW, self.channels[17], frame).unwrap();
        })
    }
}

/// How long it takes with all of them, and how many allocations.
fn each<T>(frames: Vec<T>, mut with: impl FnMut(T)) -> (Duration, u64) {
    let before = heap().1;
    let start = Instant::now();
    frames.into_iter().for_each(&mut with);
    (start.elapsed(), heap().1 - before)
}
