//! Listening in Supabase's dialect.

use std::collections::BTreeMap;

use rejoin_core::Text;
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{Channel, Client, HandleId, Inbox, InboxEvent, Listen, SubscribeError};

use super::{CLOSE, Ears};
use crate::args::ListenArgs;
use crate::failure::Failure;
use crate::host::{Host, Task};
use crate::input;
use crate::output::Line;
use crate::record::Recorder;
use crate::supabase::{Project, params};

pub(super) struct Setup {
    pub(super) project: Project,
}

impl Setup {
    pub(super) fn check(args: &ListenArgs) -> Result<Self, Failure> {
        if args.join_payload.is_some() {
            let fix = "a Supabase join is made of --private, --self, --ack and the token; use those instead";
            return Err(Failure::usage("--join-payload", fix));
        }
        let mut project = Project::check_broadcasts(&args.url, &args.connection, &args.supabase)?;
        project.hear(&args.hearing)?;
        let phoenix = &mut project.config.phoenix;
        phoenix.close_timeout = CLOSE;
        phoenix.params = params(&args.param)?;
        if let Some(text) = &args.heartbeat {
            phoenix.heartbeat_interval = Some(input::duration("--heartbeat", text)?);
        }
        Ok(Self { project })
    }

    pub(super) async fn join<H: Host>(
        self,
        host: &H,
        topics: &[Text],
        recorder: Option<Recorder>,
    ) -> Result<(impl Ears + use<H>, Task), Failure> {
        let Project { config, channel: join, tokens } = self.project;
        let options = Project::options(tokens, recorder.map(|recorder| Box::new(recorder) as _));
        let (client, pump) = host.connect_to_project(config, options);
        let closed = |_| Failure::broken("the client is closed");
        let (handle, inbox) = client.inbox(Inflow::default()).await.map_err(closed)?;
        let (mut names, mut channels) = (BTreeMap::new(), Vec::new());
        for topic in topics {
            let fail = |error: SubscribeError| Failure::broken(format!("{topic}: {error}"));
            let channel = client.channel(topic, join.clone()).map_err(fail)?;
            channel.listen_into(handle, Listen::everything()).await.map_err(fail)?;
            channel.subscribe().await.map_err(fail)?;
            names.insert(channel.id(), topic.clone());
            channels.push(channel);
        }
        client.connect().await.map_err(closed)?;
        Ok((SupabaseEars { client, inbox, topics: names, _channels: channels }, pump))
    }
}

struct SupabaseEars {
    client: Client,
    inbox: Inbox,
    topics: BTreeMap<HandleId, Text>,
    /// Dropping one would leave it.
    _channels: Vec<Channel>,
}

impl Ears for SupabaseEars {
    type Event = InboxEvent;

    async fn next(&mut self) -> Option<InboxEvent> {
        self.inbox.next().await
    }

    fn line<'e>(&'e self, event: &'e InboxEvent) -> Option<Line<'e>> {
        match event {
            InboxEvent::Channel { channel, event } => Some(Line::of_supabase_channel(self.topics.get(channel)?, event)),
            InboxEvent::Connection(event) => Line::of_supabase_connection(event),
            InboxEvent::Lagged { missed } => Some(Line::missed(*missed)),
            // `InboxEvent` may grow; what is new there has to get a line here.
            _ => None,
        }
    }

    async fn close(&self) {
        self.client.close().await;
    }
}
