//! `rejoin send`: joins, pushes, waits for the answers if asked, leaves.

mod http;
mod phoenix;
mod supabase;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_lite::future;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::{Payload, Text};
use rejoin_pump::{ClosedError, PushTicket};

use crate::args::{Dialect, SendArgs};
use crate::failure::Failure;
use crate::host::{Host, Job, Task};
use crate::input;
use crate::interrupt::Interrupts;
use crate::output::{json_error, plural, printable, say, shown};

/// How long the server may take to answer our close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pushes without an outcome at one time. Fewer than a session buffers while it is disconnected, so
/// that none is refused for want of room.
const WINDOW: usize = 64;

/// What was typed, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    setup: Setup,
    topic: Text,
    wants_reply: bool,
    count: u64,
    every: Option<Duration>,
    timeout: Duration,
}

/// How to get a client, and what it is to say.
#[derive(Debug)]
enum Setup {
    Phoenix(Box<phoenix::Setup>),
    Supabase(Box<supabase::Setup>),
    Http(Box<http::Setup>),
}

impl Plan {
    pub(crate) fn check(args: &SendArgs) -> Result<Self, Failure> {
        let (mut setup, topic, wants_reply) = match args.connection.dialect {
            Dialect::Phoenix => (
                Setup::Phoenix(Box::new(phoenix::Setup::check(args)?)),
                input::topic("TOPIC", &args.topic)?,
                args.reply,
            ),
            Dialect::Supabase if args.http => {
                let topic = crate::supabase::topic("TOPIC", &args.topic)?;
                (Setup::Http(Box::new(http::Setup::check(args, &topic)?)), topic, false)
            }
            Dialect::Supabase => {
                let topic = crate::supabase::topic("TOPIC", &args.topic)?;
                let setup = supabase::Setup::check(args, &topic)?;
                let wants_reply = setup.wants_reply();
                (Setup::Supabase(Box::new(setup)), topic, wants_reply)
            }
            Dialect::Sente => return Err(input::no_sente()),
        };
        let count = args.count.as_deref().map_or(Ok(1), |text| input::count("--count", text))?;
        let every = args.rate.as_deref().map(|text| input::rate("--rate", text)).transpose()?;
        let timeout = input::duration("--timeout", &args.timeout)?;
        // Last, because it may wait for somebody to type.
        let payload = input::payload_or_stdin("PAYLOAD", args.payload.as_deref())?;

        let config = match &mut setup {
            Setup::Phoenix(setup) => {
                setup.push.payload = payload;
                &mut setup.config
            }
            Setup::Supabase(setup) => {
                setup.broadcast.payload = payload;
                &mut setup.project.config.phoenix
            }
            Setup::Http(setup) => {
                setup.set_payload(payload)?;
                &mut setup.project.config.phoenix
            }
        };
        (config.connect_timeout, config.join_timeout, config.push_timeout) = (timeout, timeout, timeout);
        // Longer than it is waited for: a leave that ends then was answered.
        (config.leave_timeout, config.close_timeout) = (timeout.saturating_mul(2), FAREWELL);
        Ok(Self { setup, topic, wants_reply, count, every, timeout })
    }
}

pub(crate) struct Sending {
    pub(crate) plan: Plan,
    pub(crate) interrupts: Interrupts,
}

impl Job for Sending {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Self { plan: Plan { setup, topic, wants_reply, count, every, timeout }, interrupts } = self;
        let errand = Errand { host, interrupts, topic, wants_reply, count, every, timeout };
        match setup {
            Setup::Phoenix(setup) => {
                let (room, pump) = setup.enter(&errand.host, &errand.topic).await?;
                errand.run(room, pump).await
            }
            Setup::Supabase(setup) => {
                let (room, pump) = setup.enter(&errand.host, &errand.topic, errand.timeout).await?;
                errand.run(room, pump).await
            }
            Setup::Http(setup) => setup.send(&errand).await,
        }
    }
}

/// A client of one dialect that is on its way into a topic, and knows what it has to say there.
trait Room: Send {
    /// What it means that a push stays unanswered.
    const SILENCE: &'static str;

