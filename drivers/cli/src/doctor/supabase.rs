//! The steps in Supabase's dialect: the socket, a join, and a broadcast that comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::supabase::{Broadcast, HeartbeatStatus, SystemMessage};
use rejoin_core::{Payload, Text};
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{
    Channel, ChannelEvent, Client, ConnectionEvent, Inbox, InboxEvent, Listen, SubscribeError,
};

use super::advice::{of_end, of_join, of_project_loss};
use super::report::{Finding, Patience, Report, Trouble};
use super::{FAREWELL, Opening, POLLED};
use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::host::Host;
use crate::output::shown;
use crate::supabase::{Project, params, topic};

const CHANNEL: &str = "rejoin-doctor";
const EVENT: &str = "rejoin-doctor";
/// Events of others in the channel that may wait; what is over it is not missed.
const WAITING: usize = 1_024;

const OPENING_LATE: &str = "check the URL, and what is between here and the server; refusals take 2 s to come";
const HEARTBEAT_LATE: &str = "check what is between here and the server: something holds messages back";
const JOIN_LATE: &str = "look into the project's Realtime log, and give more --timeout; refusals take 5 s to come";
const FORBIDDEN: &str = "give the --token of a user whom an INSERT policy on realtime.messages lets broadcast there";
const UNANSWERED: &str = "look into the project's Realtime log: what is over its limits is dropped without an answer";
const ECHO_LATE: &str = "look into the project's Realtime log: what it has taken it does not hand out";

pub(super) struct Setup {
    pub(super) project: Project,
    topic: Text,
}

impl Setup {
    pub(super) fn check(args: &DoctorArgs) -> Result<Self, Failure> {
        if args.event.is_some() {
            return Err(Failure::usage("--event", "it is Phoenix's; here a broadcast is sent, so leave it out"));
        }
        let mut project = Project::check(&args.url, &args.connection, &args.project)?;
        project.config.phoenix.params = params(&args.param)?;
        // A broadcast that comes back has gone the whole way.
        (project.channel.broadcast.echo, project.channel.broadcast.ack) = (true, true);
        let topic = topic("--channel", args.channel.as_deref().unwrap_or(CHANNEL))?;
        Ok(Self { project, topic })
    }

    pub(super) async fn examine<H: Host>(
        self,
        host: &H,
        opening: Opening,
        patience: &Patience<H>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Self { project, topic } = self;
        let who = who(&project);
        let Project { config, channel: join, tokens } = project;
        let private = join.private;
        let closed = |_| Failure::broken("the client is closed");
        let fail = |error: SubscribeError| Failure::usage("--channel", error);
        let (client, pump) = host.connect_to_project(config, Project::options(tokens, None));
        let (handle, inbox) = client.inbox(Inflow::DropOldest { capacity: WAITING }).await.map_err(closed)?;
        let channel = client.channel(&topic, join).map_err(fail)?;
        channel.listen_into(handle, Listen::everything()).await.map_err(fail)?;
        let mut patient = Patient { client, channel, inbox, private, said: None };

        report.need(opening.name(), patience.wait("no answer", OPENING_LATE, patient.open(opening))).await;
        match opening {
            Opening::WebSocket => {
                report.need("heartbeat", patience.wait("no answer", HEARTBEAT_LATE, patient.heartbeat())).await;
            }
            Opening::LongPoll => report.skip("heartbeat", POLLED),
        }
        report.need("join", patience.wait("no answer", JOIN_LATE, patient.join(&who))).await;
        report.check("broadcast", patient.broadcast(patience, &nonce())).await;
        patient.client.close().await;
        host.within(FAREWELL * 2, pump.done()).await;
        Ok(())
    }
}

/// The client that is examined.
struct Patient {
    client: Client,
    channel: Channel,
    inbox: Inbox,
    private: bool,
    /// The last error that the server has told about the channel.
    said: Option<Box<SystemMessage>>,
}

impl Patient {
    async fn open(&mut self, opening: Opening) -> Finding {
        self.client.connect().await?;
        loop {
            if let InboxEvent::Connection(ConnectionEvent::Connected) = self.next().await? {
                return Ok(opening.finding());
            }
        }
    }

