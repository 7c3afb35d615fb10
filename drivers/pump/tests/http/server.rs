//! A small server over both transports: the push `echo` is answered with its payload, `close` ends the
//! connection, and any other is answered and sent to the others in the topic.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_channel::Sender;
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, Stream};
use rejoin_core::phoenix::{ServerChannelId, ServerConfig, ServerEvent, Status, UpgradeConfig};
use rejoin_core::{ConnId, Payload, Text};
use rejoin_pump::memory::{MemoryIo, MemoryListener, MemoryRuntime};
use rejoin_pump::{Incoming, LongPollHub, LongPollSession, Peer, PeerEvents, serve, serve_long_poll};

#[derive(Clone, Default)]
pub(crate) struct Server(Arc<State>);

#[derive(Default)]
struct State {
    last_conn: AtomicU64,
    connections: AtomicUsize,
    sessions: AtomicUsize,
    refuses_sessions: AtomicBool,
    refuses_upgrades: AtomicBool,
    members: Mutex<Vec<Member>>,
}

struct Member {
    topic: Text,
    channel: ServerChannelId,
    peer: Peer,
}

impl Server {
    /// Serves every connection of a network, and all that comes of them.
    pub(crate) async fn run(self, listener: MemoryListener, runtime: MemoryRuntime, hub: LongPollHub) {
        run_all(|jobs| async move {
            while let Some(io) = listener.accept_io().await {
                self.0.connections.fetch_add(1, Ordering::SeqCst);
                let (visit, state) =
                    (self.clone().visit(io, runtime.clone(), hub.clone(), jobs.clone()), self.0.clone());
                jobs.start(async move {
                    visit.await;
                    state.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        })
        .await;
    }

    /// Connections that were not let go.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    /// Long-poll sessions that are being served.
    pub(crate) fn sessions(&self) -> usize {
        self.0.sessions.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse_sessions(&self) {
        self.0.refuses_sessions.store(true, Ordering::SeqCst);
    }

    pub(crate) fn refuse_upgrades(&self, refuses: bool) {
        self.0.refuses_upgrades.store(refuses, Ordering::SeqCst);
    }

    /// Says `shout` to everybody who is in a topic, at once.
    pub(crate) fn shout(&self, payloads: impl IntoIterator<Item = Payload>) {
        let members = self.0.members.lock().unwrap();
        for payload in payloads {
            members.iter().for_each(|member| member.peer.push(member.channel, "shout", payload.clone()).unwrap());
        }
    }

    /// Tells everybody who is in a topic that the server goes.
    pub(crate) fn close_everybody(&self) {
        for member in &*self.0.members.lock().unwrap() {
            member.peer.close(1012, "");
        }
    }

    async fn visit(self, io: MemoryIo, runtime: MemoryRuntime, hub: LongPollHub, jobs: Jobs) {
        match Incoming::read(io).await {
            Ok(Incoming::Upgrade(request)) if self.0.refuses_upgrades.load(Ordering::SeqCst) => {
                let _ = request.refuse(502, "no upgrades here").await;
            }
            Ok(Incoming::Upgrade(request)) => {
                let decision = UpgradeConfig::default().decide(&request.head());
                let Ok(accepted) = request.answer_with(decision, 1 << 20).await else { return };
                let config = ServerConfig::new(accepted.serializer);
                let (peer, events, pump) = serve(accepted.websocket, self.conn(), config, runtime);
                join(pump, self.host(peer, events)).await;
            }
            Ok(Incoming::Http(connection)) => {
                let clock = runtime.clone();
                let admit = |session: LongPollSession| {
                    if !self.0.refuses_sessions.load(Ordering::SeqCst) {
                        jobs.start(self.clone().attend(session, runtime.clone()));
                    }
                };
                hub.serve(connection, clock, admit).await;
            }
            _ => {}
        }
    }

    async fn attend(self, session: LongPollSession, runtime: MemoryRuntime) {
        self.0.sessions.fetch_add(1, Ordering::SeqCst);
        let config = ServerConfig::new(session.serializer());
        let (peer, events, pump) = serve_long_poll(session, self.conn(), config, runtime);
        join(pump, self.host(peer, events)).await;
        self.0.sessions.fetch_sub(1, Ordering::SeqCst);
    }

    async fn host(&self, peer: Peer, mut events: PeerEvents) {
        while let Some(event) = events.next().await {
            match event {
                ServerEvent::Join { join, topic, .. } => {
                    if let Ok(channel) = peer.accept_join(join, Payload::EMPTY) {
                        self.0.members.lock().unwrap().push(Member { topic, channel, peer: peer.clone() });
                    }
                }
                ServerEvent::Push { event, payload, reply, .. } if event == "echo" => {
                    let _ = peer.reply(reply, Status::Ok, payload);
                }
                ServerEvent::Push { event, .. } if event == "close" => peer.close(1012, "restart"),
                ServerEvent::Push { channel, event, payload, reply } => {
                    let _ = peer.reply(reply, Status::Ok, Payload::EMPTY);
                    for (other, channel) in self.others(&peer, channel) {
                        let _ = other.push(channel, event.clone(), payload.clone());
                    }
                }
                ServerEvent::Left { channel } => {
                    let is_it = |member: &Member| member.channel == channel && member.peer.conn() == peer.conn();
                    self.0.members.lock().unwrap().retain(|member| !is_it(member));
                }
                _ => {}
            }
        }
        self.0.members.lock().unwrap().retain(|member| member.peer.conn() != peer.conn());
    }

    fn others(&self, peer: &Peer, channel: ServerChannelId) -> Vec<(Peer, ServerChannelId)> {
        let members = self.0.members.lock().unwrap();
        let own = members.iter().find(|member| member.channel == channel && member.peer.conn() == peer.conn());
        let Some(topic) = own.map(|member| &member.topic) else { return Vec::new() };
        let others = members.iter().filter(|member| member.topic == *topic && member.peer.conn() != peer.conn());
        others.map(|member| (member.peer.clone(), member.channel)).collect()
    }

    fn conn(&self) -> ConnId {
        ConnId::new(self.0.last_conn.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where futures are run in the background.
#[derive(Clone)]
pub(crate) struct Jobs(Sender<Job>);

impl Jobs {
    pub(crate) fn start(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.0.try_send(Box::pin(job)).expect("jobs are run");
    }
}

/// Runs a future and all that it starts.
pub(crate) async fn run_all<F: Future<Output = ()> + Send + 'static>(first: impl FnOnce(Jobs) -> F) {
    let (sender, started) = async_channel::unbounded();
    let jobs = Jobs(sender);
    jobs.start(first(jobs.clone()));
    let (mut started, mut running) = (Box::pin(started), FuturesUnordered::new());
    poll_fn(|cx| {
        loop {
            while let Poll::Ready(Some(job)) = started.as_mut().poll_next(cx) {
                running.push(job);
            }
            if !matches!(Pin::new(&mut running).poll_next(cx), Poll::Ready(Some(()))) {
                return Poll::<()>::Pending;
            }
        }
    })
    .await;
}
