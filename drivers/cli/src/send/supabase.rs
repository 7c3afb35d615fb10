//! Sending in Supabase's dialect: broadcasts.

use std::time::Duration;

use rejoin_core::phoenix::LossReason;
use rejoin_core::supabase::{Broadcast, RefusalClass, SubscribeFailure, UpgradeClass, UpgradeRefusal};
use rejoin_core::{Payload, Text, TransportKind};
use rejoin_pump::supabase::{
    Channel, ChannelEvent, Client, ConnectionEvent, Inbox, InboxEvent, Listen, RetryIn, SubscribeError,
};
use rejoin_pump::{ClosedError, Inflow, PushTicket};

use super::{Room, Step, WINDOW};
use crate::args::SendArgs;
use crate::failure::Failure;
use crate::host::{Host, Task};
use crate::input;
use crate::supabase::{Project, event, name_fits};

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) project: Project,
    /// Its payload is read later.
    pub(super) broadcast: Broadcast,
}

impl Setup {
    pub(super) fn check(args: &SendArgs, topic: &Text) -> Result<Self, Failure> {
        let mut project = Project::check_broadcasts(&args.url, &args.connection, &args.supabase)?;
        // An answer that is to be waited for has to be asked for when joining.
        project.channel.broadcast.ack |= args.reply;
        let broadcast = Broadcast::new(event(&args.event)?, Payload::EMPTY);
        for (argument, name) in [("TOPIC", topic), ("EVENT", &broadcast.event)] {
            name_fits(argument, name, project.config.phoenix.serializer)?;
        }
        Ok(Self { project, broadcast })
    }

    pub(super) const fn wants_reply(&self) -> bool {
        self.project.channel.broadcast.ack
    }

    pub(super) async fn enter<H: Host>(
        self,
        host: &H,
        topic: &Text,
        patience: Duration,
    ) -> Result<(impl Room + use<H>, Task), Failure> {
        let Project { config, channel: join, tokens } = self.project;
        let settled = input::is_settled(&config.phoenix);
        let (client, pump) = host.connect_to_project(config, Project::options(tokens, None));
        let closed = |_| Failure::broken("the client is closed");
        let fail = |error: SubscribeError| Failure::broken(format!("{topic} was not joined: {error}"));
        let (handle, inbox) = client.inbox(Inflow::DropOldest { capacity: WINDOW }).await.map_err(closed)?;
        let channel = client.channel(topic, join).map_err(fail)?;
        // What others say meanwhile is not wanted.
        channel.listen_into(handle, Listen::status()).await.map_err(fail)?;
        channel.subscribe().await.map_err(fail)?;
        client.connect().await.map_err(closed)?;
        Ok((SupabaseRoom { client, channel, inbox, broadcast: self.broadcast, patience, settled }, pump))
    }
}

struct SupabaseRoom {
    client: Client,
    channel: Channel,
    inbox: Inbox,
    broadcast: Broadcast,
    /// What is tried again later than this comes too late.
    patience: Duration,
    /// Whether no other transport is tried where this one is refused.
    settled: bool,
}

impl Room for SupabaseRoom {
    const SILENCE: &'static str =
        "no reply in time; servers do not answer broadcasts that a private channel's policies forbid";

    async fn next(&mut self) -> Option<Step> {
        Some(match self.inbox.next().await? {
            InboxEvent::Channel { event, .. } => self.of_channel(event),
            InboxEvent::Connection(ConnectionEvent::Connected) => Step::Connected,
            InboxEvent::Connection(ConnectionEvent::Disconnected { reason, retry_in }) => {
                self.of_loss(&reason, retry_in)
            }
            InboxEvent::Connection(ConnectionEvent::TransportChanged { transport }) => {
                self.settled = transport == TransportKind::LongPoll;
                Step::Other
            }
            _ => Step::Other,
        })
    }

    async fn push(&self) -> Result<PushTicket, ClosedError> {
        self.channel.broadcast(self.broadcast.clone()).await
    }

    async fn leave(&self) -> Result<(), ClosedError> {
        self.channel.unsubscribe().await
    }

    async fn close(&self) {
        self.client.close().await;
    }
}

impl SupabaseRoom {
    fn of_channel(&self, event: ChannelEvent) -> Step {
        match event {
            ChannelEvent::Subscribed { .. } => Step::Joined,
            ChannelEvent::SubscribeFailed { failure, retry } => {
                let why = format!("{failure}{}", advice(&failure));
                match retry {
                    RetryIn::After(time) if time < self.patience => Step::Delayed(why),
                    RetryIn::OnConnection => Step::Delayed(why),
                    _ => Step::Refused(why),
                }
            }
            ChannelEvent::Closed { reason } => Step::Closed(reason.to_string()),
            _ => Step::Other,
        }
    }

    /// A refused upgrade that time does not mend, or not in time, is not waited for.
    fn of_loss(&self, reason: &LossReason, retry_in: Option<Duration>) -> Step {
        let refusal = if let LossReason::Open(error) = reason { UpgradeRefusal::of(error) } else { None };
        let Some(refusal) = refusal.filter(|_| self.settled) else { return Step::Lost(reason.to_string()) };
        if let Some(failure) = Failure::elsewhere(Some(refusal.status)) {
            return Step::Elsewhere(failure);
        }
        let why = format!("{refusal}; {}", refusal.advice());
        match refusal.class {
            UpgradeClass::RateLimited | UpgradeClass::Server if retry_in.is_some_and(|time| time < self.patience) => {
                Step::Lost(why)
            }
            _ => Step::Refused(why),
        }
    }
}

const fn advice(failure: &SubscribeFailure) -> &'static str {
    match failure {
        SubscribeFailure::Refused(refusal) => match refusal.class {
            RefusalClass::Auth => "; give the --token of a user who may",
            RefusalClass::Rate => "; wait, and send again",
            _ => "",
        },
        _ => "",
    }
}
