//! A server over pipes and in virtual time, and clients that a test speaks through.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_tungstenite::tungstenite::protocol::Role;
use async_tungstenite::tungstenite::{Bytes, Message};
use async_tungstenite::{WebSocketStream, client_async};
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncRead, AsyncWrite, FutureExt, Stream, StreamExt};
use rejoin_core::Jitter;
use rejoin_core::Payload;
use rejoin_core::phoenix::{Config, JoinOptions, Push, PushOutcome, Transport};
use rejoin_core::wire::Serializer;
use rejoin_pump::memory::{MemoryIo, MemoryListener, MemoryRuntime, network};
use rejoin_pump::server::{Endpoint, Server, ServerCounts};
use rejoin_pump::{Channel, ChannelEvent, Client, ConnectOptions, Events, PushTicket, Runtime, connect_with};

use crate::app::{App, Room, shown};
use crate::rig::Rig;

/// More steps than any wait of a test takes.
const MOST_STEPS: usize = 100;

pub(crate) const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(crate) const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The server, the application, and whoever runs them.
pub(crate) struct Lab {
    pub(crate) rig: Rig,
    pub(crate) app: App,
    pub(crate) server: Server<MemoryRuntime>,
    /// What the server's guests come by.
    pub(crate) transport: Transport,
    reports: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(|endpoint| endpoint)
    }

    pub(crate) fn over(transport: Transport) -> Self {
        Self { transport, ..Self::new() }
    }

    /// With another endpoint than the usual one.
    pub(crate) fn with(endpoint: impl FnOnce(Endpoint<App>) -> Endpoint<App>) -> Self {
        let (runtime, listener) = network();
        let (app, reports, tasks) = (App::new(), Arc::<Mutex<Vec<String>>>::default(), Tasks::new());
        let heard = reports.clone();
        let usual = Endpoint::new(app.clone())
            .channel::<Room>("room:*")
            .report_to(move |report| heard.lock().unwrap().push(report.to_string()));
        let (rig, server) = serve(endpoint(usual), runtime, listener, &tasks);
        app.serve_with(server.clone());
        Self { rig, app, server, transport: Transport::WebSocket, reports, tasks }
    }

    /// Runs a future of the test until it resolves, in no time.
    pub(crate) fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.try_wait(future).expect("what it waits for comes")
    }

    fn try_wait<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        for _ in 0..MOST_STEPS {
            self.rig.settle();
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                self.rig.settle();
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.rig.advance(by);
    }

    /// Moves time in small steps, as it moves in the world.
    pub(crate) fn live(&mut self, seconds: u64) {
        (0..seconds * 10).for_each(|_| self.advance(millis(100)));
    }

    /// What the server reported since the last call.
    pub(crate) fn reports(&self) -> Vec<String> {
        std::mem::take(&mut self.reports.lock().unwrap())
    }

    pub(crate) fn counts(&self) -> ServerCounts {
        self.server.counts()
    }

    /// Connections, handshakes, topics and members.
    pub(crate) fn standing(&self) -> [usize; 4] {
        let counts = self.counts();
        [counts.connections, counts.handshakes, counts.topics, counts.members]
    }

    /// Drops the tasks of all connections and sessions, as a runtime does that ends.
    pub(crate) fn abort_tasks(&mut self) {
        self.tasks.abort();
        self.rig.settle();
    }

    /// A client of ours that is not in any topic.
    pub(crate) fn client(&mut self) -> Client {
        self.client_at("ws://test/socket")
    }

    pub(crate) fn client_at(&mut self, url: &str) -> Client {
        let mut config = Config::new(url).unwrap();
        (config.transport, config.jitter) = (self.transport, Jitter::None);
        self.client_with(config)
    }

    pub(crate) fn client_with(&mut self, config: Config) -> Client {
        let (client, pump) = connect_with(config, ConnectOptions::default(), self.rig.runtime.clone());
        self.rig.spawn(pump);
        client
    }

    /// A client of ours that joins a topic.
    pub(crate) fn joining(&mut self, topic: &str) -> Guest {
        let client = self.client();
        self.joining_by(client, topic)
    }

    pub(crate) fn joining_by(&mut self, client: Client, topic: &str) -> Guest {
        let (room, events) = self.wait(client.join(topic, JoinOptions::default())).unwrap();
        Guest { client, room, events }
    }

    /// A client of ours that is in a topic.
    pub(crate) fn guest(&mut self, topic: &str) -> Guest {
        let mut guest = self.joining(topic);
        self.wait(guest.events.joined()).unwrap();
        guest
    }

    /// A client that speaks frames, by version 2.
    pub(crate) fn socket(&mut self) -> Raw {
        self.socket_at("vsn=2.0.0")
    }

    pub(crate) fn socket_at(&mut self, query: &str) -> Raw {
        let io = self.wait(self.rig.runtime.dial("test".into(), 80, false)).expect("somebody listens");
        self.socket_on(io, query)
    }

    /// The same where the server has another stream around its end of the pipe.
    pub(crate) fn socket_over<Io>(&mut self, around: impl FnOnce(MemoryIo) -> Io) -> Raw
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (io, far) = self.pipe();
        self.rig.spawn(self.server.accept(around(far)));
        self.socket_on(io, "vsn=2.0.0")
    }

    /// Both ends of a connection that nobody serves yet.
    pub(crate) fn pipe(&mut self) -> (MemoryIo, MemoryIo) {
        let (runtime, listener) = network();
        let near = self.wait(runtime.dial("test".into(), 80, false)).expect("there is room");
        (near, self.wait(listener.accept_io()).expect("it was dialled"))
    }

    pub(crate) fn socket_on(&mut self, io: MemoryIo, query: &str) -> Raw {
        let url = format!("ws://test/socket/websocket?{query}");
        let (websocket, _) = self.wait(client_async(url, io)).expect("it is let in");
        Raw { websocket }
    }
}

