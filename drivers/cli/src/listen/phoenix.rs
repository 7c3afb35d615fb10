//! Listening in Phoenix's own dialect.

use std::collections::BTreeMap;

use rejoin_core::Text;
use rejoin_core::phoenix::{ChannelId, Config, JoinOptions};
use rejoin_pump::{Channel, Client, ConnectOptions, Inbox, InboxEvent, Inflow, SubscribeError};

use super::{CLOSE, Ears};
use crate::args::ListenArgs;
use crate::failure::Failure;
use crate::host::{Host, Task};
use crate::input;
use crate::output::Line;
use crate::record::Recorder;
use crate::supabase::refuse_options;

pub(super) struct Setup {
    pub(super) config: Config,
    join: JoinOptions,
}

impl Setup {
    pub(super) fn check(args: &ListenArgs) -> Result<Self, Failure> {
        refuse_options(args.supabase.given().chain(args.hearing.given()))?;
        let mut config = input::config(&args.url, &args.connection)?;
        config.close_timeout = CLOSE;
        if let Some(text) = &args.heartbeat {
            config.heartbeat_interval = Some(input::duration("--heartbeat", text)?);
        }
        let mut join = JoinOptions::default();
        if let Some(text) = &args.join_payload {
            join.payload = input::object("--join-payload", text)?;
        }
        Ok(Self { config, join })
    }

    pub(super) async fn join<H: Host>(
        self,
        host: &H,
        topics: &[Text],
        recorder: Option<Recorder>,
    ) -> Result<(impl Ears + use<H>, Task), Failure> {
        let mut options = ConnectOptions::default();
        // Nothing may happen before the inbox is there to see it.
        options.connect = false;
        options.tap = recorder.map(|recorder| Box::new(recorder) as _);
        let (client, pump) = host.connect(self.config, options);
        let closed = |_| Failure::broken("the client is closed");
        let (handle, inbox) = client.inbox(Inflow::default()).await.map_err(closed)?;
        let (mut names, mut channels) = (BTreeMap::new(), Vec::new());
        for topic in topics {
            let channel = client.join_into(handle, topic.clone(), self.join.clone()).await;
            let channel = channel.map_err(|error: SubscribeError| Failure::broken(format!("{topic}: {error}")))?;
            names.insert(channel.id(), topic.clone());
            channels.push(channel);
        }
        client.connect().await.map_err(closed)?;
        Ok((PhoenixEars { client, inbox, topics: names, _channels: channels }, pump))
    }
}

struct PhoenixEars {
    client: Client,
    inbox: Inbox,
    topics: BTreeMap<ChannelId, Text>,
    /// Dropping one would leave it.
    _channels: Vec<Channel>,
}

impl Ears for PhoenixEars {
    type Event = InboxEvent;

    async fn next(&mut self) -> Option<InboxEvent> {
        self.inbox.next().await
    }

    fn line<'e>(&'e self, event: &'e InboxEvent) -> Option<Line<'e>> {
        match event {
            InboxEvent::Channel { channel, event } => Some(Line::of_channel(self.topics.get(channel)?, event)),
            InboxEvent::Connection(event) => Some(Line::of_connection(event)),
            InboxEvent::Lagged { missed } => Some(Line::missed(*missed)),
            // `InboxEvent` may grow; what is new there has to get a line here.
            _ => None,
        }
    }

    async fn close(&self) {
        self.client.close().await;
    }
}
