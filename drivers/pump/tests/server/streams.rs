//! Byte streams and runtimes that keep to the letter of their contract, and to no more.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures_util::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufWriter};
use rejoin_core::Payload;
use rejoin_pump::memory::MemoryIo;

use crate::lab::{Lab, ok, secs};

#[test]
fn a_stream_that_keeps_what_it_is_given_until_it_is_flushed_brings_every_answer() {
    let mut lab = Lab::new();
    let mut socket = lab.socket_over(BufWriter::new);
    socket.join(&mut lab, "room:1");
    for n in 0..3 {
        socket.push(&mut lab, "room:1", "7", "echo", &format!("{n}"));
        assert_eq!(socket.hear(&mut lab), [ok("room:1", "7", &format!("{n}"))]);
    }
}

/// Wakes whoever waited to write when somebody else does, as the sockets of async-io do.
struct OneWriter {
    io: MemoryIo,
    waiting: Option<Waker>,
}

impl AsyncRead for OneWriter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for OneWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let waited = self.waiting.take().filter(|waker| !waker.will_wake(cx.waker()));
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if written.is_pending() {
            self.waiting = Some(cx.waker().clone());
            waited.into_iter().for_each(Waker::wake);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[test]
fn a_client_that_pings_and_does_not_read_keeps_nobody_busy() {
    let mut lab = Lab::new();
    let mut socket = lab.socket_over(|io| OneWriter { io, waiting: None });
    socket.join(&mut lab, "room:1");
    let message = Payload::json(&"x".repeat(10_000)).unwrap();
    for _ in 0..100 {
        lab.server.broadcast("room:1", "news", message.clone());
    }
    lab.rig.settle();
    // Here the rig would see a task spin.
    socket.ping(&mut lab);
    lab.server.broadcast("room:1", "last", Payload::EMPTY);
    lab.rig.settle();
    let heard = socket.hear(&mut lab);
    assert_eq!(heard.iter().filter(|line| line.contains("news")).count(), 100);
    assert!(heard.iter().any(|line| line.contains("last")), "what came after the ping");
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
}

/// A task whose runtime is about to end: once it does, what is woken is not run, but dropped at once.
#[derive(Clone)]
struct Doomed(Arc<Task>);

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    waker: Mutex<Option<Waker>>,
    ends: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.ends.load(Ordering::SeqCst) {
            let future = self.future.lock().unwrap().take();
            drop(future);
        } else if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl Doomed {
    fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let future = Mutex::new(Some(Box::pin(future) as _));
        Self(Arc::new(Task { future, waker: Mutex::default(), ends: AtomicBool::new(false) }))
    }
}

impl Future for Doomed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
        let waker = Waker::from(self.0.clone());
        let mut future = self.0.future.lock().unwrap();
        future.as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(&mut Context::from_waker(&waker)))
    }
}

#[test]
fn a_runtime_that_drops_whom_it_is_to_wake_leaves_the_others_alone() {
    let (done, is_done) = mpsc::channel();
    // On a thread of its own: what goes wrong here waits for itself.
    thread::spawn(move || {
        let mut lab = Lab::new();
        let mut socket = lab.socket();
        socket.join(&mut lab, "room:1");
        let doomed: Vec<_> = (0..3)
            .map(|_| {
                let (near, far) = lab.pipe();
                let task = Doomed::new(lab.server.accept(far));
                lab.rig.spawn(task.clone());
                let mut socket = lab.socket_on(near, "vsn=2.0.0");
                socket.join(&mut lab, "room:1");
                (socket, task)
            })
            .collect();
        doomed.iter().for_each(|(_, task)| task.0.ends.store(true, Ordering::SeqCst));
        lab.server.broadcast("room:1", "news", Payload::EMPTY);
        assert_eq!(lab.standing(), [1, 0, 1, 1]);
        assert_eq!(socket.hear(&mut lab), [r#"[null,null,"room:1","news",{}]"#]);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(secs(10)).expect("nobody waits for himself");
}

#[test]
fn a_pipe_that_wakes_its_reader_may_lose_it() {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let (mut near, mut far) = Lab::new().pipe();
        let task = Doomed::new(async move {
            let _ = near.read(&mut [0]).await;
        });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut task.clone()).poll(&mut cx).is_pending());
        task.0.ends.store(true, Ordering::SeqCst);
        assert!(Pin::new(&mut far).poll_write(&mut cx, b"1").is_ready(), "there was room");
        assert!(task.0.future.lock().unwrap().is_none(), "it was woken");
        done.send(()).unwrap();
    });
    is_done.recv_timeout(secs(10)).expect("nobody waits for himself");
}

/// A client that says a frame, and then another one so many times, as fast as it is read.
struct Flood {
    io: MemoryIo,
    first: Option<[u8; 6]>,
    others: [u8; 6],
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Flood {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        let frame = self.first.take().unwrap_or(self.others);
        buf[..6].copy_from_slice(&frame);
        Poll::Ready(Ok(6))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// Says so many frames to a server, and then a push that is answered. Tells how many of them it has read in
/// one turn at the most.
fn flood(first: [u8; 6], others: [u8; 6], times: usize) -> (Vec<String>, usize) {
    let mut lab = Lab::new();
    let (near, far) = lab.pipe();
    let (left, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut serving = Box::pin(lab.server.accept(Flood { io: far, first: Some(first), others, left: left.clone() }));
    let (before, at_once) = (left.clone(), most.clone());
    lab.rig.spawn(poll_fn(move |cx| {
        let so_many = before.load(Ordering::SeqCst);
        let served = serving.as_mut().poll(cx);
        at_once.fetch_max(so_many - before.load(Ordering::SeqCst), Ordering::SeqCst);
        served
    }));
    let mut socket = lab.socket_on(near, "vsn=2.0.0");
    socket.join(&mut lab, "room:1");
    left.store(times, Ordering::SeqCst);
    socket.push(&mut lab, "room:1", "1", "echo", "7");
    let heard = socket.hear(&mut lab);
    assert_eq!(left.load(Ordering::SeqCst), 0, "all of it was read");
    (heard, most.load(Ordering::SeqCst))
}

/// With a mask, as clients have it, which is zero.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];

#[test]
fn a_client_that_pings_without_end_leaves_the_others_their_turns() {
    let (heard, at_once) = flood(PING, PING, 10_000);
    assert!(heard.contains(&ok("room:1", "1", "7")), "{heard:?}");
    assert!((1..200).contains(&at_once), "{at_once} in one turn");
}

/// Nothing comes of them, so that a WebSocket library goes on reading.
#[test]
fn a_message_of_endless_empty_parts_leaves_the_others_their_turns() {
    let (first, others) = ([0x01, 0x80, 0, 0, 0, 0], [0x00, 0x80, 0, 0, 0, 0]);
    let (_, at_once) = flood(first, others, 200_000);
    assert!((1..50_000).contains(&at_once), "{at_once} in one turn");
}
