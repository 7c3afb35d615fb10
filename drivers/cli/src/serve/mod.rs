//! `rejoin serve`: a small Phoenix server, for trying things out and for tests.
//!
//! Any topic may be joined. A push of any event is replied `ok` and sent to the others in the
//! topic; `ping` is echoed to its sender alone.

mod guest;
mod rooms;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::Sender;
use futures_lite::future;
use rejoin_core::ConnId;
use rejoin_core::phoenix::ServerConfig;
use rejoin_pump::{AcceptOptions, Peer, accept};

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::host::{Host, Io, Job, Task};
use crate::input;
use crate::interrupt::Interrupts;
use crate::output;
use guest::Guest;
use rooms::Rooms;

/// How long a client may take for its upgrade request.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the clients have for their goodbyes: the sessions' own 2 s and some for the rest.
const FAREWELL: Duration = Duration::from_millis(2_500);
/// What waits for one socket's pump before a broadcast waits for it.
const COMMANDS: usize = 256;
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

        let server = Arc::new(Server::default());
        future::or(server.accept_all(&host, &listener), self.interrupts.wait()).await;
        host.within(FAREWELL, server.close(1012)).await;
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
#[derive(Debug, Default)]
pub(crate) struct Server {
    rooms: Rooms,
    last_conn: AtomicU64,
    sockets: Mutex<BTreeMap<ConnId, Socket>>,
    /// Nobody is let in any more.
    closing: AtomicBool,
}

#[derive(Clone, Debug)]
struct Socket {
    peer: Peer,
    /// Drops the socket without a word.
    cut: Sender<()>,
    pump: Task,
}

impl Socket {
    fn cut(&self) {
        // Full means that it is being cut.
        let _ = self.cut.try_send(());
    }
}

impl Server {
    /// Lets clients in for as long as it is polled.
    pub(crate) async fn accept_all<H: Host>(self: &Arc<Self>, host: &H, listener: &H::Listener) {
        loop {
            match host.accept(listener).await {
                Ok(io) => host.start(self.clone().welcome(host.clone(), io)),
                // The socket's own trouble, or the system is out of sockets: neither ends the service.
                Err(_) => host.sleep(EXHAUSTED).await,
            }
        }
    }

    async fn welcome<H: Host>(self: Arc<Self>, host: H, io: Io<H>) {
        let options = AcceptOptions::default();
        let Some(Ok(accepted)) = host.within(HANDSHAKE, accept(io, &options)).await else { return };
        let conn = ConnId::new(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1);
        let config = ServerConfig::new(accepted.serializer);
        let (peer, events, pump) = rejoin_pump::serve(accepted.websocket, conn, config, COMMANDS, host.runtime());
        let (cut, is_cut) = async_channel::bounded::<()>(1);
        // Dropping the pump drops the socket.
        let pump = host.spawn(future::or(pump, async move { is_cut.recv().await.unwrap_or_default() }));

        self.sockets().insert(conn, Socket { peer: peer.clone(), cut: cut.clone(), pump });
        if self.closing.load(Ordering::SeqCst) {
            return;
        }
        Guest::new(&host, &self.rooms, accepted.serializer, peer, cut).run(events).await;
        self.sockets().remove(&conn);
    }

    /// Closes every socket and waits until they are gone.
    async fn close(&self, code: u16) {
        self.closing.store(true, Ordering::SeqCst);
        let closing: Vec<Socket> = self.sockets().values().cloned().collect();
        for socket in &closing {
            if future::poll_once(socket.peer.close(code, "")).await.is_none() {
                // It takes no commands: there is no time to wait for it.
                socket.cut();
            }
        }
        for pump in closing.iter().map(|socket| &socket.pump) {
            pump.done().await;
        }
    }

    /// Drops every socket without a close frame.
    pub(crate) fn cut_all(&self) {
        for socket in self.sockets().values() {
            socket.cut();
        }
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<ConnId, Socket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
