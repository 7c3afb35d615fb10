//! `rejoin listen`: joins topics and prints what happens, in the order in which it happened.

mod phoenix;
mod supabase;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_lite::future;
use rejoin_core::phoenix::Endpoint;
use rejoin_core::{Text, TransportKind};

use crate::args::{Dialect, ListenArgs};
use crate::failure::Failure;
use crate::host::{Host, Job, Task};
use crate::input;
use crate::interrupt::{Interrupts, exit_within};
use crate::output::{Line, Printer, ReaderGone, Retry, plural};
use crate::record::{self, Recorder, Recording};

/// How long the server may take to answer our close frame.
const CLOSE: Duration = Duration::from_secs(2);
/// How long the output may be stuck when the time is up.
const STUCK: Duration = Duration::from_secs(5);
/// Events that are printed before clock and signals are looked at again.
const EVENTS_A_TURN: usize = 256;

/// What was typed, checked.
pub(crate) struct Plan {
    setup: Setup,
    topics: Vec<Text>,
    json: bool,
    count: Option<u64>,
    time: Option<Duration>,
    record: Option<(Recorder, Recording)>,
}

/// How to get a client.
enum Setup {
    Phoenix(Box<phoenix::Setup>),
    Supabase(Box<supabase::Setup>),
}

impl Setup {
    const fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Phoenix(setup) => &setup.config.endpoint,
            Self::Supabase(setup) => &setup.project.config.phoenix.endpoint,
        }
    }

    /// Whether a refusal over the first transport is the last word.
    fn is_settled(&self) -> bool {
        match self {
            Self::Phoenix(setup) => input::is_settled(&setup.config),
            Self::Supabase(setup) => input::is_settled(&setup.project.config.phoenix),
        }
    }

    /// Whether another access token may come.
    const fn has_token_source(&self) -> bool {
        matches!(self, Self::Supabase(setup) if setup.project.tokens.is_some())
    }
}

impl Plan {
    pub(crate) fn check(args: &ListenArgs) -> Result<Self, Failure> {
        let (setup, topics) = match args.connection.dialect {
            Dialect::Phoenix => {
                (Setup::Phoenix(Box::new(phoenix::Setup::check(args)?)), input::topics(&args.topics, input::topic)?)
            }
            Dialect::Supabase => {
                let topics = input::topics(&args.topics, crate::supabase::topic);
                (Setup::Supabase(Box::new(supabase::Setup::check(args)?)), topics?)
            }
            Dialect::Sente => return Err(input::no_sente()),
        };
        let count = args.count.as_deref().map(|text| input::count("--count", text)).transpose()?;
        let time = args.time.as_deref().map(|text| input::duration("--for", text)).transpose()?;
        // Last, because it leaves a file behind.
        let note = || format!("{} at {}", plural(topics.len() as u64, "topic", "topics"), setup.endpoint());
        let record = args.record.as_deref().map(|file| record::start(file, &note())).transpose()?;
        Ok(Self { setup, topics, json: args.json, count, time, record })
    }
}

pub(crate) struct Listen {
    pub(crate) plan: Plan,
    pub(crate) interrupts: Interrupts,
}

impl Job for Listen {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Plan { setup, topics, json, count, time, record } = self.plan;
        let (recorder, recording) = record.unzip();
        let open = topics.iter().cloned().collect();
        let session = Session { host, interrupts: self.interrupts, time, recording };
        let (settled, has_token_source) = (setup.is_settled(), setup.has_token_source());
        let printer = Printer::new(json);
        let prints = Prints { printer, open, settled, connected: false, has_token_source, stuck: false, wanted: count };
        match setup {
            Setup::Phoenix(setup) => {
                let (ears, pump) = setup.join(&session.host, &topics, recorder).await?;
                session.run(ears, pump, prints).await
            }
            Setup::Supabase(setup) => {
                let (ears, pump) = setup.join(&session.host, &topics, recorder).await?;
                session.run(ears, pump, prints).await
            }
        }
    }
}

/// A client of one dialect that is in every topic, or on its way there.
trait Ears: Send {
    type Event: Send + Sync;

    /// The next thing that happened; `None` once there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Self::Event>> + Send;

