//! Connections of a long-poll client that break after any byte: what is lost is never lost in silence.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{AsyncRead, AsyncWrite, FutureExt};
use proptest::collection::vec;
use proptest::prelude::*;
use rejoin_core::phoenix::{Config, JoinOptions, Push, Transport};
use rejoin_core::{Jitter, OpenError, Payload};
use rejoin_pump::memory::{MemoryIo, MemoryRuntime, MemorySleep, network};
use rejoin_pump::{
    BoxFuture, Channel, ChannelEvent, ConnectOptions, Events, LongPollHub, LongPollOptions, Runtime, connect_with,
};

use crate::rig::Rig;
use crate::server::Server;

#[derive(Clone, Debug)]
enum Op {
    /// The near client says the next number, and the far one hears it.
    Tell,
    /// The far client says the next number, and the near one hears it.
    Answer,
    /// The far client's connection breaks after so many more bytes, in either direction.
    Break(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Tell),
        3 => Just(Op::Answer),
        2 => (0..900usize).prop_map(Op::Break),
        2 => (0..9_000u64).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn messages_of_one_lifetime_have_no_hole_and_pushes_arrive_at_most_once(ops in vec(op(), 1..40)) {
        let (memory, listener) = network();
        let mut rig = Rig::new(memory.clone());
        let hub = LongPollHub::new(LongPollOptions::default());
        rig.spawn(Server::default().run(listener, memory.clone(), hub));
        let breaks = Breaks::default();
        let flaky = Flaky { memory: memory.clone(), breaks: breaks.clone() };
        let (near, mut near_events) = join(&mut rig, memory, Transport::WebSocket);
        let (far, mut far_events) = join(&mut rig, flaky, Transport::LongPoll);
        let (mut told, mut answered) = (0, 0);
        for op in ops {
            match op {
                Op::Tell => say(&near, &mut told),
                Op::Answer => say(&far, &mut answered),
                Op::Break(bytes) => *breaks.lock().unwrap() = Some(bytes),
                Op::Wait(millis) => {
                    rig.advance(Duration::from_millis(millis));
                }
            }
            rig.settle();
        }
        *breaks.lock().unwrap() = None;
        for _ in 0..60 {
            rig.advance(Duration::from_secs(1));
        }
        say(&near, &mut told);
        say(&far, &mut answered);
        rig.settle();

        let mut last = None;
        for event in drain(&mut far_events) {
            match event {
                ChannelEvent::Message { payload, .. } => {
                    let number: u64 = payload.parse().unwrap();
                    prop_assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
                    last = Some(number);
                }
                // From here on it knows that it may have missed something.
                ChannelEvent::Errored { .. } => last = None,
                ChannelEvent::Joined { .. } => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(last, Some(told), "in the end it hears again");

        let heard: Vec<u64> = drain(&mut near_events).iter().filter_map(number).collect();
        prop_assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
        prop_assert_eq!(heard.last(), Some(&answered));
    }
}

fn join<R: Runtime>(rig: &mut Rig, runtime: R, transport: Transport) -> (Channel, Events) {
    let mut config = Config::new("ws://test/socket").unwrap();
    (config.transport, config.jitter) = (transport, Jitter::None);
    let (client, pump) = connect_with(config, ConnectOptions::default(), runtime);
    rig.spawn(pump);
    let mut joining = Box::pin(client.join("room:1", JoinOptions::default()));
    assert!((&mut joining).now_or_never().is_none());
    rig.settle();
    let (room, mut events) = joining.now_or_never().unwrap().unwrap();
    assert_eq!(events.joined().now_or_never(), Some(Ok(Payload::EMPTY)));
    (room, events)
}

fn say(room: &Channel, number: &mut u64) {
    *number += 1;
    let push = Push::new("number", Payload::json(&*number).unwrap());
    let _ticket = room.push(push).now_or_never().unwrap().unwrap();
}

fn drain(events: &mut Events) -> Vec<ChannelEvent> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

fn number(event: &ChannelEvent) -> Option<u64> {
    match event {
        ChannelEvent::Message { payload, .. } => payload.parse().ok(),
        _ => None,
    }
}

/// After how many bytes the connection that carries them breaks.
type Breaks = Arc<Mutex<Option<usize>>>;

#[derive(Clone)]
struct Flaky {
    memory: MemoryRuntime,
    breaks: Breaks,
}

impl Runtime for Flaky {
    type Io = FlakyIo;
    type Sleep = MemorySleep;

    fn dial(&self, host: String, port: u16, secure: bool) -> BoxFuture<Result<FlakyIo, OpenError>> {
        let (dialling, breaks) = (self.memory.dial(host, port, secure), self.breaks.clone());
        Box::pin(async move { Ok(FlakyIo { io: Some(dialling.await?), breaks }) })
    }

    fn sleep_until(&self, deadline: Instant) -> MemorySleep {
        self.memory.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.memory.now()
    }
}

struct FlakyIo {
    io: Option<MemoryIo>,
    breaks: Breaks,
}

impl FlakyIo {
    fn pass(&mut self, work: impl FnOnce(Pin<&mut MemoryIo>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let reset = || Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        let Some(io) = &mut self.io else { return reset() };
        let passed = work(Pin::new(io));
        let (Poll::Ready(Ok(bytes)), breaks) = (&passed, &mut *self.breaks.lock().unwrap()) else { return passed };
        match breaks {
            Some(left) if *bytes > *left => {
                (self.io, *breaks) = (None, None);
                reset()
            }
            Some(left) => {
                *left -= bytes;
                passed
            }
            None => passed,
        }
    }
}

impl AsyncRead for FlakyIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pass(|io| io.poll_read(cx, buf))
    }
}

impl AsyncWrite for FlakyIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pass(|io| io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io = None;
        Poll::Ready(Ok(()))
    }
}
