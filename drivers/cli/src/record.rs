//! `--record`: what a client's connections carry, written down by a thread of its own.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rejoin_core::{ConnId, ConnectRequest, Frame, OpenError};
use rejoin_pump::{Direction, Tap};
use rejoin_recording::{Dir, Row, redact_target, redact_text};

use crate::failure::Failure;

/// Rows that may wait for the disk before the connection waits for it: nothing is left out.
const WAITING: usize = 1_024;

/// A recording that is being written. It ends when the recorder's tap is dropped.
#[derive(Debug)]
pub(crate) struct Recording {
    file: String,
    writer: JoinHandle<io::Result<()>>,
}

/// Creates the file and writes its first row; the tap sees the rest.
pub(crate) fn start(file: &str, note: &str) -> Result<(Recorder, Recording), Failure> {
    let fail =
        |error: io::Error| Failure::usage("--record", format!("{file}: {error}; choose a file that can be written"));
    let mut out = BufWriter::new(File::create(file).map_err(fail)?);
    Row::meta("rejoin listen", note).write(&mut out).and_then(|()| out.flush()).map_err(fail)?;
    let (rows, incoming) = sync_channel(WAITING);
    let writer = std::thread::Builder::new().name("record".into()).spawn(move || write_all(&incoming, out));
    let recording = Recording { file: file.into(), writer: writer.map_err(fail)? };
    Ok((Recorder { start: Instant::now(), rows, open: None }, recording))
}

impl Recording {
    /// Waits for the last row.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let written = self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")));
        written.map_err(|error| Failure::broken(format!("--record: {}: {error}", self.file)))
    }
}

/// Rows at hand are written together and then flushed, so that the file can be followed.
fn write_all(rows: &Receiver<Seen>, mut out: BufWriter<File>) -> io::Result<()> {
    while let Ok(first) = rows.recv() {
        first.into_row().write(&mut out)?;
        while let Ok(next) = rows.try_recv() {
            next.into_row().write(&mut out)?;
        }
        out.flush()?;
    }
    Ok(())
}

/// What the tap saw; the row is made, and credentials are taken out, in the writing thread.
struct Seen {
    at_ms: u64,
    conn: u64,
    dir: Dir,
    what: What,
}

enum What {
    Opening { target: String },
    Opened,
    Failed(OpenError),
    Frame(Frame),
    Closed { code: u16, reason: String },
}

impl Seen {
    fn into_row(self) -> Row {
        let Self { at_ms, conn, dir, what } = self;
        let row = |kind| Row::new(at_ms, kind).on(conn, dir);
        match what {
            What::Opening { target } => {
                let mut row = row("upgrade");
                row.path = Some(redact_target(&target));
                row
            }
            What::Opened => {
                let mut row = row("upgrade_ok");
                row.status = Some(101);
                row
            }
            What::Failed(OpenError { status: Some(status), message, .. }) => {
                let mut row = row("upgrade_rejected");
                (row.status, row.body) = (Some(status), Some(redact_text(&message).to_string()));
                row
            }
            What::Failed(error) => {
                let mut row = row("upstream_error");
                row.data = Some(error.message);
                row
            }
            What::Frame(Frame::Text(text)) => Row::frame(at_ms, conn, dir, &Frame::Text(redact_text(&text))),
            What::Frame(frame) => Row::frame(at_ms, conn, dir, &frame),
            What::Closed { code, reason } => Row::close(at_ms, conn, dir, code, &reason),
        }
    }
}

/// The tap.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    rows: SyncSender<Seen>,
    /// The connection whose end was not seen yet.
    open: Option<ConnId>,
}

impl Recorder {
    fn note(&self, conn: ConnId, dir: Dir, what: What) {
        let at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A writer that failed says so at the end.
        let _ = self.rows.send(Seen { at_ms, conn: conn.get(), dir, what });
    }

    /// A connection that the client dropped has no other end.
    fn note_dropped(&mut self) {
        if let Some(conn) = self.open.take() {
            self.note(conn, Dir::ToServer, What::Closed { code: 1006, reason: String::new() });
        }
    }
}

impl Tap for Recorder {
    fn opening(&mut self, request: &ConnectRequest) {
        self.note_dropped();
        let rest = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
        let target = rest.find('/').map_or("/", |at| &rest[at..]);
        self.note(request.conn, Dir::ToServer, What::Opening { target: target.into() });
    }

    fn opened(&mut self, conn: ConnId) {
        self.open = Some(conn);
        self.note(conn, Dir::ToClient, What::Opened);
    }

    fn open_failed(&mut self, conn: ConnId, error: &OpenError) {
        self.note(conn, Dir::ToClient, What::Failed(error.clone()));
    }

    fn frame(&mut self, conn: ConnId, direction: Direction, frame: &Frame) {
        self.note(conn, dir(direction), What::Frame(frame.clone()));
    }

    fn closed(&mut self, conn: ConnId, direction: Direction, code: Option<u16>, reason: &str) {
        if direction == Direction::In {
            self.open = None;
        }
        self.note(conn, dir(direction), What::Closed { code: code.unwrap_or(1006), reason: reason.into() });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.note_dropped();
    }
}

const fn dir(direction: Direction) -> Dir {
    match direction {
        Direction::Out => Dir::ToServer,
        Direction::In => Dir::ToClient,
    }
}
