//! `rejoin demo`: two clients on two runtimes meet in a room, lose the connection and come back.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::future;
use rejoin_core::phoenix::{Config, JoinOptions, Push, PushOutcome};
use rejoin_core::{Backoff, Jitter, Payload};
use rejoin_pump::server::Server;
use rejoin_pump::{Channel, ChannelEvent, Client, ConnectOptions, Events, PushTicket};

use crate::failure::Failure;
use crate::host::{Host, Job, Task, TokioHost, tokio_runtime};
use crate::interrupt::Interrupts;
use crate::output::say;
use crate::serve;

const TOPIC: &str = "room:lobby";
/// How long each promise may take. All of them together take about a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a client dials again.
const RECONNECT: Duration = Duration::from_millis(300);

pub(crate) struct Demo {
    pub(crate) interrupts: Interrupts,
}

impl Job for Demo {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let tokio = tokio_runtime()?;
        let story = tell(Narrator::new(host), TokioHost(tokio.handle().clone()));
        let interrupted = async {
            self.interrupts.wait().await;
            Err(Failure::broken("interrupted"))
        };
        let outcome = future::or(story, interrupted).await;
        tokio.shutdown_background();
        outcome
    }
}

async fn tell<H: Host>(narrator: Narrator<H>, tokio: TokioHost) -> Result<(), Failure> {
    let (host, n) = (narrator.host.clone(), narrator);
    let server = serve::server(&host, serve::rooms());
    // Two doors into one house, so that the server can choose who comes back first.
    let (anns, bobs) = (Door::build(&host).await?, Door::build(&host).await?);
    let (anns_door, _bobs_door) = (anns.open(&host, &server), bobs.open(&host, &server));
    n.tell(&format!("a server is up: ws://{} for ann, ws://{} for bob", anns.address, bobs.address));

    let mut ann = n.promise("ann joins", Person::join(&host, "ann", anns.address)).await?;
    n.tell("ann, on smol, has joined room:lobby");
    let mut bob = n.promise("bob joins", Person::join(&tokio, "bob", bobs.address)).await?;
    n.tell("bob, on tokio, has joined room:lobby");

    n.promise("ann's message is accepted", ann.say("hello, bob")).await?;
    n.promise("bob hears ann", bob.hears("hello, bob")).await?;
    n.tell("ann said \"hello, bob\", and bob heard it");
    n.promise("bob's message is accepted", bob.say("hello, ann")).await?;
    n.promise("ann hears bob", ann.hears("hello, ann")).await?;
    n.tell("bob said \"hello, ann\", and ann heard it");
    n.promise("ann's push is replied to", ann.pings()).await?;
    n.tell("ann pushed a ping, and the reply brought its payload back");

    n.tell("now the server cuts both sockets, without a word");
    drop(anns_door);
    server.abort_all();
    n.promise("ann notices the loss", ann.loses_connection()).await?;
    n.promise("bob notices the loss", bob.loses_connection()).await?;
    n.tell("ann and bob have lost the connection and dial again by themselves");
    let waiting = n.promise("ann's push is buffered", ann.push("shout", "are you back?")).await?;
    n.tell("ann says \"are you back?\" meanwhile; it waits for her channel");

    n.promise("bob rejoins by himself", bob.comes_back()).await?;
    n.tell("bob has rejoined room:lobby");
    let _anns_door = anns.open(&host, &server);
    n.promise("ann rejoins by herself", ann.comes_back()).await?;
    n.tell("ann has rejoined room:lobby");
    n.promise("the buffered push is replied to", replied_ok(waiting, None)).await?;
    n.promise("bob hears the buffered push", bob.hears("are you back?")).await?;
    n.tell("what ann said meanwhile was sent after the rejoin, and bob heard it");

    n.promise("ann leaves in peace", ann.leaves()).await?;
    n.promise("bob leaves in peace", bob.leaves()).await?;
    n.tell("both have left; every promise was kept");
    Ok(())
}

/// Tells the story and keeps it to its promises.
struct Narrator<H> {
    host: H,
    start: Instant,
}

impl<H: Host> Narrator<H> {
    fn new(host: H) -> Self {
        Self { host, start: Instant::now() }
    }

    fn tell(&self, what: &str) {
        // The promises are kept or broken whether anybody reads this or not.
        let _ = say(&format!("{:6.2} s  {what}", self.start.elapsed().as_secs_f64()));
    }