    /// The next thing that matters; `None` once there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Step>> + Send;

    fn push(&self) -> impl Future<Output = Result<PushTicket, ClosedError>> + Send;

    fn leave(&self) -> impl Future<Output = Result<(), ClosedError>> + Send;

    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A step into the topic or out of it.
enum Step {
    Connected,
    /// There is no connection, or no longer.
    Lost(String),
    Joined,
    /// Something else than a realtime socket lives at the URL.
    Elsewhere(Failure),
    /// The join is tried again.
    Delayed(String),
    /// It will not be joined.
    Refused(String),
    /// It was left, or is gone for good.
    Closed(String),
    Other,
}

/// Everything about the pushes but what they say.
struct Errand<H> {
    host: H,
    interrupts: Interrupts,
    topic: Text,
    wants_reply: bool,
    count: u64,
    every: Option<Duration>,
    timeout: Duration,
}

impl<H: Host> Errand<H> {
    async fn run<R: Room>(self, mut room: R, pump: Task) -> Result<(), Failure> {
        let mut tally = Tally::default();
        let work = async {
            self.join(&mut room).await?;
            let start = Instant::now();
            let pushed = self.push_all(&room, &mut tally).await;
            // Whether anybody reads it changes nothing.
            let _ = say(&tally.summary(&self.topic, self.wants_reply, start.elapsed()));
            let left = self.leave(&mut room).await;
            // Replies have said that everything arrived; without them the answer to the leave does.
            if self.wants_reply { pushed } else { pushed.and(left) }
        };
        let outcome = self.unless_interrupted(work).await;
        room.close().await;
        self.host.within(FAREWELL * 2, pump.done()).await;
        outcome
    }

    async fn unless_interrupted(&self, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let interrupted = async {
            self.interrupts.wait().await;
            Err(Failure::broken("interrupted"))
        };
        future::or(work, interrupted).await
    }

    /// Waits to be in the topic, for `timeout` with connecting.
    async fn join(&self, room: &mut impl Room) -> Result<(), Failure> {
        let fail = |what: String| Failure::broken(format!("{} was not joined: {what}", self.topic));
        let mut last = None;
        let outcome = self.host.within(self.timeout, until_joined(room, &mut last)).await;
        let within = shown_time(self.timeout);
        match (outcome, last) {
            (Some(Ok(())), _) => Ok(()),
            (Some(Err(Barred::No(what))), _) => Err(fail(what)),
            (Some(Err(Barred::Elsewhere(failure))), _) => Err(failure),
            (None, Some((what, why))) => Err(fail(format!("{what} within {within}: {why}"))),
            (None, None) => Err(fail(format!("no answer within {within}"))),
        }
    }

    async fn push_all<R: Room>(&self, room: &R, tally: &mut Tally) -> Result<(), Failure> {
        let start = Instant::now();
        let mut under_way = VecDeque::new();
        for number in 0..self.count {
            self.wait_for_turn(number, start).await;
            under_way.push_back(room.push().await.map_err(Failure::broken)?);
            while under_way.len() >= WINDOW {
                settle_first(&mut under_way, R::SILENCE, tally).await?;
            }
        }
        while !under_way.is_empty() {
            settle_first(&mut under_way, R::SILENCE, tally).await?;
        }
        Ok(())
    }

    /// Waits until a message is due, of which the rate allows one at a time.
    async fn wait_for_turn(&self, number: u64, start: Instant) {
        if let Some(every) = self.every {
            let due = every.as_secs_f64() * number as f64;
            let due = Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX);
            self.host.sleep(due.saturating_sub(start.elapsed())).await;
        }
    }

    /// The server answers this after everything that was pushed before: a socket that is closed
    /// sooner, or lost, may take pushes with it that the server has not read.
    async fn leave(&self, room: &mut impl Room) -> Result<(), Failure> {
        let unconfirmed = |why: &str| Failure::broken(format!("it is not known whether everything arrived: {why}"));
        let left = async {
            // A client that is closed has left.
            let _ = room.leave().await;
            while let Some(step) = room.next().await {
                match step {
                    Step::Closed(_) => return Ok(()),
                    Step::Lost(why) => return Err(unconfirmed(&format!("the connection was lost: {why}"))),
                    _ => {}
                }
            }
            Ok(())
        };
        let within = shown_time(self.timeout);
        let late = || Err(unconfirmed(&format!("the leave was not answered within {within}")));
        self.host.within(self.timeout, left).await.unwrap_or_else(late)
    }
}

