//! Routing a message allocates nothing: counted, not estimated, with frames as the drivers cut them
//! out of their read buffers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use rejoin_core::phoenix::{
    ChannelId, Config, Event, JoinOptions, PushOutcome, ServerConfig, ServerEvent, ServerSession, Session, Status,
};
use rejoin_core::supabase::{self, Broadcast, ChannelConfig, PostgresChange};
use rejoin_core::wire::{Message, Ref, Serializer, UserEvent};
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

const NOW: Timestamp = Timestamp::ZERO;
const TOPIC: &str = "realtime:room:1";

/// What one read brings in before the events are looked at.
const BATCH: usize = 8;
const BATCHES: usize = 200;

struct Counting;

thread_local! {
    /// Per thread, so that the test harness and other tests do not disturb.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call is the system's own")]
// SAFETY: each method passes its arguments on unchanged to `System`, whose contract is the same,
// and counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `at`, `layout` and `size`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `at` and `layout`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// A session that has joined [`TOPIC`], with its events read.
fn joined(serializer: Serializer) -> (Session, ConnId) {
    let mut config = Config::new("ws://localhost/socket").unwrap();
    config.serializer = serializer;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    session.join(NOW, TOPIC, JoinOptions::default()).unwrap();
    let conn = answer_the_join(&mut session, serializer);
    assert!(matches!(session.poll_event(), Some(Event::Connected { .. })));
    assert!(matches!(session.poll_event(), Some(Event::Joined { .. })));
    (session, conn)
}

/// The same of a Supabase session, whose broadcasts are acknowledged.
fn subscribed(serializer: Serializer) -> (supabase::Session, ConnId, ChannelId) {
    let mut config = supabase::Config::new("ws://localhost/socket", "key").unwrap();
    config.phoenix.serializer = serializer;
    let mut session = supabase::Session::new(config, NOW);
    session.connect(NOW);
    let channel = session.subscribe(NOW, TOPIC, &ChannelConfig::default().broadcast_ack()).unwrap();
    let conn = answer_the_join(&mut session, serializer);
    assert!(matches!(session.poll_event(), Some(supabase::Event::Connected { .. })));
    assert!(matches!(session.poll_event(), Some(supabase::Event::Subscribed { .. })));
    (session, conn, channel)
}

fn answer_the_join<M: Machine>(session: &mut M, serializer: Serializer) -> ConnId {
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    assert!(matches!(session.poll_transport(), Some(TransportAction::Send { .. })));
    let reply = Message::reply(TOPIC, "ok", &Payload::EMPTY).with_refs(Some(Ref::from(1)), Some(Ref::from(1)));
    let frame = serializer.encode_from_server(&reply).unwrap();
    session.handle_transport(NOW, TransportEvent::Received { conn, frame });
    conn
}

/// The frame of a broadcast, `size` bytes long.
fn broadcast(serializer: Serializer, size: usize) -> Frame {
    broadcast_with("", serializer, size)
}

/// The same with another member between event and payload.
fn broadcast_with(member: &str, serializer: Serializer, size: usize) -> Frame {
    let frame = |pad: usize| {
        let json =
            format!(r#"{{"event":"tick",{member}"payload":{{"pad":"{}"}},"type":"broadcast"}}"#, "x".repeat(pad));
        let message = Message::new(TOPIC, "broadcast", Payload::from_json_text(json).unwrap());
        serializer.encode_from_server(&message).unwrap()
    };
    let frame = frame(size - frame(0).len());
    assert_eq!(frame.len(), size);
    frame
}

fn binary_broadcast(size: usize, event: &str) -> Frame {
    let head = 3 + TOPIC.len() + event.len();
    let message = Message::new(TOPIC, event, Payload::binary(vec![7; size - head].into()));
    Serializer::V2.encode_from_server(&message).unwrap()
}

/// Reads, routes and looks at the messages, and counts what that allocated after the first batches.
fn measure(what: &str, serializer: Serializer, frame: &Frame) {
    let (mut session, conn) = joined(serializer);
    let is_expected = |event: &Event| matches!(event, Event::Message { payload, .. } if payload.len() < frame.len());
    routes_without_allocating(what, &mut session, conn, frame, is_expected);
}

fn routes_without_allocating<M: Machine>(
    what: &str,
    session: &mut M,
    conn: ConnId,
    frame: &Frame,
    is_expected: impl Fn(&M::Event) -> bool,
) {
    let mut buffer = BytesMut::with_capacity(BATCH * frame.len());
    let mut batch = || {
        for _ in 0..BATCH {
            buffer.reserve(frame.len());
            buffer.extend_from_slice(frame.as_bytes());
            let bytes: Bytes = buffer.split_to(frame.len()).freeze();
            let frame = match frame {
                Frame::Text(_) => Frame::Text(Text::assume_utf8(bytes)),
                Frame::Binary(_) => Frame::Binary(bytes),
            };
            session.handle_transport(NOW, TransportEvent::Received { conn, frame });
        }
        let mut messages = 0;
        while let Some(event) = session.poll_event() {
            assert!(is_expected(&event));
            messages += 1;
        }
        assert_eq!(messages, BATCH);
    };
    for _ in 0..4 {
        batch();
    }
    let before = allocations();
    for _ in 0..BATCHES {
        batch();
    }
    let counted = allocations() - before;
    println!("{what}, {} B: {counted} allocations in {} messages", frame.len(), BATCH * BATCHES);
    assert_eq!(counted, 0, "{what}, {} B", frame.len());
}

#[test]
fn the_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn routing_a_text_message_allocates_nothing() {
    for size in [148, 540, 4 << 10, 64 << 10] {
        measure("vsn 2", Serializer::V2, &broadcast(Serializer::V2, size));
    }
}

#[test]
fn routing_a_vsn_1_message_allocates_nothing() {
    for size in [160, 540, 4 << 10, 64 << 10] {
        measure("vsn 1", Serializer::V1, &broadcast(Serializer::V1, size));
    }
}

#[test]
fn routing_a_binary_message_allocates_nothing() {
    for size in [148, 540, 4 << 10, 64 << 10] {
        measure("binary", Serializer::V2, &binary_broadcast(size, "broadcast"));
        measure("binary, an event of one's own", Serializer::V2, &binary_broadcast(size, "cursor"));
    }
}

/// What falls back to the JSON parser allocates nothing either, as long as nothing is escaped.
#[test]
fn routing_an_unusual_message_allocates_nothing() {
    let array = format!(r#"[null, null, "{TOPIC}", "cursor", {{"x": 1}}]"#);
    measure("vsn 2 with white space", Serializer::V2, &Frame::Text(array.into()));
    let object = format!(r#"{{"event":"cursor","payload":{{"x":1}},"ref":null,"topic":"{TOPIC}"}}"#);
    measure("vsn 1 with the payload in the middle", Serializer::V1, &Frame::Text(object.into()));
}

const META: &str = r#""meta":{"id":"0b5e4c1e-3a58-4a5e-9b8e-5f0c3f9a2d11"},"#;

#[test]
fn routing_a_supabase_broadcast_in_text_allocates_nothing() {
    for serializer in [Serializer::V2, Serializer::V1] {
        for (what, meta) in [("text broadcast", ""), ("text broadcast with meta", META)] {
            for size in [220, 540, 4 << 10, 64 << 10] {
                measure_broadcast(what, serializer, &broadcast_with(meta, serializer, size));
            }
        }
    }
}

#[test]
fn routing_a_supabase_broadcast_in_binary_allocates_nothing() {
    for size in [148, 540, 4 << 10, 64 << 10] {
        for metadata in [None, Some(Payload::from_json_text(r#"{"replayed":true}"#).unwrap())] {
            let mut user_event = UserEvent::new("tick");
            user_event.metadata = metadata;
            let message = Message::user_broadcast(TOPIC, user_event, Payload::binary(vec![7; size].into()));
            measure_broadcast("kind 4", Serializer::V2, &Serializer::V2.encode_from_server(&message).unwrap());
        }
    }
}

fn measure_broadcast(what: &str, serializer: Serializer, frame: &Frame) {
    let (mut session, conn, _) = subscribed(serializer);
    routes_without_allocating(what, &mut session, conn, frame, |event| {
        let supabase::Event::Broadcast { event, payload, .. } = event else { return false };
        event == "tick" && payload.len() < frame.len()
    });
}

/// What the pretended server allocates in between does not count.
#[test]
fn an_acknowledged_broadcast_allocates_its_frame_and_nothing_else() {
    let (mut session, conn, channel) = subscribed(Serializer::V2);
    for size in [64, 64 << 10] {
        let broadcast = Broadcast::new("tick", Payload::json(&"x".repeat(size)).unwrap());
        let mut acknowledged = || {
            let before = allocations();
            let push = session.broadcast(NOW, channel, broadcast.clone()).unwrap();
            let Some(TransportAction::Send { frame, .. }) = session.poll_transport() else { panic!("it is sent") };
            assert_eq!(session.poll_event(), Some(supabase::Event::PushSent { push }));
            let sending = allocations() - before;

            let sent = Serializer::V2.decode_from_client(frame).unwrap();
            let reply = Message::reply(TOPIC, "ok", &Payload::EMPTY).with_refs(sent.join_ref, sent.reference);
            let mut buffer = BytesMut::from(Serializer::V2.encode_from_server(&reply).unwrap().as_bytes());
            let frame = Frame::Text(Text::assume_utf8(buffer.split().freeze()));

            let before = allocations();
            session.handle_transport(NOW, TransportEvent::Received { conn, frame });
            let done = supabase::Event::PushDone { push, outcome: PushOutcome::Ok(Payload::EMPTY) };
            assert_eq!(session.poll_event(), Some(done));
            (sending, allocations() - before)
        };
        for _ in 0..4 {
            acknowledged();
        }
        let counts: Vec<_> = (0..BATCHES).map(|_| acknowledged()).collect();
        println!("acknowledged broadcast of {size} B: {:?} allocations for sending and answer", counts[0]);
        assert!(counts.iter().all(|counted| *counted == (1, 0)), "{size} B: {counts:?}");
    }
}

/// As the recorded servers write them: an insert, and a delete whose record comes last.
#[test]
fn a_database_change_and_a_row_that_borrows_allocate_nothing() {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        task: &'a str,
    }
    let task = "x".repeat(64 << 10);
    let table = r#"{"data":{"table":"todos","type":"#;
    for rows in [
        format!(r#""INSERT","record":{{"id": 1, "task": "{task}"}},"errors":null"#),
        format!(r#""DELETE","errors":null,"old_record":{{"id": 1, "task": "{task}"}}"#),
    ] {
        let payload = Payload::from_json_text(format!(r#"{table}{rows}}},"ids":[68883293,7]}}"#)).unwrap();
        // The first clone of a buffer makes it a shared one.
        drop(payload.clone());
        let before = allocations();
        let change = PostgresChange::of(&payload).unwrap();
        assert!(change.ids().eq([68_883_293, 7]));
        let row: Option<Row<'_>> = change.record().unwrap().or_else(|| change.old_record().unwrap());
        assert_eq!(row.unwrap().task.len(), task.len());
        assert_eq!(allocations() - before, 0);
    }
}

/// A server's session that has let its client into [`TOPIC`].
fn accepted(serializer: Serializer) -> (ServerSession, ConnId) {
    let conn = ConnId::new(1);
    let mut server = ServerSession::new(ServerConfig::new(serializer), conn, NOW);
    let join = Message::new(TOPIC, "phx_join", Payload::EMPTY).with_refs(Some(Ref::from(1)), Some(Ref::from(1)));
    let frame = serializer.encode_from_client(&join).unwrap();
    server.handle_transport(NOW, TransportEvent::Received { conn, frame });
    let Some(ServerEvent::Join { join, .. }) = server.poll_event() else { panic!("it joins") };
    server.accept_join(NOW, join, Payload::EMPTY).unwrap();
    assert!(server.poll_transport().is_some());
    (server, conn)
}

/// The frame of a client's push.
fn push_of(serializer: Serializer, payload: Payload) -> Frame {
    let push = Message::new(TOPIC, "cursor", payload).with_refs(Some(Ref::from(1)), Some(Ref::from(2)));
    serializer.encode_from_client(&push).unwrap()
}

#[test]
fn a_server_routes_a_push_without_allocating() {
    for size in [64, 64 << 10] {
        let json = Payload::json(&"x".repeat(size)).unwrap();
        let binary = Payload::binary(vec![7; size].into());
        for (serializer, payload) in [(Serializer::V1, json.clone()), (Serializer::V2, json), (Serializer::V2, binary)]
        {
            let frame = push_of(serializer, payload);
            let (mut server, conn) = accepted(serializer);
            let is_push = |event: &ServerEvent| matches!(event, ServerEvent::Push { .. });
            routes_without_allocating("push to a server", &mut server, conn, &frame, is_push);
        }
    }
}

#[test]
fn a_servers_reply_allocates_its_payload_and_its_frame_and_a_shared_frame_nothing() {
    let (mut server, conn) = accepted(Serializer::V2);
    let shared = Serializer::V2.encode_from_server(&Message::new(TOPIC, "news", Payload::EMPTY)).unwrap();
    let mut exchange = || {
        let mut buffer = BytesMut::from(push_of(Serializer::V2, Payload::EMPTY).as_bytes());
        let frame = Frame::Text(Text::assume_utf8(buffer.split().freeze()));
        let shared = shared.clone();
        server.handle_transport(NOW, TransportEvent::Received { conn, frame });
        let Some(ServerEvent::Push { channel, payload, reply, .. }) = server.poll_event() else { panic!("a push") };
        let before = allocations();
        server.reply(NOW, reply, Status::Ok, payload).unwrap();
        assert!(server.poll_transport().is_some());
        let replied = allocations() - before;
        server.push_encoded(NOW, channel, shared).unwrap();
        assert!(server.poll_transport().is_some());
        (replied, allocations() - before - replied)
    };
    for _ in 0..4 {
        exchange();
    }
    let counts: Vec<_> = (0..BATCHES).map(|_| exchange()).collect();
    assert!(counts.iter().all(|counted| *counted == (2, 0)), "{counts:?}");
}