    async fn promise<T: Send>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, String>> + Send,
    ) -> Result<T, Failure> {
        let broken = |why: &str| Failure::broken(format!("broken promise: {what}: {why}"));
        match self.host.within(PATIENCE, future).await {
            Some(kept) => kept.map_err(|why| broken(&why)),
            None => Err(broken(&format!("not within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// Somewhere to knock.
struct Door<H: Host> {
    listener: Arc<H::Listener>,
    address: SocketAddr,
}

impl<H: Host> Door<H> {
    async fn build(host: &H) -> Result<Self, Failure> {
        let fail = |error| Failure::broken(format!("no loopback port is free: {error}"));
        let listener = host.bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(fail)?;
        let address = host.local_address(&listener).map_err(fail)?;
        Ok(Self { listener: Arc::new(listener), address })
    }

    /// Open until the guard is dropped; whoever knocks later waits.
    fn open(&self, host: &H, server: &Server<H::Runtime>) -> Sender<()> {
        let (guard, shut) = async_channel::bounded::<()>(1);
        let (porter, server, listener) = (host.clone(), server.clone(), self.listener.clone());
        host.start(async move {
            let letting_in = server.accept_all(|| porter.accept(&listener));
            future::or(letting_in, async move { shut.recv().await.unwrap_or_default() }).await;
        });
        guard
    }
}

/// One of the two.
struct Person {
    client: Client,
    pump: Task,
    channel: Channel,
    events: Events,
}

impl Person {
    async fn join(host: &impl Host, name: &str, door: SocketAddr) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let mut config = Config::new(&format!("ws://{door}/socket")).map_err(|error| text(&error))?;
        config.params = vec![("user".into(), name.into())];
        config.reconnect = Backoff::Steps(vec![RECONNECT]);
        config.jitter = Jitter::None;
        let (client, pump) = host.connect(config, ConnectOptions::default());
        let joined = client.join(TOPIC, JoinOptions::default()).await;
        let (channel, mut events) = joined.map_err(|error| text(&error))?;
        match events.joined().await {
            Ok(_) => Ok(Self { client, pump, channel, events }),
            Err(event) => Err(format!("{event:?}")),
        }
    }

    async fn push(&self, event: &str, text: &str) -> Result<PushTicket, String> {
        let payload = Payload::json(text).map_err(|error| error.to_string())?;
        self.channel.push(Push::new(event, payload)).await.map_err(|error| error.to_string())
    }

    async fn say(&self, text: &str) -> Result<(), String> {
        replied_ok(self.push("shout", text).await?, None).await
    }

    async fn pings(&self) -> Result<(), String> {
        replied_ok(self.push("ping", "are you there?").await?, Some("\"are you there?\"")).await
    }

    async fn hears(&mut self, text: &str) -> Result<(), String> {
        let heard = |event: &ChannelEvent| matches!(event, ChannelEvent::Message { payload, .. } if payload.parse() == Ok(text));
        self.sees(heard).await
    }

    async fn loses_connection(&mut self) -> Result<(), String> {
        self.sees(|event| matches!(event, ChannelEvent::Errored { .. })).await
    }

    async fn comes_back(&mut self) -> Result<(), String> {
        self.sees(|event| matches!(event, ChannelEvent::Joined { again: true, .. })).await
    }

    async fn leaves(&mut self) -> Result<(), String> {
        self.channel.leave().await.map_err(|error| error.to_string())?;
        self.sees(|event| matches!(event, ChannelEvent::Closed { .. })).await?;
        self.client.close().await;
        self.pump.done().await;
        Ok(())
    }

    /// Reads on until it happens.
    async fn sees(&mut self, wanted: impl Fn(&ChannelEvent) -> bool + Send) -> Result<(), String> {
        while let Some(event) = self.events.next().await {
            if wanted(&event) {
                return Ok(());
            }
        }
        Err("the channel ended".into())
    }
}

async fn replied_ok(ticket: PushTicket, response: Option<&str>) -> Result<(), String> {
    match ticket.await {
        Ok(PushOutcome::Ok(payload)) if response.is_none_or(|wanted| payload.as_json() == Some(wanted)) => Ok(()),
        Ok(outcome) => Err(format!("the push ended as {outcome:?}")),
        Err(error) => Err(error.to_string()),
    }
}