/// A server that may be about to start is tried again; one that said no is not. `last` is why there
/// is nothing yet.
async fn until_joined(room: &mut impl Room, last: &mut Option<(&'static str, String)>) -> Result<(), Barred> {
    while let Some(step) = room.next().await {
        match step {
            Step::Joined => return Ok(()),
            Step::Refused(why) | Step::Closed(why) => return Err(Barred::No(why)),
            Step::Elsewhere(failure) => return Err(Barred::Elsewhere(failure)),
            Step::Connected => *last = None,
            Step::Lost(why) => *last = Some(("no connection", why)),
            Step::Delayed(why) => *last = Some(("not let in", why)),
            Step::Other => {}
        }
    }
    Err(Barred::No("the client ended by itself".into()))
}

/// Why a topic will not be joined.
enum Barred {
    No(String),
    Elsewhere(Failure),
}

/// Waits for the oldest push; its failure is the command's.
async fn settle_first(under_way: &mut VecDeque<PushTicket>, silence: &str, tally: &mut Tally) -> Result<(), Failure> {
    let Some(ticket) = under_way.pop_front() else { return Ok(()) };
    let number = tally.pushes() + 1;
    let fail = |what: &str| Failure::broken(format!("push {number}: {what}"));
    let outcome = ticket.await.map_err(|error| fail(&error.to_string()))?;
    match outcome {
        PushOutcome::Sent => tally.sent += 1,
        PushOutcome::Ok(response) => {
            tally.ok += 1;
            show_reply("ok", &response);
        }
        PushOutcome::Error(response) => {
            tally.error += 1;
            show_reply("error", &response);
            return Err(fail(&format!("the server replied error {}", shown(&response))));
        }
        PushOutcome::Other { status, response } => {
            tally.other += 1;
            show_reply(&status, &response);
        }
        PushOutcome::TimedOut => return Err(fail(silence)),
        PushOutcome::Unknown => return Err(fail("the connection was lost before the reply")),
        PushOutcome::Dropped => return Err(fail("it was never sent: the channel is gone")),
        other => return Err(fail(&format!("ended as {other:?}"))),
    }
    Ok(())
}

fn show_reply(status: &str, response: &Payload) {
    let what = match json_error(response) {
        Some(error) => format!("<not JSON: {error}>").into(),
        None => shown(response),
    };
    // Whether anybody reads it changes nothing.
    let _ = say(&printable(&format!("reply {status} {what}")));
}

/// How the pushes ended.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    ok: u64,
    error: u64,
    other: u64,
}

impl Tally {
    const fn pushes(&self) -> u64 {
        self.sent + self.ok + self.error + self.other
    }

    fn summary(&self, topic: &str, wants_reply: bool, took: Duration) -> String {
        let mut text = format!("sent {} to {}", plural(self.pushes(), "message", "messages"), printable(topic));
        // Writing into memory cannot fail.
        if wants_reply {
            let _ = write!(text, ", {} ok", plural(self.ok, "reply", "replies"));
        }
        for (number, what) in [(self.error, "error"), (self.other, "of another status")] {
            if number > 0 {
                let _ = write!(text, ", {number} {what}");
            }
        }
        let _ = write!(text, " in {}", shown_time(took));
        text
    }
}

fn shown_time(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let time = Duration::from_millis(12);
        let tally = Tally { ok: 3, ..Tally::default() };
        assert_eq!(tally.summary("room:lobby", true, time), "sent 3 messages to room:lobby, 3 replies ok in 12 ms");
        let tally = Tally { sent: 1, ..Tally::default() };
        assert_eq!(tally.summary("a", false, time), "sent 1 message to a in 12 ms");
    }
}
