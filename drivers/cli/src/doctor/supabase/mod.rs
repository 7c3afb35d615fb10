//! The steps in Supabase's dialect: the socket, a join, and what channels are joined for.

mod patient;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_core::{Text, TransportKind};
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{Listen, SubscribeError};

use super::report::{Patience, Report};
use super::{FAREWELL, POLLED, opening};
use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::host::Host;
use crate::supabase::{Project, bindings, topic};
use patient::Patient;

const CHANNEL: &str = "rejoin-doctor";
/// Events of others in the channel that may wait; what is over it is not missed.
const WAITING: usize = 1_024;

const OPENING_LATE: &str = "check the URL, and what is between here and the server; refusals take 2 s to come";
const HEARTBEAT_LATE: &str = "check what is between here and the server: something holds messages back";
const JOIN_LATE: &str = "look into the project's Realtime log, and give more --timeout; refusals take 5 s to come";
const READY_LATE: &str = "look into the project's Realtime log, and give more --timeout; a cold start takes 5 s";
const NO_TABLE: &str = "not asked for; name a table with --postgres-changes SCHEMA.TABLE";

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
        // A broadcast that comes back has gone the whole way.
        (project.channel.broadcast.echo, project.channel.broadcast.ack) = (true, true);
        project.channel.postgres_changes = bindings(&args.postgres_changes)?;
        let topic = topic("--channel", args.channel.as_deref().unwrap_or(CHANNEL))?;
        Ok(Self { project, topic })
    }

    pub(super) async fn examine<H: Host>(
        self,
        host: &H,
        transport: TransportKind,
        patience: &Patience<H>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Self { project, topic } = self;
        let (who, nonce) = (who(&project), nonce());
        let Project { config, channel: join, tokens } = project;
        let wants_changes = !join.postgres_changes.is_empty();
        // Under a key of our own we know ourselves among the members.
        let join = join.presence(nonce.as_str());
        let closed = |_| Failure::broken("the client is closed");
        let fail = |error: SubscribeError| Failure::usage("--channel", error);
        let (client, pump) = host.connect_to_project(config, Project::options(tokens, None));
        let (handle, inbox) = client.inbox(Inflow::DropOldest { capacity: WAITING }).await.map_err(closed)?;
        let channel = client.channel(&topic, join).map_err(fail)?;
        channel.listen_into(handle, Listen::everything()).await.map_err(fail)?;
        let mut patient = Patient::new(client, channel, inbox, who);

        let (name, finding) = opening(transport);
        report.need(name, patience.wait("no answer", OPENING_LATE, patient.open(finding))).await;
        match transport {
            TransportKind::WebSocket => {
                report.need("heartbeat", patience.wait("no answer", HEARTBEAT_LATE, patient.heartbeat())).await;
            }
            TransportKind::LongPoll => report.skip("heartbeat", POLLED),
        }
        report.need("join", patience.wait("no answer", JOIN_LATE, patient.join())).await;
        report.check("broadcast", patient.broadcast(patience, &nonce)).await;
        report.check("presence", patient.presence(patience, &nonce)).await;
        if wants_changes {
            let missing = "no word that changes flow";
            report.check("postgres", patience.wait(missing, READY_LATE, patient.postgres())).await;
        } else {
            report.skip("postgres", NO_TABLE);
        }
        patient.close().await;
        host.within(FAREWELL * 2, pump.done()).await;
        Ok(())
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