    /// What is printed about it, if anything.
    fn line<'e>(&'e self, event: &'e Self::Event) -> Option<Line<'e>>;

    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What surrounds the listening.
struct Session<H> {
    host: H,
    interrupts: Interrupts,
    time: Option<Duration>,
    recording: Option<Recording>,
}

impl<H: Host> Session<H> {
    async fn run(self, ears: impl Ears, pump: Task, prints: Prints) -> Result<(), Failure> {
        let Self { host, interrupts, time, recording } = self;
        let mut listener = Listener { ears, prints };
        if let Some(time) = time {
            exit_within(time.saturating_add(STUCK), 0);
        }
        let over = async {
            match time {
                Some(time) => future::or(host.sleep(time), interrupts.wait()).await,
                None => interrupts.wait().await,
            }
        };
        let ending = listener.until_the_end(pin!(over)).await;
        listener.ears.close().await;
        // The session waits for the server for CLOSE and then gives up; twice that is for ever.
        host.within(CLOSE * 2, listener.say_goodbye()).await;
        drop(listener);
        // The recording ends with the pump; one that hangs has its rows written and is not waited for.
        if host.within(CLOSE, pump.done()).await.is_some() {
            recording.map_or(Ok(()), Recording::finish)?;
        }
        match ending {
            Ending::AsAsked => Ok(()),
            Ending::Failed(failure) => Err(failure),
        }
    }
}

struct Listener<E> {
    ears: E,
    prints: Prints,
}

/// What is printed, and what of it decides about the end.
struct Prints {
    printer: Printer,
    /// Topics that may yet be joined, or are.
    open: BTreeSet<Text>,
    /// Whether no other transport is tried where this one is refused.
    settled: bool,
    /// Whether there ever was a connection.
    connected: bool,
    has_token_source: bool,
    /// Whether one of them was lost for want of another token.
    stuck: bool,
    /// Messages, broadcasts and rows that are still wanted.
    wanted: Option<u64>,
}

enum Ending {
    AsAsked,
    Failed(Failure),
}

impl<E: Ears> Listener<E> {
    async fn until_the_end(&mut self, mut over: Pin<&mut impl Future<Output = ()>>) -> Ending {
        let mut turn = 0;
        loop {
            turn += 1;
            let at_hand = match turn % EVENTS_A_TURN {
                0 => None,
                _ => future::poll_once(self.ears.next()).await,
            };
            let event = match at_hand {
                Some(event) => event,
                None => {
                    let Ok(()) = self.prints.printer.flush() else { return Ending::AsAsked };
                    let next = async { Some(self.ears.next().await) };
                    let over = async {
                        over.as_mut().await;
                        None
                    };
                    match future::or(over, next).await {
                        Some(event) => event,
                        None => return Ending::AsAsked,
                    }
                }
            };
            let Some(event) = event else { return Ending::Failed(Failure::broken("the client ended by itself")) };
            match self.print(&event) {
                Ok(None) => {}
                Ok(Some(ending)) => return ending,
                Err(ReaderGone) => return Ending::AsAsked,
            }
        }
    }

    /// Prints an event; `Some` if it was the last one that is wanted.
    fn print(&mut self, event: &E::Event) -> Result<Option<Ending>, ReaderGone> {
        match self.ears.line(event) {
            Some(line) => self.prints.print(&line),
            None => Ok(None),
        }
    }

    /// Prints what is left until the client is closed.
    async fn say_goodbye(&mut self) {
        while let Some(event) = self.ears.next().await {
            if self.print(&event).is_err() {
                return;
            }
        }
        // Whoever does not read any more does not miss it.
        let _ = self.prints.printer.flush();
    }
}

impl Prints {
    fn print(&mut self, line: &Line<'_>) -> Result<Option<Ending>, ReaderGone> {
        let is_message = matches!(line.event, "message" | "broadcast" | "postgres_change");
        if is_message && let Some(wanted) = &mut self.wanted {
            // While the connection is being closed more may come than was asked for.
            if *wanted == 0 {
                return Ok(None);
            }
            *wanted -= 1;
        }
        self.printer.print(line)?;
        if line.event == "gave_up" {
            let attempts = line.reason.as_deref().unwrap_or_default();
            return Ok(Some(Ending::Failed(Failure::broken(format!("gave up: {attempts}")))));
        }
        self.connected |= line.event == "connected";
        if let Some(transport) = line.transport {
            self.settled = transport == TransportKind::LongPoll;
        }
        // One that was a socket before may become one again.
        if let Some(elsewhere) = Failure::elsewhere(line.http_status).filter(|_| self.settled && !self.connected) {
            return Ok(Some(Ending::Failed(elsewhere)));
        }
        let stuck = line.retry == Some(Retry::OnToken) && !self.has_token_source;
        if let Some(topic) = line.topic.filter(|_| stuck || line.event == "channel_closed") {
            self.stuck |= stuck;
            self.open.remove(topic.as_bytes());
        }
        Ok(match (self.open.is_empty(), self.wanted) {
            (_, Some(0)) => Some(Ending::AsAsked),
            (true, _) if self.stuck => Some(Ending::Failed(Failure::broken(
                "every channel is closed or would need another access token; give --token-file, or the --token of a user who may join",
            ))),
            (true, _) => Some(Ending::Failed(Failure::broken("every channel is closed for good"))),
            _ => None,
        })
    }
}
