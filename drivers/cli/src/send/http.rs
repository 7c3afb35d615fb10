//! Sending over HTTP: each broadcast is a request that is answered, and nothing is joined.

use std::time::Instant;

use rejoin_core::supabase::{HttpBroadcast, HttpBroadcastError, HttpFailure};
use rejoin_core::{Payload, Text};
use rejoin_pump::supabase::{Client, HttpBroadcastFailed};

use super::{Errand, FAREWELL, shown_time};
use crate::args::{SendArgs, TransportName};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{plural, printable, say};
use crate::supabase::{Project, event};

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) project: Project,
    pub(super) broadcast: HttpBroadcast,
}

impl Setup {
    /// The payload is read later.
    pub(super) fn check(args: &SendArgs, topic: &Text) -> Result<Self, Failure> {
        let transport = args.connection.transport != TransportName::default();
        let options = [
            ("--self", args.supabase.echo),
            ("--ack", args.supabase.ack),
            ("--reply", args.reply),
            ("--transport", transport),
        ];
        if let Some((name, _)) = options.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(name, "over HTTP nothing is joined and everything is answered; leave it out"));
        }
        let mut project = Project::check(&args.url, &args.connection, &args.supabase.project)?;
        // Nobody asks a provider where nothing is joined.
        project.config.access_token = project.token();
        if args.supabase.project.private && project.config.access_token.is_none() {
            return Err(Failure::usage("--private", format!("{} with --token", HttpBroadcastError::NoToken)));
        }
        let mut broadcast = HttpBroadcast::new(topic.clone(), event(&args.event)?, Payload::EMPTY);
        broadcast.private = args.supabase.project.private;
        Ok(Self { project, broadcast })
    }

    pub(super) fn set_payload(&mut self, payload: Payload) -> Result<(), Failure> {
        if payload.as_json() == Some("null") {
            return Err(Failure::usage("PAYLOAD", HttpBroadcastError::NullPayload));
        }
        self.broadcast.payload = payload;
        Ok(())
    }

    pub(super) async fn send<H: Host>(self, errand: &Errand<H>) -> Result<(), Failure> {
        let options = Project::options(None, None);
        let (client, pump) = errand.host.connect_to_project(self.project.config, options);
        let outcome = errand.unless_interrupted(errand.send_all(&client, &self.broadcast)).await;
        client.close().await;
        errand.host.within(FAREWELL, pump.done()).await;
        outcome
    }
}

impl<H: Host> Errand<H> {
    /// One after the other, so that they arrive in their order.
    async fn send_all(&self, client: &Client, broadcast: &HttpBroadcast) -> Result<(), Failure> {
        let start = Instant::now();
        for number in 0..self.count {
            self.wait_for_turn(number, start).await;
            let ticket = client.http_broadcast(broadcast.clone()).await.map_err(Failure::broken)?;
            ticket.await.map_err(|failed| failure(number + 1, &failed))?;
        }
        let number = plural(self.count, "message", "messages");
        let (topic, took) = (printable(&self.topic), shown_time(start.elapsed()));
        // Whether anybody reads it changes nothing.
        let _ = say(&format!("sent {number} to {topic} over HTTP in {took}"));
        Ok(())
    }
}

/// What lives at the URL cannot become a project's Realtime by waiting.
fn failure(number: u64, failed: &HttpBroadcastFailed) -> Failure {
    match failed {
        HttpBroadcastFailed::Failed(failure @ HttpFailure::NotRealtime { .. }) => Failure::usage("URL", failure),
        _ => Failure::broken(format!("message {number}: {failed}")),
    }
}