/// A client of ours and its channel.
pub(crate) struct Guest {
    pub(crate) client: Client,
    pub(crate) room: Channel,
    pub(crate) events: Events,
}

impl Guest {
    /// What was pushed is answered at once.
    pub(crate) fn push(&self, lab: &mut Lab, event: &str, payload: &str) -> PushOutcome {
        let ticket = self.start(lab, event, payload);
        lab.wait(ticket).expect("the client lives")
    }

    /// What was pushed is answered some time.
    pub(crate) fn start(&self, lab: &mut Lab, event: &str, payload: &str) -> PushTicket {
        lab.wait(self.room.push(Push::new(event, json(payload)))).expect("the client lives")
    }

    /// What it has heard since the last call.
    pub(crate) fn hears(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.next().now_or_never().flatten()).map(|event| told(&event)).collect()
    }
}

fn told(event: &ChannelEvent) -> String {
    match event {
        ChannelEvent::Joined { response, again: false } => format!("joined {}", shown(response)),
        ChannelEvent::Joined { .. } => "joined again".into(),
        ChannelEvent::JoinFailed { failure, .. } => failure.to_string(),
        ChannelEvent::Errored { .. } => "errored".into(),
        ChannelEvent::Message { event, payload } => format!("{event} {}", shown(payload)),
        other => format!("{other:?}"),
    }
}

/// A client that speaks frames.
pub(crate) struct Raw {
    websocket: WebSocketStream<MemoryIo>,
}

impl Raw {
    /// Over a stream that was upgraded.
    pub(crate) fn over(lab: &mut Lab, io: MemoryIo) -> Self {
        Self { websocket: lab.wait(WebSocketStream::from_raw_socket(io, Role::Client, None)) }
    }

    pub(crate) fn say(&mut self, lab: &mut Lab, frame: &str) {
        // One that is cut off while it speaks finds out when it listens.
        let _ = lab.wait(self.websocket.send(Message::text(frame)));
    }

    pub(crate) fn ping(&mut self, lab: &mut Lab) {
        lab.wait(self.websocket.send(Message::Ping(Bytes::new()))).expect("the server listens");
    }

    /// Says it if the server reads it.
    pub(crate) fn says(&mut self, lab: &mut Lab, frame: &str) -> bool {
        lab.try_wait(self.websocket.send(Message::text(frame))).is_some()
    }

    /// Says it if the server listens; what it has said before may still be on its way.
    pub(crate) fn says_at_once(&mut self, frame: &str) -> bool {
        self.websocket.send(Message::text(frame)).now_or_never().is_some()
    }

