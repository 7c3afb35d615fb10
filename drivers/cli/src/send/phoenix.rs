//! Sending in Phoenix's own dialect.

use rejoin_core::phoenix::{Config, JoinFailure, JoinOptions, LossReason, Push};
use rejoin_core::{Payload, Text, TransportKind};
use rejoin_pump::{
    Channel, ChannelEvent, Client, ClosedError, ConnectOptions, ConnectionEvent, Inbox, InboxEvent, Inflow, PushTicket,
};

use super::{Room, Step, WINDOW};
use crate::args::SendArgs;
use crate::failure::Failure;
use crate::host::{Host, Task};
use crate::input;
use crate::output::shown;
use crate::supabase::refuse_options;

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: Config,
    /// Its payload is read later.
    pub(super) push: Push,
}

impl Setup {
    pub(super) fn check(args: &SendArgs) -> Result<Self, Failure> {
        refuse_options(args.supabase.given().chain([("--http", args.http)]))?;
        let config = input::config(&args.url, &args.connection)?;
        let push = Push::new(input::event("EVENT", &args.event)?, Payload::EMPTY);
        Ok(Self { config, push: if args.reply { push } else { push.without_reply() } })
    }

    pub(super) async fn enter<H: Host>(self, host: &H, topic: &Text) -> Result<(impl Room + use<H>, Task), Failure> {
        let mut options = ConnectOptions::default();
        // Nothing may happen before the inbox is there to see it.
        options.connect = false;
        let settled = input::is_settled(&self.config);
        let (client, pump) = host.connect(self.config, options);
        let closed = |_| Failure::broken("the client is closed");
        // What others say in the topic meanwhile is not wanted, and must not stop the reading.
        let inflow = Inflow::DropOldest { capacity: WINDOW };
        let (handle, inbox) = client.inbox(inflow).await.map_err(closed)?;
        let joined = client.join_into(handle, topic.clone(), JoinOptions::default()).await;
        let channel = joined.map_err(|error| Failure::broken(format!("{topic} was not joined: {error}")))?;
        client.connect().await.map_err(closed)?;
        Ok((PhoenixRoom { client, channel, inbox, push: self.push, settled }, pump))
    }
}

struct PhoenixRoom {
    client: Client,
    channel: Channel,
    inbox: Inbox,
    push: Push,
    /// Whether no other transport is tried where this one is refused.
    settled: bool,
}

impl Room for PhoenixRoom {
    const SILENCE: &'static str = "no reply in time";

    async fn next(&mut self) -> Option<Step> {
        Some(match self.inbox.next().await? {
            InboxEvent::Channel { event: ChannelEvent::Joined { .. }, .. } => Step::Joined,
            InboxEvent::Channel { event: ChannelEvent::JoinFailed { failure, .. }, .. } => {
                Step::Refused(refusal(&failure))
            }
            InboxEvent::Channel { event: ChannelEvent::Closed { reason }, .. } => Step::Closed(reason.to_string()),
            InboxEvent::Connection(ConnectionEvent::Connected) => Step::Connected,
            InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. }) if self.settled => of_loss(&reason),
            InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. }) => Step::Lost(reason.to_string()),
            InboxEvent::Connection(ConnectionEvent::TransportChanged { transport }) => {
                self.settled = transport == TransportKind::LongPoll;
                Step::Other
            }
            _ => Step::Other,
        })
    }

    async fn push(&self) -> Result<PushTicket, ClosedError> {
        self.channel.push(self.push.clone()).await
    }

    async fn leave(&self) -> Result<(), ClosedError> {
        self.channel.leave().await
    }

    async fn close(&self) {
        self.client.close().await;
    }
}

/// A server that refuses is not waited for.
fn of_loss(reason: &LossReason) -> Step {
    let status = if let LossReason::Open(error) = reason { error.status } else { None };
    match (Failure::elsewhere(status), status) {
        (Some(failure), _) => Step::Elsewhere(failure),
        // 408 and 410 are about this attempt alone.
        (None, Some(400..=407 | 409 | 411..429)) => Step::Refused(reason.to_string()),
        (None, _) => Step::Lost(reason.to_string()),
    }
}

/// With all that the server said.
fn refusal(failure: &JoinFailure) -> String {
    match failure {
        JoinFailure::Refused { response } => format!("refused with {}", shown(response)),
        other => other.to_string(),
    }
}
