//! The standard output: batches of lines, in JSON or as text, until nobody reads them any more.

mod check;
mod human;
mod json;
mod line;
mod object;
mod phoenix;
mod presence;
mod row_change;
mod supabase;
mod words;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::SystemTime;

pub(crate) use check::{Check, Standing};
pub(crate) use line::{Line, Retry, json_error};
pub(crate) use words::{plural, printable, shown};

/// What is gathered before it is written although more is at hand.
const BATCH: usize = 64 * 1024;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    batch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Human { colours: bool },
}

/// Nobody reads the output any more.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format = if json { Format::Json } else { Format::Human { colours } };
        Self { format, batch: Vec::new() }
    }

    /// Adds a line to the batch, which is written when it is large.
    pub(crate) fn print(&mut self, line: &Line<'_>) -> Result<(), ReaderGone> {
        match self.format {
            Format::Json => json::write(&mut self.batch, line, epoch_millis(SystemTime::now())),
            Format::Human { colours } => human::write(&mut self.batch, line, colours),
        }
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Prints a check at once: whoever waits for the next one wants to see it.
    pub(crate) fn print_check(&mut self, check: &Check<'_>) -> Result<(), ReaderGone> {
        match self.format {
            Format::Json => check.write_json(&mut self.batch, epoch_millis(SystemTime::now())),
            Format::Human { colours } => check.write_human(&mut self.batch, colours),
        }
        self.flush()
    }

    /// Writes the batch.
    pub(crate) fn flush(&mut self) -> Result<(), ReaderGone> {
        let written = write(&self.batch);
        self.batch.clear();
        written
    }
}

/// Prints one line of text at once.
pub(crate) fn say(line: &str) -> Result<(), ReaderGone> {
    write(format!("{line}\n").as_bytes())
}

/// Says something on stderr, if anybody listens: one line without control characters.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// An output that fails in another way than by having no reader (a full disk) is as good as one
/// without, but worth a word.
fn write(bytes: &[u8]) -> Result<(), ReaderGone> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: the standard output cannot be written: {error}");
        }
        ReaderGone
    })
}

fn epoch_millis(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis())
}
