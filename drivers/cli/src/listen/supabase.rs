//! Listening in Supabase's dialect.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::future;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::{Payload, Text};
use rejoin_pump::supabase::{Channel, Client, HandleId, Inbox, InboxEvent, Listen, SubscribeError};
use rejoin_pump::{Inflow, PushFailed, PushTicket};

use super::{CLOSE, Ears};
use crate::args::ListenArgs;
use crate::failure::Failure;
use crate::host::{Host, Task};
use crate::input;
use crate::output::{Line, shown};
use crate::record::Recorder;
use crate::supabase::Project;

pub(super) struct Setup {
    pub(super) project: Project,
    /// What to be present as.
    track: Option<Payload>,
}

impl Setup {
    pub(super) fn check(args: &ListenArgs) -> Result<Self, Failure> {
        if args.join_payload.is_some() {
            let fix = "a Supabase join is made of --private, --self, --ack and the token; use those instead";
            return Err(Failure::usage("--join-payload", fix));
        }
        let mut project = Project::check_broadcasts(&args.url, &args.connection, &args.supabase)?;
        project.hear(&args.hearing)?;
        let track = args.hearing.track.as_deref().map(|text| input::object("--track", text)).transpose()?;
        let phoenix = &mut project.config.phoenix;
        phoenix.close_timeout = CLOSE;
        if let Some(text) = &args.heartbeat {
            phoenix.heartbeat_interval = Some(input::duration("--heartbeat", text)?);
        }
        Ok(Self { project, track })
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
        let (mut names, mut channels, mut wishes) = (BTreeMap::new(), Vec::new(), Vec::new());
        for topic in topics {
            let fail = |error: SubscribeError| Failure::broken(format!("{topic}: {error}"));
            let channel = client.channel(topic, join.clone()).map_err(fail)?;
            channel.listen_into(handle, Listen::everything()).await.map_err(fail)?;
            channel.subscribe().await.map_err(fail)?;
            if let Some(payload) = &self.track {
                wishes.push((channel.id(), channel.track(payload.clone()).await.map_err(closed)?));
            }
            names.insert(channel.id(), topic.clone());
            channels.push(channel);
        }
        client.connect().await.map_err(closed)?;
        Ok((SupabaseEars { client, inbox, wishes, topics: names, _channels: channels }, pump))
    }
}

struct SupabaseEars {
    client: Client,
    inbox: Inbox,
    /// Whose presence is on its way to the server.
    wishes: Vec<(HandleId, PushTicket)>,
    topics: BTreeMap<HandleId, Text>,
    /// Dropping one would leave it.
    _channels: Vec<Channel>,
}

/// Something that is printed.
enum Heard {
    Inbox(InboxEvent),
    TrackFailed { channel: HandleId, why: String },
}

impl Ears for SupabaseEars {
    type Event = Heard;

    async fn next(&mut self) -> Option<Heard> {
        let Self { inbox, wishes, .. } = self;
        let heard = async { inbox.next().await.map(Heard::Inbox) };
        let failed = poll_fn(|cx| poll_failed(wishes, cx).map(Some));
        future::or(heard, failed).await
    }

    fn line<'e>(&'e self, event: &'e Heard) -> Option<Line<'e>> {
        match event {
            Heard::Inbox(InboxEvent::Channel { channel, event }) => {
                Some(Line::of_supabase_channel(self.topics.get(channel)?, event))
            }
            Heard::Inbox(InboxEvent::Connection(event)) => Line::of_supabase_connection(event),
            Heard::Inbox(InboxEvent::Lagged { missed }) => Some(Line::missed(*missed)),
            // `InboxEvent` may grow; what is new there has to get a line here.
            Heard::Inbox(_) => None,
            Heard::TrackFailed { channel, why } => {
                let (topic, reason) = (self.topics.get(channel).map(Text::as_str), Some(why.clone()));
                Some(Line { event: "track_failed", topic, reason, ..Line::default() })
            }
        }
    }

    async fn close(&self) {
        self.client.close().await;
    }
}

/// The next presence that came to nothing. What went well is shown by the server, among the others.
fn poll_failed(wishes: &mut Vec<(HandleId, PushTicket)>, cx: &mut Context<'_>) -> Poll<Heard> {
    let mut failed = None;
    wishes.retain_mut(|(channel, ticket)| match (&failed, Pin::new(ticket).poll(cx)) {
        (Some(_), _) | (None, Poll::Pending) => true,
        (None, Poll::Ready(outcome)) => {
            failed = why_not_tracked(outcome).map(|why| Heard::TrackFailed { channel: *channel, why });
            false
        }
    });
    failed.map_or(Poll::Pending, Poll::Ready)
}

fn why_not_tracked(outcome: Result<PushOutcome, PushFailed>) -> Option<String> {
    match outcome {
        Ok(PushOutcome::Error(response) | PushOutcome::Other { response, .. }) => {
            Some(format!("refused with {}", shown(&response)))
        }
        Ok(PushOutcome::TimedOut) => Some("no answer in time".into()),
        // What a loss has cut off is said again, and a client that is closed wants nothing more.
        Ok(_) | Err(PushFailed::Closed) => None,
        Err(error) => Some(error.to_string()),
    }
}