    async fn heartbeat(&mut self) -> Finding {
        self.client.probe().await?;
        loop {
            match self.next().await? {
                InboxEvent::Connection(ConnectionEvent::Heartbeat(HeartbeatStatus::Ok { .. })) => {
                    return Ok("answered".into());
                }
                InboxEvent::Connection(ConnectionEvent::Heartbeat(HeartbeatStatus::Error { .. })) => {
                    let fix = "check that the URL is that of a Realtime server: each of them knows heartbeats";
                    return Err(Trouble::new("answered with an error", fix));
                }
                _ => {}
            }
        }
    }

    async fn join(&mut self, who: &str) -> Finding {
        self.channel.subscribe().await.map_err(|error| Trouble::new(error, "run it again"))?;
        loop {
            let InboxEvent::Channel { event, .. } = self.next().await? else { continue };
            match event {
                ChannelEvent::Subscribed { .. } => return Ok(format!("{} as {who}", self.channel.topic())),
                ChannelEvent::SubscribeFailed { failure, .. } => return Err(of_join(&failure, self.private)),
                _ => {}
            }
        }
    }

    /// The answer tells how far a broadcast has come that does not come back.
    async fn broadcast<H: Host>(&mut self, patience: &Patience<H>, nonce: &str) -> Finding {
        let unanswered = if self.private { FORBIDDEN } else { UNANSWERED };
        patience.wait("no answer", unanswered, self.acknowledged(nonce)).await?;
        patience.wait("it is acknowledged, but has not come back", ECHO_LATE, self.echo(nonce)).await
    }

    async fn acknowledged(&mut self, nonce: &str) -> Result<(), Trouble> {
        let payload = Payload::json(&serde_json::json!({ "nonce": nonce }));
        let payload = payload.map_err(|error| Trouble::new(error, "run it again"))?;
        match self.channel.broadcast(Broadcast::new(EVENT, payload)).await?.await {
            Ok(PushOutcome::Ok(_)) => Ok(()),
            Ok(PushOutcome::Error(response)) => {
                let fix = "look into the project's Realtime log for what it has against broadcasts";
                Err(Trouble::new(format!("refused with {}", shown(&response)), fix))
            }
            Err(error) => Err(Trouble::new(error, "choose a shorter --channel, or --vsn 1")),
            // The channel has ended before the answer; why is among the events.
            Ok(_) => loop {
                self.next().await?;
            },
        }
    }

    async fn echo(&mut self, nonce: &str) -> Finding {
        loop {
            if let InboxEvent::Channel { event: ChannelEvent::Broadcast { payload, .. }, .. } = self.next().await?
                && payload.as_json().is_some_and(|json| json.contains(nonce))
            {
                return Ok("it has come back".into());
            }
        }
    }

    /// The next thing that happens, unless it is the end.
    async fn next(&mut self) -> Result<InboxEvent, Trouble> {
        let Some(event) = self.inbox.next().await else { return Err(Trouble::gone()) };
        let trouble = match &event {
            InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. }) => of_project_loss(reason),
            InboxEvent::Channel { event: ChannelEvent::Errored { trouble, .. }, .. } => {
                Trouble::new(trouble, of_end(self.said.as_deref()))
            }
            InboxEvent::Channel { event: ChannelEvent::Closed { reason }, .. } => {
                Trouble::new(reason, of_end(self.said.as_deref()))
            }
            InboxEvent::Channel { event: ChannelEvent::System(message), .. } if !message.ok => {
                self.said = Some(message.clone());
                return Ok(event);
            }
            _ => return Ok(event),
        };
        Err(trouble.and_the_end())
    }
}

/// As whom the channel is joined, for it decides what is seen there.
fn who(project: &Project) -> String {
    let Some(token) = project.token() else {
        let role = role(project.config.api_key.expose());
        return format!("{}, the API key's role", role.as_deref().unwrap_or("the project's public user"));
    };
    let role = role(token.expose()).unwrap_or_else(|| "a user without a role".into());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = token.expires_at().map(|at| Duration::from_secs(at.saturating_sub(now).as_secs()));
    match left {
        Some(left) => format!("{role}, with a token for {}", humantime::format_duration(left)),
        None => format!("{role}, with a token that says no end"),
    }
}

/// The claim of that name in a JWT; keys need not be one.
fn role(jwt: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        role: String,
    }
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok().map(|claims| claims.role)
}

/// Something that nobody else is saying.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}
