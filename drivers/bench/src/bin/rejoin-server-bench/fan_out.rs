//! One speaks and many listen.

use std::fmt;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::Failure;
use crate::args::Args;
use crate::crowd::Crowd;
use crate::machine::Machine;
use crate::server::{Kind, Server};
use crate::table::{median, thousands};

/// Nothing arrived for so long: what is missing is lost.
const LOST: Duration = Duration::from_secs(2);
/// Between the last join and the first message.
const SETTLE: Duration = Duration::from_millis(200);
/// How often the server's processor time is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that a run takes, however little the server works.
const LONGEST: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pace {
    /// The next message follows when the last one has arrived everywhere.
    OneByOne,
    /// As many messages at a time as the server's documentation says that it keeps.
    Window,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneByOne => "one message at a time",
            Self::Window => "a window of messages at a time",
        })
    }
}

/// What one run found.
pub(crate) struct FanOut {
    pub(crate) kind: &'static str,
    pub(crate) subscribers: usize,
    pub(crate) size: usize,
    pub(crate) pace: Pace,
    expected: usize,
    delivered: usize,
    seconds: f64,
    cpu: f64,
    closed: usize,
}

/// All sizes and paces, on one server with so many subscribers.
pub(crate) fn measure(
    args: &Args,
    kind: &'static Kind,
    machine: &Machine,
    subscribers: usize,
) -> Result<Vec<FanOut>, Failure> {
    let server = Server::start(args, kind, machine)?;
    let mut crowd = Crowd::new(server.address, kind.dialect)?;
    crowd.grow(subscribers + 1)?;
    let mut measured = Vec::new();
    for &size in &args.size {
        for &pace in args.paces() {
            let window = if pace == Pace::OneByOne { 1 } else { kind.window };
            let speech = Speech { kind, subscribers, size, pace, window };
            crowd.rest(SETTLE)?;
            // The first messages find everything cold.
            speech.say(&server, &mut crowd, 0.0)?;
            measured.push(speech.say(&server, &mut crowd, args.cpu)?);
        }
    }
    Ok(measured)
}

/// Many messages in one go.
pub(crate) fn flood(args: &Args, kind: &'static Kind, machine: &Machine) -> Result<FanOut, Failure> {
    let server = Server::start(args, kind, machine)?;
    let mut crowd = Crowd::new(server.address, kind.dialect)?;
    crowd.grow(args.flood_subscribers + 1)?;
    crowd.rest(SETTLE)?;
    let (subscribers, size) = (args.flood_subscribers, args.size[0]);
    let speech = Speech { kind, subscribers, size, pace: Pace::Window, window: args.flood };
    speech.say(&server, &mut crowd, 0.0)
}

/// One window of messages to everybody who is there.
pub(crate) fn burst(server: &Server, crowd: &mut Crowd, kind: &'static Kind, size: usize) -> Result<FanOut, Failure> {
    let subscribers = crowd.heard().joined - 1;
    Speech { kind, subscribers, size, pace: Pace::Window, window: kind.window }.say(server, crowd, 0.0)
}

struct Speech {
    kind: &'static Kind,
    subscribers: usize,
    size: usize,
    pace: Pace,
    window: usize,
}

impl Speech {
    /// Windows of messages until the server has worked for so many seconds, at least one.
    fn say(&self, server: &Server, crowd: &mut Crowd, enough: f64) -> Result<FanOut, Failure> {
        let listeners = self.subscribers + usize::from(self.kind.echoes);
        let text = crowd.dialect().shout(self.size);
        let before = crowd.heard();
        let (begun, cpu) = (Instant::now(), server.cpu()?);
        let (mut said, mut heard, mut last, mut look) = (0, before, begun, begun);
        loop {
            crowd.say(&text, self.window)?;
            said += self.window;
            let mut progress = Instant::now();
            while heard.messages - before.messages < said * listeners || heard.answers - before.answers < said {
                let earlier = heard;
                // A load that slept would have to be woken, at the server's expense.
                heard = crowd.turn(Duration::ZERO)?;
                if heard.messages > earlier.messages || heard.answers > earlier.answers {
                    progress = Instant::now();
                    last = progress;
                } else if progress.elapsed() > LOST {
                    break;
                }
            }
            if last >= look || last == begun {
                look = last + LOOK;
                if server.cpu()? - cpu >= enough || begun.elapsed() > LONGEST {
                    break;
                }
            }
        }
        Ok(FanOut {
            kind: self.kind.name,
            subscribers: self.subscribers,
            size: self.size,
            pace: self.pace,
            expected: said * listeners,
            delivered: heard.messages - before.messages,
            seconds: (last - begun).as_secs_f64(),
            cpu: server.cpu()? - cpu,
            closed: heard.closed - before.closed,
        })
    }
}

impl FanOut {
    /// Deliveries a CPU second and a second, and what was lost.
    pub(crate) fn rates(runs: &[&Self]) -> String {
        let of = |rate: fn(&Self) -> f64| thousands(median(runs.iter().map(|run| rate(run)).collect()));
        let mut cell = format!(
            "{} ({})",
            of(|run| run.delivered as f64 / run.cpu.max(0.01)),
            of(|run| run.delivered as f64 / run.seconds)
        );
        let lost: usize = runs.iter().map(|run| run.expected - run.delivered).sum();
        if lost > 0 {
            cell.push_str(&format!(", {lost} lost"));
        }
        cell
    }

    /// How much arrived, and whether everybody is still there.
    pub(crate) fn arrivals(runs: &[&Self]) -> String {
        let share = |run: &&Self| 100.0 * run.delivered as f64 / run.expected as f64;
        let mut cell = format!("{:.1} %", median(runs.iter().map(share).collect()));
        let closed: usize = runs.iter().map(|run| run.closed).sum();
        if closed > 0 {
            cell.push_str(&format!(", {closed} clients cut off"));
        }
        cell
    }
}
