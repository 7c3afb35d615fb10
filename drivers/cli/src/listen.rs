//! `rejoin listen`: joins topics and prints what happens, in the order in which it happened.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_lite::future;
use rejoin_core::Text;
use rejoin_core::phoenix::{ChannelId, Config, JoinOptions};
use rejoin_pump::{
    Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, Inbox, InboxEvent, Inflow, SubscribeError,
};

use crate::args::ListenArgs;
use crate::failure::Failure;
use crate::host::{Host, Job};
use crate::input;
use crate::interrupt::{Interrupts, exit_within};
use crate::output::{Line, Printer, ReaderGone};
use crate::record::{self, Recorder, Recording};

/// How long the server may take to answer our close frame.
const CLOSE: Duration = Duration::from_secs(2);
/// How long the output may be stuck when the time is up.
const STUCK: Duration = Duration::from_secs(5);
/// Events that are printed before clock and signals are looked at again.
const EVENTS_A_TURN: usize = 256;

/// What was typed, checked.
pub(crate) struct Plan {
    config: Config,
    topics: Vec<Text>,
    join: JoinOptions,
    json: bool,
    count: Option<u64>,
    time: Option<Duration>,
    record: Option<(Recorder, Recording)>,
}

impl Plan {
    pub(crate) fn check(args: &ListenArgs) -> Result<Self, Failure> {
        let mut config = input::config(&args.url, &args.connection)?;
        config.close_timeout = CLOSE;
        config.params = input::params(&args.param)?;
        if let Some(text) = &args.heartbeat {
            config.heartbeat_interval = Some(input::duration("--heartbeat", text)?);
        }
        let mut join = JoinOptions::default();
        if let Some(text) = &args.join_payload {
            join.payload = input::payload("--join-payload", text)?;
        }
        let topics = input::topics(&args.topics)?;
        let count = args.count.as_deref().map(|text| input::count("--count", text)).transpose()?;
        let time = args.time.as_deref().map(|text| input::duration("--for", text)).transpose()?;
        // Last, because it leaves a file behind.
        let note = || format!("{} topics at {}", topics.len(), config.endpoint);
        let record = args.record.as_deref().map(|file| record::start(file, &note())).transpose()?;
        Ok(Self { config, topics, join, json: args.json, count, time, record })
    }
}

pub(crate) struct Listen {
    pub(crate) plan: Plan,
    pub(crate) interrupts: Interrupts,
}

impl Job for Listen {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Plan { config, topics, join, json, count, time, record } = self.plan;
        let (recorder, recording) = record.unzip();
        let mut options = ConnectOptions::default();
        // Nothing may happen before the inbox is there to see it.
        options.connect = false;
        options.tap = recorder.map(|recorder| Box::new(recorder) as _);
        let (client, pump) = host.connect(config, options);

        let mut listener = Listener::join(&client, topics, join, Printer::new(json), count).await?;
        if let Some(time) = time {
            exit_within(time.saturating_add(STUCK), 0);
        }
        let over = async {
            match time {
                Some(time) => future::or(host.sleep(time), self.interrupts.wait()).await,
                None => self.interrupts.wait().await,
            }
        };
        let ending = listener.until_the_end(pin!(over)).await;
        client.close().await;
        // The session waits for the server for CLOSE and then gives up; twice that is for ever.
        host.within(CLOSE * 2, listener.say_goodbye()).await;
        drop((client, listener));
        // The recording ends with the pump; one that hangs has its rows written and is not waited for.
        if host.within(CLOSE, pump.done()).await.is_some() {
            recording.map_or(Ok(()), Recording::finish)?;
        }
        match ending {
            Ending::AsAsked => Ok(()),
            Ending::Failed(reason) => Err(Failure::broken(reason)),
        }
    }
}

struct Listener {
    inbox: Inbox,
    printer: Printer,
    topics: BTreeMap<ChannelId, Text>,
    /// Dropping one would leave it.
    _channels: Vec<Channel>,
    /// Channels that are not closed for good.
    open: usize,
    /// Messages that are still wanted.
    wanted: Option<u64>,
}

enum Ending {
    AsAsked,
    Failed(String),
}

impl Listener {
    async fn join(
        client: &Client,
        topics: Vec<Text>,
        join: JoinOptions,
        printer: Printer,
        wanted: Option<u64>,
    ) -> Result<Self, Failure> {
        let closed = |_| Failure::broken("the client is closed");
        let (handle, inbox) = client.inbox(Inflow::default()).await.map_err(closed)?;
        let (mut names, mut channels) = (BTreeMap::new(), Vec::new());
        for topic in topics {
            let channel = client.join_into(handle, topic.clone(), join.clone()).await;
            let channel = channel.map_err(|error: SubscribeError| Failure::broken(format!("{topic}: {error}")))?;
            names.insert(channel.id(), topic);
            channels.push(channel);
        }
        client.connect().await.map_err(closed)?;
        let open = channels.len();
        Ok(Self { inbox, printer, topics: names, _channels: channels, open, wanted })
    }

    async fn until_the_end(&mut self, mut over: Pin<&mut impl Future<Output = ()>>) -> Ending {
        let mut turn = 0;
        loop {
            turn += 1;
            let at_hand = match turn % EVENTS_A_TURN {
                0 => None,
                _ => future::poll_once(self.inbox.next()).await,
            };
            let event = match at_hand {
                Some(event) => event,
                None => {
                    let Ok(()) = self.printer.flush() else { return Ending::AsAsked };
                    let next = async { Some(self.inbox.next().await) };
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
            let Some(event) = event else { return Ending::Failed("the client ended by itself".into()) };
            match self.print(&event) {
                Ok(None) => {}
                Ok(Some(ending)) => return ending,
                Err(ReaderGone) => return Ending::AsAsked,
            }
        }
    }

    /// Prints an event; `Some` if it was the last one that is wanted.
    fn print(&mut self, event: &InboxEvent) -> Result<Option<Ending>, ReaderGone> {
        match event {
            InboxEvent::Channel { channel, event } => {
                let Some(topic) = self.topics.get(channel) else { return Ok(None) };
                let line = Line::of_channel(topic, event);
                if let (ChannelEvent::Message { .. }, Some(wanted)) = (event, &mut self.wanted) {
                    // While the connection is being closed more may come than was asked for.
                    if *wanted == 0 {
                        return Ok(None);
                    }
                    if line.event == "message" {
                        *wanted -= 1;
                    }
                }
                self.printer.print(&line)?;
                if matches!(event, ChannelEvent::Closed { .. }) {
                    self.open -= 1;
                }
                Ok(match (self.open, self.wanted) {
                    (_, Some(0)) => Some(Ending::AsAsked),
                    (0, _) => Some(Ending::Failed("every channel is closed for good".into())),
                    _ => None,
                })
            }
            InboxEvent::Connection(event) => {
                self.printer.print(&Line::of_connection(event))?;
                Ok(match event {
                    ConnectionEvent::GaveUp { attempts } => {
                        Some(Ending::Failed(format!("gave up after {attempts} failed attempts in a row")))
                    }
                    _ => None,
                })
            }
            InboxEvent::Lagged { missed } => {
                self.printer.print(&Line::missed(*missed))?;
                Ok(None)
            }
            // `InboxEvent` may grow; what is new there has to get a line here.
            _ => Ok(None),
        }
    }

    /// Prints what is left until the client is closed.
    async fn say_goodbye(&mut self) {
        while let Some(event) = self.inbox.next().await {
            if self.print(&event).is_err() {
                return;
            }
        }
        // Whoever does not read any more does not miss it.
        let _ = self.printer.flush();
    }
}