    /// What has come since the last call; the end of the connection is its last line.
    pub(crate) fn hear(&mut self, lab: &mut Lab) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            lab.rig.settle();
            let Some(next) = self.websocket.next().now_or_never() else {
                // A close was answered by that.
                lab.rig.settle();
                return heard;
            };
            heard.push(match next {
                Some(Ok(Message::Text(text))) => text.to_string(),
                Some(Ok(Message::Close(frame))) => format!("close {}", frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(other)) => format!("{:?}", other.into_data().to_vec()),
                Some(Err(error)) => error.to_string(),
                None => {
                    heard.push("end".into());
                    return heard;
                }
            });
        }
    }

    /// Joins a topic with its name as `join_ref`.
    pub(crate) fn join(&mut self, lab: &mut Lab, topic: &str) {
        self.say(lab, &format!(r#"["{topic}","{topic}","{topic}","phx_join",{{}}]"#));
        assert_eq!(self.hear(lab), [joined(topic)]);
    }

    pub(crate) fn push(&mut self, lab: &mut Lab, topic: &str, reference: &str, event: &str, payload: &str) {
        self.say(lab, &format!(r#"["{topic}","{reference}","{topic}","{event}",{payload}]"#));
    }

    pub(crate) fn leave(&mut self, lab: &mut Lab, topic: &str) {
        self.push(lab, topic, "leave", "phx_leave", "{}");
    }

    pub(crate) fn close(&mut self, lab: &mut Lab) {
        let _ = lab.wait(self.websocket.close(None));
    }
}

/// The answer to a [`Raw::join`].
pub(crate) fn joined(topic: &str) -> String {
    ok(topic, topic, "{}")
}

/// The answer to a [`Raw::push`].
pub(crate) fn ok(topic: &str, reference: &str, response: &str) -> String {
    format!(r#"["{topic}","{reference}","{topic}","phx_reply",{{"status":"ok","response":{response}}}]"#)
}

/// The end of a channel that was joined by [`Raw::join`].
pub(crate) fn ended(topic: &str, event: &str) -> String {
    format!(r#"["{topic}","{topic}","{topic}","{event}",{{}}]"#)
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::from_json_text(text).unwrap()
}

/// What versions of a client say that has no other choice.
pub(crate) const fn version_1(config: &mut Config) {
    config.serializer = Serializer::V1;
}

/// Serves whoever comes.
pub(crate) fn serve<A: Send + Sync + 'static>(
    endpoint: Endpoint<A>,
    runtime: MemoryRuntime,
    listener: MemoryListener,
    tasks: &Tasks,
) -> (Rig, Server<MemoryRuntime>) {
    let spawn = tasks.clone();
    let server = Server::new(endpoint, runtime.clone(), move |task| spawn.start(task));
    let mut rig = Rig::new(runtime);
    rig.spawn(tasks.clone().run());
    tasks.start_for_good(accept_all(server.clone(), listener, tasks.clone()));
    rig.settle();
    (rig, server)
}

async fn accept_all(server: Server<MemoryRuntime>, listener: MemoryListener, tasks: Tasks) {
    while let Some(io) = listener.accept_io().await {
        tasks.start(server.accept(io));
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs in the background.
#[derive(Clone)]
pub(crate) struct Tasks {
    started: (Sender<Task>, Receiver<Task>),
    handles: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { started: async_channel::unbounded(), handles: Arc::default() }
    }

    fn start_for_good(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.started.0.try_send(Box::pin(task)).expect("tasks are run");
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (task, handle) = abortable(task);
        self.handles.lock().unwrap().push(handle);
        self.start_for_good(task.map(drop));
    }

    fn abort(&self) {
        self.handles.lock().unwrap().drain(..).for_each(|handle| handle.abort());
    }

    async fn run(self) {
        let (mut started, mut running) = (Box::pin(self.started.1), FuturesUnordered::new());
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(Some(task)) = started.as_mut().poll_next(cx) {
                    running.push(task);
                }
                if !matches!(Pin::new(&mut running).poll_next(cx), Poll::Ready(Some(()))) {
                    return Poll::<()>::Pending;
                }
            }
        })
        .await;
    }
}

/// Tests that hold however the clients come.
macro_rules! over_both_transports {
    ($($name:ident)*) => {
        mod over_websockets {
            $(#[test] fn $name() { super::$name($crate::lab::Lab::over(rejoin_core::phoenix::Transport::WebSocket)); })*
        }
        mod over_long_poll {
            $(#[test] fn $name() { super::$name($crate::lab::Lab::over(rejoin_core::phoenix::Transport::LongPoll)); })*
        }
    };
}
pub(crate) use over_both_transports;
