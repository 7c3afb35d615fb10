//! The standard output: batches of lines, in JSON or as text, until nobody reads them any more.

mod human;
mod json;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use rejoin_core::phoenix::JoinFailure;
use rejoin_core::{Payload, PayloadError};
use rejoin_pump::{ChannelEvent, ConnectionEvent};

pub(crate) use human::{printable, shown};

/// What is gathered before it is written although more is at hand.
const BATCH: usize = 64 * 1024;

/// Something that happened, as every output shows it. Fields that do not apply are absent.
#[derive(Debug, Default)]
pub(crate) struct Line<'a> {
    pub(crate) event: &'static str,
    pub(crate) topic: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) payload: Option<&'a Payload>,
    pub(crate) reason: Option<String>,
    pub(crate) again: Option<bool>,
    pub(crate) retry_in: Option<Duration>,
    pub(crate) rtt: Option<Duration>,
}

impl<'a> Line<'a> {
    /// What happened on a channel. A message whose payload is not JSON is `malformed`.
    pub(crate) fn of_channel(topic: &'a str, event: &'a ChannelEvent) -> Self {
        let line = match event {
            ChannelEvent::Joined { response, again } => {
                Self { event: "joined", payload: Some(response), again: Some(*again), ..Self::default() }
            }
            ChannelEvent::JoinFailed { failure, retry_in } => {
                let payload = match failure {
                    JoinFailure::Refused { response } => Some(response),
                    _ => None,
                };
                let reason = Some(failure.to_string());
                Self { event: "join_failed", payload, reason, retry_in: *retry_in, ..Self::default() }
            }
            ChannelEvent::Errored { cause, retry_in } => {
                let reason = Some(cause.to_string());
                Self { event: "channel_errored", reason, retry_in: *retry_in, ..Self::default() }
            }
            ChannelEvent::Message { event, payload } => {
                Self { event: "message", name: Some(event), payload: Some(payload), ..Self::default() }
            }
            ChannelEvent::Lagged { missed } => Self::missed(*missed),
            ChannelEvent::Closed { reason } => {
                Self { event: "channel_closed", reason: Some(reason.to_string()), ..Self::default() }
            }
            other => Self::unknown(other),
        };
        Self { topic: Some(topic), ..line }.checked()
    }

    /// What happened to the connection.
    pub(crate) fn of_connection(event: &ConnectionEvent) -> Self {
        match event {
            ConnectionEvent::Connected => Self { event: "connected", ..Self::default() },
            ConnectionEvent::Disconnected { reason, retry_in } => {
                let reason = Some(reason.to_string());
                Self { event: "disconnected", reason, retry_in: *retry_in, ..Self::default() }
            }
            ConnectionEvent::HeartbeatAnswered { rtt, .. } => {
                Self { event: "heartbeat", rtt: Some(*rtt), ..Self::default() }
            }
            ConnectionEvent::Malformed { error } => {
                Self { event: "malformed", reason: Some(error.to_string()), ..Self::default() }
            }
            ConnectionEvent::Lagged { missed } => Self::missed(*missed),
            ConnectionEvent::GaveUp { attempts } => {
                let reason = Some(format!("{attempts} attempts in a row failed"));
                Self { event: "gave_up", reason, ..Self::default() }
            }
            ConnectionEvent::Closed => Self { event: "closed", ..Self::default() },
            other => Self::unknown(other),
        }
    }

    /// Messages were dropped, which `Block` rules out.
    pub(crate) fn missed(missed: u64) -> Self {
        Self { event: "malformed", reason: Some(format!("{missed} messages were missed")), ..Self::default() }
    }

    /// Events may grow; what is new there has to get a place here.
    fn unknown(event: &impl std::fmt::Debug) -> Self {
        Self { event: "malformed", reason: Some(format!("unknown to this program: {event:?}")), ..Self::default() }
    }

    fn checked(self) -> Self {
        let Some(error) = self.payload.and_then(json_error) else { return self };
        let reason = Some(format!("the payload is not JSON: {error}"));
        Self { event: "malformed", payload: None, reason, ..self }
    }
}

/// What is wrong with a payload that should be JSON; bytes are fine.
pub(crate) fn json_error(payload: &Payload) -> Option<String> {
    match payload.parse::<&serde_json::value::RawValue>() {
        Ok(_) | Err(PayloadError::Binary) => None,
        Err(PayloadError::Json(what)) => Some(what),
        Err(other) => Some(other.to_string()),
    }
}

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
            Format::Json => json::write(&mut self.batch, line, epoch_millis()),
            Format::Human { colours } => human::write(&mut self.batch, line, colours),
        }
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
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

fn epoch_millis() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis())
}
