//! `rejoin serve`: a small Phoenix server, for trying things out and for tests.
//!
//! Any topic may be joined. A push of any event is replied `ok` and sent to the others in the
//! topic; `ping` is echoed to its sender alone. Clients come by WebSocket or by long-poll.

mod guest;
mod rooms;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_lite::future;
use rejoin_core::ConnId;
use rejoin_core::phoenix::ServerConfig;
use rejoin_pump::{
    AcceptError, AcceptOptions, HttpConnection, Incoming, LongPollHub, LongPollOptions, LongPollSession, Peer,
    PeerEvents, UpgradeRequest,
};

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::host::{Host, Io, Job};
use crate::input;
use crate::interrupt::Interrupts;
use crate::output;
use guest::Guest;
use rooms::Rooms;

/// How long a client may take for each step of its upgrade.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the clients have for their goodbyes: the sessions' own 2 s and some for the rest.
const FAREWELL: Duration = Duration::from_millis(2_500);
/// How long the accept loop rests when the system has no more sockets.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What was typed, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    address: SocketAddr,
}

impl Settings {
    pub(crate) fn check(args: &ServeArgs) -> Result<Self, Failure> {
        Ok(Self { address: input::address("--listen", &args.listen)? })
    }
}

pub(crate) struct Serve {
    pub(crate) settings: Settings,
    pub(crate) interrupts: Interrupts,
}

impl Job for Serve {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let address = self.settings.address;
        let listener = host.bind(address).await.map_err(|error| cannot_listen(address, &error))?;
        let address = host.local_address(&listener).map_err(|error| cannot_listen(address, &error))?;
        // Whoever started us may not care for the address; serving goes on without it.
        let _ = output::say(&format!("listening on ws://{address}/socket"));

        let server = Arc::new(Server::new());
        future::or(server.accept_all(&host, &listener), self.interrupts.wait()).await;
        host.within(FAREWELL, server.close()).await;
        server.rooms.report();
        Ok(())
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; choose another, or 0 for a free one".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address; try 127.0.0.1".into(),
        io::ErrorKind::PermissionDenied => "the port is reserved; choose one above 1023".into(),
        _ => format!("{error}; choose another address"),
    };
    Failure::usage("--listen", format!("{address}: {what}"))
}

/// Everybody who is connected, and their rooms.
#[derive(Debug)]
pub(crate) struct Server {
    rooms: Rooms,
    long_polls: LongPollHub,
    last_conn: AtomicU64,
    sockets: Mutex<BTreeMap<ConnId, Socket>>,
    /// Closed when nobody is let in any more; nothing is ever sent.
    closing: (Sender<()>, Receiver<()>),
    /// Held by everybody who is there; the second part sees the last one go.
    presence: (Mutex<Option<Sender<()>>>, Receiver<()>),
}

#[derive(Clone, Debug)]
struct Socket {
    peer: Peer,
    /// Drops the socket without a word.
    cut: Sender<()>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let (present, gone) = async_channel::bounded(1);
        Self {
            rooms: Rooms::default(),
            long_polls: LongPollHub::new(LongPollOptions::default()),
            last_conn: AtomicU64::new(0),
            sockets: Mutex::default(),
            closing: async_channel::bounded(1),
            presence: (Mutex::new(Some(present)), gone),
        }
    }

    /// Lets clients in for as long as it is polled.
    pub(crate) async fn accept_all<H: Host>(self: &Arc<Self>, host: &H, listener: &H::Listener) {
        loop {
            match host.accept(listener).await {
                Ok(io) => {
                    let Some(presence) = lock(&self.presence.0).clone() else { return };
                    let welcome = self.clone().welcome(host.clone(), io);
                    host.start(async move {
                        welcome.await;
                        drop(presence);
                    });
                }
                // The socket's own trouble, or the system is out of sockets: neither ends the service.
                Err(_) => host.sleep(EXHAUSTED).await,
            }
        }
    }

    async fn welcome<H: Host>(self: Arc<Self>, host: H, io: Io<H>) {
        match self.in_time(&host, Incoming::read(io)).await {
            Some(Incoming::Upgrade(request)) => self.open_socket(host, request).await,
            Some(Incoming::Http(connection)) => self.answer(host, connection).await,
            _ => {}
        }
    }

    async fn open_socket<H: Host>(self: Arc<Self>, host: H, request: UpgradeRequest<Io<H>>) {
        let options = AcceptOptions::default();
        let Some(accepted) = self.in_time(&host, request.answer(&options)).await else { return };
        let (conn, config) = (self.next_conn(), ServerConfig::new(accepted.serializer));
        let (peer, events, pump) = rejoin_pump::serve(accepted.websocket, conn, config, host.runtime());
        self.attend(host, peer, events, pump).await;
    }

    /// Answers requests, of which some may begin a session.
    async fn answer<H: Host>(self: Arc<Self>, host: H, connection: HttpConnection<Io<H>>) {
        let admit = |session: LongPollSession| {
            let Some(presence) = lock(&self.presence.0).clone() else { return };
            let (conn, serializer) = (self.next_conn(), session.serializer());
            let config = ServerConfig::new(serializer);
            let (peer, events, pump) = rejoin_pump::serve_long_poll(session, conn, config, host.runtime());
            let attending = self.clone().attend(host.clone(), peer, events, pump);
            host.start(async move {
                attending.await;
                drop(presence);
            });
        };
        self.long_polls.serve(connection, host.runtime(), admit).await;
    }

    /// Until the client is gone, whatever it has come by.
    async fn attend<H: Host>(
        self: Arc<Self>,
        host: H,
        peer: Peer,
        events: PeerEvents,
        pump: impl Future<Output = ()> + Send + 'static,
    ) {
        let conn = peer.conn();
        let (cut, is_cut) = async_channel::bounded::<()>(1);
        // Dropping the pump drops the socket.
        host.start(future::or(pump, async move { is_cut.recv().await.unwrap_or_default() }));

        lock(&self.sockets).insert(conn, Socket { peer: peer.clone(), cut });
        if self.closing.1.is_closed() {
            // It was let in while the others were told.
            say_goodbye(&peer);
        }
        Guest::new(&self.rooms, peer).run(events).await;
        lock(&self.sockets).remove(&conn);
    }

    /// A step of the welcome, unless it takes too long or the server closes.
    async fn in_time<H: Host, T: Send>(
        &self,
        host: &H,
        step: impl Future<Output = Result<T, AcceptError>> + Send,
    ) -> Option<T> {
        let closing = async { self.closing.1.recv().await.ok().and(None) };
        future::or(async { host.within(HANDSHAKE, step).await?.ok() }, closing).await
    }

    fn next_conn(&self) -> ConnId {
        ConnId::new(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Closes every socket and waits until they are gone.
    async fn close(&self) {
        self.closing.0.close();
        self.long_polls.close();
        drop(lock(&self.presence.0).take());
        let sockets: Vec<Socket> = lock(&self.sockets).values().cloned().collect();
        for Socket { peer, .. } in sockets {
            say_goodbye(&peer);
        }
        // Nobody sends; the channel closes.
        let _ = self.presence.1.recv().await;
    }

    /// Drops every socket without a close frame.
    pub(crate) fn cut_all(&self) {
        for socket in lock(&self.sockets).values() {
            // Full means that it is being cut.
            let _ = socket.cut.try_send(());
        }
    }
}

/// "Service restart": clients come back.
fn say_goodbye(peer: &Peer) {
    peer.close(1012, "");
}

/// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
