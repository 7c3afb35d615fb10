//! A server in a process of its own, whose memory is nobody else's, and a client that expects to be served
//! all the time.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{Message, WebSocket, client};
use rejoin_pump::server::{Endpoint, ServerCounts, ServerOptions};

use crate::room::{Please, Room};

/// Says on which runtime the process serves.
const RUNTIME: &str = "ABUSED_RUNTIME";
/// How long a client may take for its handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(1);
/// What an honest client may wait for an answer, on a machine that is busy with other things too.
const DEADLINE: Duration = Duration::from_secs(5);
/// What a scenario may cost beyond what the server takes at rest. One client may keep its outbox of 16 MiB
/// and a message of 16 MiB.
const MEMORY_KB: u64 = 64 << 10;

/// What the process does: it serves until its standard input ends, and tells how it stands for each line.
pub(crate) fn serve() {
    let Ok(runtime) = std::env::var(RUNTIME) else { return };
    raise_limit();
    let mut options = ServerOptions::default();
    options.handshake_timeout = HANDSHAKE;
    let endpoint = Endpoint::new(()).channel::<Room>("*").verifier(Please).options(options);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    if runtime == "smol" {
        smol::block_on(async {
            let (server, serving) = rejoin_smol::server::serve(endpoint, smol::Async::try_from(listener).unwrap());
            answer(address, move || server.counts());
            serving.await;
        });
    } else {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (server, serving) = rejoin_tokio::server::serve(endpoint, listener);
            answer(address, move || server.counts());
            serving.await;
        });
    }
}

fn answer(address: SocketAddr, counts: impl Fn() -> ServerCounts + Send + 'static) {
    println!("\n{address}");
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            let ServerCounts { connections, handshakes, topics, members, .. } = counts();
            println!("{connections} {handshakes} {topics} {members}");
        }
        std::process::exit(0);
    });
}

/// As many sockets as the system allows; tells how many that are.
pub(crate) fn raise_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256)
}

/// The process, and the honest client.
pub(crate) struct Abused {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
    at_rest_kb: u64,
    honest: Option<JoinHandle<usize>>,
    enough: Arc<AtomicBool>,
}

impl Abused {
    pub(crate) fn on(runtime: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_server_that_is_abused", "--nocapture"])
            .env(RUNTIME, runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| line.parse().ok()).expect("it listens");
        let enough = Arc::<AtomicBool>::default();
        let honest = std::thread::spawn({
            let enough = enough.clone();
            move || be_served(address, &enough)
        });
        let mut abused = Self { process, lines, address, at_rest_kb: 0, honest: Some(honest), enough };
        abused.until([1, 0, 1, 1]);
        abused.at_rest_kb = abused.memory_kb("VmRSS:");
        abused
    }

    pub(crate) fn dial(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
        tcp
    }

    pub(crate) fn connect(&self) -> WebSocket<TcpStream> {
        connect(self.address)
    }

    /// Connections, handshakes, topics and members, without those of the honest client.
    pub(crate) fn stands(&mut self) -> [usize; 4] {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        let line = self.lines.next().unwrap().unwrap();
        let counts: Vec<usize> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        counts.try_into().unwrap()
    }

    /// Waits until it stands like this, the honest client included.
    pub(crate) fn until(&mut self, stands: [usize; 4]) {
        let begin = Instant::now();
        while self.stands() != stands {
            assert!(begin.elapsed() < 2 * DEADLINE, "{:?} instead of {stands:?}", self.stands());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// At no moment it had much more than at rest.
    pub(crate) fn assert_small(&self) {
        let grown = self.memory_kb("VmHWM:").saturating_sub(self.at_rest_kb);
        assert!(grown < MEMORY_KB, "{grown} KiB more than at rest");
    }

    /// Nothing remains of those who are gone, and the honest client never had to wait.
    pub(crate) fn assert_well(mut self) {
        self.assert_small();
        self.until([1, 0, 1, 1]);
        self.enough.store(true, Ordering::Relaxed);
        let served = self.honest.take().unwrap().join().expect("the honest client is served");
        assert!(served > 0);
        self.until([0; 4]);
    }

    fn memory_kb(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Abused {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        // Both fail only for a process that is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.set_write_timeout(Some(DEADLINE)).unwrap();
    client(format!("ws://{address}/socket/websocket?vsn=2.0.0&token=please"), tcp).unwrap().0
}

pub(crate) fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
}

/// The next message, which has to come in time.
pub(crate) fn hear(socket: &mut WebSocket<TcpStream>) -> String {
    socket.read().unwrap().into_text().unwrap().to_string()
}

/// Asks, waits for the answer, and comes anew once in a while; every answer has to come in time. Tells how
/// many there were.
fn be_served(address: SocketAddr, enough: &AtomicBool) -> usize {
    let (mut served, mut socket) = (0, honest(address));
    while !enough.load(Ordering::Relaxed) {
        let begin = Instant::now();
        say(&mut socket, r#"["1","2","honest","echo",{}]"#);
        assert!(hear(&mut socket).contains(r#""2","honest","phx_reply",{"status":"ok""#));
        assert!(begin.elapsed() < DEADLINE);
        served += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    served
}

fn honest(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut socket = connect(address);
    say(&mut socket, r#"["1","1","honest","phx_join",{}]"#);
    assert!(hear(&mut socket).contains("ok"));
    socket
}
