//! The steps in Phoenix's own dialect: the socket, a join, and a push that is answered.

use std::fmt::Display;

use rejoin_core::phoenix::{Config, JoinFailure, JoinOptions, Push, PushOutcome};
use rejoin_core::{Payload, Text, TransportKind};
use rejoin_pump::{
    Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, Inbox, InboxEvent, InboxHandle, Inflow,
};

use super::advice::of_socket_loss;
use super::report::{Finding, Patience, Report, Trouble};
use super::{FAREWELL, POLLED, opening};
use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::host::Host;
use crate::input;
use crate::output::shown;
use crate::supabase::refuse_options;

const OPENING_LATE: &str = "check that the URL is that of a Phoenix socket, and what is between here and the server";
const HEARTBEAT_LATE: &str = "check what is between here and the server: something holds messages back";
const JOIN_LATE: &str = "look into the server's log: the channel's join/3 has not returned";
const PUSH_LATE: &str = "choose an event with --event that the channel answers";
const NO_CHANNEL: &str = "not asked for; name a topic with --channel";
/// Events of others in the topic that may wait; what is over it is not missed.
const WAITING: usize = 256;

pub(super) struct Setup {
    pub(super) config: Config,
    topic: Option<Text>,
    event: Text,
}

impl Setup {
    pub(super) fn check(args: &DoctorArgs) -> Result<Self, Failure> {
        let changes = ("--postgres-changes", !args.postgres_changes.is_empty());
        refuse_options(args.project.given().into_iter().chain([changes]))?;
        let config = input::config(&args.url, &args.connection)?;
        let topic = args.channel.as_deref().map(|text| input::topic("--channel", text)).transpose()?;
        let event = input::event("--event", args.event.as_deref().unwrap_or("ping"))?;
        Ok(Self { config, topic, event })
    }

    pub(super) async fn examine<H: Host>(
        self,
        host: &H,
        transport: TransportKind,
        patience: &Patience<H>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let mut options = ConnectOptions::default();
        options.connect = false;
        let (client, pump) = host.connect(self.config, options);
        let closed = |_| Failure::broken("the client is closed");
        let (handle, inbox) = client.inbox(Inflow::DropOldest { capacity: WAITING }).await.map_err(closed)?;
        let mut patient = Patient { client, handle, inbox, channel: None };
        let (name, finding) = opening(transport);
        report.need(name, patience.wait("no answer", OPENING_LATE, patient.open(finding))).await;
        match transport {
            TransportKind::WebSocket => {
                report.need("heartbeat", patience.wait("no answer", HEARTBEAT_LATE, patient.heartbeat())).await;
            }
            TransportKind::LongPoll => report.skip("heartbeat", POLLED),
        }
        match self.topic {
            None => ["join", "push"].into_iter().for_each(|name| report.skip(name, NO_CHANNEL)),
            Some(topic) => {
                report.need("join", patience.wait("no answer", JOIN_LATE, patient.join(topic))).await;
                report.check("push", patience.wait("no answer", PUSH_LATE, patient.push(self.event))).await;
            }
        }
        patient.client.close().await;
        host.within(FAREWELL * 2, pump.done()).await;
        Ok(())
    }
}

/// The client that is examined.
struct Patient {
    client: Client,
    handle: InboxHandle,
    inbox: Inbox,
    channel: Option<Channel>,
}

impl Patient {
    async fn open(&mut self, finding: &str) -> Finding {
        self.client.connect().await?;
        loop {
            if let InboxEvent::Connection(ConnectionEvent::Connected) = self.next().await? {
                return Ok(finding.into());
            }
        }
    }

    async fn heartbeat(&mut self) -> Finding {
        self.client.probe().await?;
        loop {
            match self.next().await? {
                InboxEvent::Connection(ConnectionEvent::HeartbeatAnswered { ok: true, .. }) => {
                    return Ok("answered".into());
                }
                InboxEvent::Connection(ConnectionEvent::HeartbeatAnswered { .. }) => {
                    let fix = "check that the URL is that of a Phoenix socket: each of them knows heartbeats";
                    return Err(Trouble::new("answered with an error", fix));
                }
                _ => {}
            }
        }
    }

    async fn join(&mut self, topic: Text) -> Finding {
        let joining = self.client.join_into(self.handle, topic.clone(), JoinOptions::default()).await;
        self.channel = Some(joining.map_err(|error| Trouble::new(error, "run it again"))?);
        loop {
            match self.next().await? {
                InboxEvent::Channel { event: ChannelEvent::Joined { response, .. }, .. } => {
                    return Ok(format!("{topic} answers {}", shown(&response)));
                }
                InboxEvent::Channel { event: ChannelEvent::JoinFailed { failure, .. }, .. } => {
                    return Err(of_join(&failure));
                }
                _ => {}
            }
        }
    }

    async fn push(&mut self, event: Text) -> Finding {
        let Some(channel) = &self.channel else { return Err(Trouble::gone()) };
        let ticket = channel.push(Push::new(event.clone(), Payload::EMPTY)).await?;
        let outcome = ticket.await.map_err(|error| Trouble::new(error, PUSH_LATE))?;
        match outcome {
            PushOutcome::Ok(response) => Ok(format!("{event} is answered ok {}", shown(&response))),
            PushOutcome::Error(response) => Ok(format!("{event} is answered error {}", shown(&response))),
            PushOutcome::Other { status, response } => Ok(format!("{event} is answered {status} {}", shown(&response))),
            // The channel has ended before the reply; why is among the events.
            _ => loop {
                let InboxEvent::Channel { event: of_channel, .. } = self.next().await? else { continue };
                match of_channel {
                    ChannelEvent::Errored { cause, .. } => return Err(unanswered(&event, &cause)),
                    ChannelEvent::Closed { reason } => return Err(unanswered(&event, &reason)),
                    _ => {}
                }
            },
        }
    }

    /// The next thing that happens, unless it is the end.
    async fn next(&mut self) -> Result<InboxEvent, Trouble> {
        match self.inbox.next().await {
            Some(InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. })) => {
                Err(of_socket_loss(&reason).and_the_end())
            }
            Some(event) => Ok(event),
            None => Err(Trouble::gone()),
        }
    }
}

fn of_join(failure: &JoinFailure) -> Trouble {
    match failure {
        JoinFailure::Refused { response } => Trouble::new(
            format!("refused with {}", shown(response)),
            "check that the socket routes this topic, and what its join/3 asks for",
        ),
        JoinFailure::Crashed => Trouble::new(failure, "look into the server's log: join/3 has raised"),
        _ => Trouble::new(failure, JOIN_LATE),
    }
}

fn unanswered(event: &Text, why: &impl Display) -> Trouble {
    Trouble::new(format!("{event} ended the channel: {why}"), PUSH_LATE).and_the_end()
}
