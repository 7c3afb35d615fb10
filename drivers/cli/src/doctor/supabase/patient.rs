//! The client that is examined, and each of its steps on a channel.

use rejoin_core::Payload;
use rejoin_core::phoenix::{PresenceChange, PushOutcome};
use rejoin_core::supabase::{Broadcast, HeartbeatStatus, PostgresFailure, SystemMessage};
use rejoin_pump::PushTicket;
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, ConnectionEvent, Inbox, InboxEvent};

use crate::doctor::advice::{of_end, of_join, of_postgres, of_project_loss};
use crate::doctor::report::{Finding, Patience, Trouble};
use crate::host::Host;
use crate::output::shown;

const EVENT: &str = "rejoin-doctor";

const FORBIDDEN: &str = "give the --token of a user whom an INSERT policy on realtime.messages lets broadcast there";
const UNANSWERED: &str = "look into the project's Realtime log: what is over its limits is dropped without an answer";
const LOST: &str = "look into the project's Realtime log: what it has taken it does not hand out";
const HIDDEN: &str =
    "give the --token of a user whom policies on realtime.messages of the extension presence let track";
const REFUSED: &str = "look into the project's Realtime log for what it has against it";

pub(super) struct Patient {
    client: Client,
    channel: Channel,
    inbox: Inbox,
    /// As whom the channel is joined.
    who: String,
    /// The last error that the server has told about the channel.
    said: Option<Box<SystemMessage>>,
    /// What is known of database changes, which may come ahead of its step.
    changes: Option<Result<(), PostgresFailure>>,
}

impl Patient {
    /// The inbox hears everything of the channel and the connection.
    pub(super) const fn new(client: Client, channel: Channel, inbox: Inbox, who: String) -> Self {
        Self { client, channel, inbox, who, said: None, changes: None }
    }

    pub(super) async fn open(&mut self, finding: &str) -> Finding {
        self.client.connect().await?;
        loop {
            if let InboxEvent::Connection(ConnectionEvent::Connected) = self.next().await? {
                return Ok(finding.into());
            }
        }
    }

    pub(super) async fn heartbeat(&mut self) -> Finding {
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

    pub(super) async fn join(&mut self) -> Finding {
        self.channel.subscribe().await.map_err(|error| Trouble::new(error, "run it again"))?;
        loop {
            let InboxEvent::Channel { event, .. } = self.next().await? else { continue };
            match event {
                ChannelEvent::Subscribed { .. } => return Ok(format!("{} as {}", self.channel.topic(), self.who)),
                ChannelEvent::SubscribeFailed { failure, .. } => return Err(of_join(&failure, self.is_private())),
                _ => {}
            }
        }
    }

    /// The answer tells how far a broadcast has come that does not come back.
    pub(super) async fn broadcast<H: Host>(&mut self, patience: &Patience<H>, nonce: &str) -> Finding {
        let unanswered = if self.is_private() { FORBIDDEN } else { UNANSWERED };
        let says = object("nonce", nonce)?;
        let acknowledged = async {
            let ticket = self.channel.broadcast(Broadcast::new(EVENT, says)).await?;
            self.answered(ticket, REFUSED).await
        };
        patience.wait("no answer", unanswered, acknowledged).await?;
        patience.wait("it is acknowledged, but has not come back", LOST, self.echo(nonce)).await
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

    /// The answer tells how far one has come who is not seen. `key` is what the channel is joined under.
    pub(super) async fn presence<H: Host>(&mut self, patience: &Patience<H>, key: &str) -> Finding {
        let (refused, unseen) = if self.is_private() { (HIDDEN, HIDDEN) } else { (REFUSED, LOST) };
        let says = object("name", EVENT)?;
        let tracked = async {
            let ticket = self.channel.track(says).await?;
            self.answered(ticket, refused).await
        };
        patience.wait("no answer", refused, tracked).await?;
        patience.wait("it is tracked, but nobody is shown as present", unseen, self.seen(key)).await
    }

    async fn seen(&mut self, key: &str) -> Finding {
        loop {
            if let InboxEvent::Channel { event: ChannelEvent::Presence(change), .. } = self.next().await?
                && matches!(&*change, PresenceChange::Join { key: joined, .. } if *joined == key)
            {
                return Ok("seen among the members".into());
            }
        }
    }

    pub(super) async fn postgres(&mut self) -> Finding {
        loop {
            match &self.changes {
                Some(Ok(())) => return Ok("changes flow; rows that policies hide from this role are not told".into()),
                Some(Err(failure)) => return Err(of_postgres(failure)),
                None => self.next().await?,
            };
        }
    }

    pub(super) async fn close(&self) {
        self.client.close().await;
    }

    /// Waits until the server has said yes.
    async fn answered(&mut self, ticket: PushTicket, refused: &'static str) -> Result<(), Trouble> {
        match ticket.await {
            Ok(PushOutcome::Ok(_)) => Ok(()),
            Ok(PushOutcome::Error(response)) => {
                Err(Trouble::new(format!("refused with {}", shown(&response)), refused))
            }
            Err(error) => Err(Trouble::new(error, "choose a shorter --channel, or --vsn 1")),
            // The channel has ended before the answer; why is among the events.
            Ok(_) => loop {
                self.next().await?;
            },
        }
    }

    fn is_private(&self) -> bool {
        self.channel.config().private
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
            InboxEvent::Channel { event: other, .. } => {
                self.remember(other);
                return Ok(event);
            }
            _ => return Ok(event),
        };
        Err(trouble.and_the_end())
    }

    fn remember(&mut self, event: &ChannelEvent) {
        match event {
            ChannelEvent::System(message) if !message.ok && message.extension == "system" => {
                self.said = Some(message.clone());
            }
            ChannelEvent::PostgresReady { .. } => self.changes = Some(Ok(())),
            ChannelEvent::PostgresFailed { failure } => self.changes = Some(Err(failure.clone())),
            _ => {}
        }
    }
}

fn object(name: &str, value: &str) -> Result<Payload, Trouble> {
    Payload::json(&serde_json::json!({ name: value })).map_err(|error| Trouble::new(error, "run it again"))
}
