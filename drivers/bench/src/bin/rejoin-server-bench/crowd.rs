//! Many clients of one server on one thread, each a socket and little else.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Failure;
use crate::dialect::{Dialect, Heard, Next};
use crate::websocket::{self, Frame};

/// How many may be on their way into the room at a time: fewer than the kernel keeps for a server
/// that is about to accept them.
const ON_THEIR_WAY: usize = 64;
/// How long nothing may happen while clients come in.
const STUCK: Duration = Duration::from_secs(20);
/// Servers take clients that are silent for longer for dead.
const HEARTBEAT: Duration = Duration::from_secs(20);
const READ_BUFFER: usize = 256 * 1024;

/// Clients in one room.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    address: SocketAddr,
    dialect: Dialect,
    clients: Vec<Client>,
    next_heartbeat: Instant,
    heard: Counts,
}

/// What all clients together have seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) joined: usize,
    pub(crate) messages: usize,
    pub(crate) answers: usize,
    /// Clients that are gone.
    pub(crate) closed: usize,
}

struct Client {
    socket: TcpStream,
    stage: Stage,
    /// The beginning of something.
    incoming: Vec<u8>,
    /// What the socket has not taken yet.
    outgoing: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Entering,
    Joined,
    Closed,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr, dialect: Dialect) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ_BUFFER],
            address,
            dialect,
            clients: Vec::new(),
            next_heartbeat: Instant::now() + HEARTBEAT,
            heard: Counts::default(),
        })
    }

    /// Lets clients in until there are so many.
    pub(crate) fn grow(&mut self, to: usize) -> Result<(), Failure> {
        let mut last = (Instant::now(), 0);
        while self.heard.joined < to {
            while self.clients.len() < to && self.clients.len() < self.heard.joined + ON_THEIR_WAY {
                self.connect()?;
            }
            self.turn(Duration::from_millis(100))?;
            if self.heard.joined > last.1 {
                last = (Instant::now(), self.heard.joined);
            }
            if self.heard.closed > 0 || last.0.elapsed() > STUCK {
                let Counts { joined, closed, .. } = self.heard;
                return Err(format!("of {to} clients, {joined} came in and {closed} were turned away").into());
            }
        }
        Ok(())
    }

    /// The first client says something to the room, `times` over in one go.
    pub(crate) fn say(&mut self, text: &str, times: usize) -> Result<(), Failure> {
        let first = self.clients.first_mut().ok_or("nobody is there to say it")?;
        for _ in 0..times {
            websocket::write(&mut first.outgoing, websocket::TEXT, text.as_bytes());
        }
        Ok(first.write()?)
    }

    /// Waits for at most `wait` and takes what there is.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<Counts, Failure> {
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            if client.stage != Stage::Closed && client.turn(self.dialect, &mut self.buffer, &mut self.heard).is_err() {
                client.stage = Stage::Closed;
                self.heard.closed += 1;
            }
        }
        self.keep_alive();
        Ok(self.heard)
    }

    /// Takes what there is for so long.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<Counts, Failure> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let counts = self.turn(left)?;
            if left.is_zero() {
                return Ok(counts);
            }
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) const fn heard(&self) -> Counts {
        self.heard
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let mut socket = TcpStream::connect(self.address)?;
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let outgoing = websocket::upgrade(self.dialect.path(), self.address).into_bytes();
        self.clients.push(Client { socket, stage: Stage::Upgrading, incoming: Vec::new(), outgoing });
        Ok(())
    }

    fn keep_alive(&mut self) {
        let now = Instant::now();
        if now < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = now + HEARTBEAT;
        let Some(heartbeat) = self.dialect.heartbeat() else { return };
        for client in self.clients.iter_mut().filter(|client| client.stage == Stage::Joined) {
            websocket::write(&mut client.outgoing, websocket::TEXT, heartbeat.as_bytes());
            // One that is gone is noticed when it is read.
            let _ = client.write();
        }
    }
}

impl Client {
    fn turn(&mut self, dialect: Dialect, buffer: &mut [u8], heard: &mut Counts) -> io::Result<()> {
        self.write()?;
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take(dialect, &buffer[..read], heard)?;
            self.write()?;
            // A stream that gave less than it was asked for is empty: what comes next wakes us.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, dialect: Dialect, bytes: &[u8], heard: &mut Counts) -> io::Result<()> {
        if self.incoming.is_empty() {
            let used = self.understand(dialect, bytes, heard)?;
            self.incoming.extend(&bytes[used..]);
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend(bytes);
            let used = self.understand(dialect, &incoming, heard)?;
            if used < incoming.len() {
                incoming.drain(..used);
                self.incoming = incoming;
            }
        }
        Ok(())
    }

    /// How many of the bytes were whole frames.
    fn understand(&mut self, dialect: Dialect, bytes: &[u8], heard: &mut Counts) -> io::Result<usize> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some((head, let_in)) = websocket::upgraded(bytes) else { return Ok(0) };
            if !let_in {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            used = head;
            self.stage = Stage::Entering;
            self.enter(dialect.next(None), heard);
        }
        while let Some(frame) = Frame::first(&bytes[used..]) {
            used += frame.len;
            match frame.opcode {
                websocket::TEXT => self.hear(dialect, frame.payload, heard)?,
                websocket::PING => websocket::write(&mut self.outgoing, websocket::PONG, frame.payload),
                websocket::CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
        Ok(used)
    }

    fn hear(&mut self, dialect: Dialect, text: &[u8], heard: &mut Counts) -> io::Result<()> {
        match dialect.hear(text) {
            Heard::Message => heard.messages += 1,
            Heard::Refused => return Err(io::ErrorKind::PermissionDenied.into()),
            Heard::Ping => websocket::write(&mut self.outgoing, websocket::TEXT, b"3"),
            said if self.stage == Stage::Entering => self.enter(dialect.next(Some(said)), heard),
            Heard::Answer => heard.answers += 1,
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, next: Next, heard: &mut Counts) {
        match next {
            Next::Say(text) => websocket::write(&mut self.outgoing, websocket::TEXT, text.as_bytes()),
            Next::Wait => {}
            Next::Joined => {
                self.stage = Stage::Joined;
                heard.joined += 1;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
                Err(error) => return Err(error),
            }
        }
        // Memory of ten thousand is for the kernel.
        if self.outgoing.is_empty() && self.outgoing.capacity() > 1024 {
            self.outgoing = Vec::new();
        }
        Ok(())
    }
}
