//! `rejoin doctor`: goes the whole way from the host's name to a message that comes back, and says
//! at each step how it stands and what to do.

mod advice;
mod network;
mod phoenix;
mod report;
mod supabase;

use std::time::Duration;

use futures_lite::future;
use rejoin_core::TransportKind;

use crate::args::{Dialect, DoctorArgs, TransportName};
use crate::failure::Failure;
use crate::host::{Host, Job};
use crate::input;
use crate::interrupt::Interrupts;
use network::Target;
use report::{Patience, Report};

/// How long the server may take to answer our close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Why no heartbeat is looked at.
const POLLED: &str = "long-poll has none: it is polled anyway";

/// What was typed, checked.
pub(crate) struct Plan {
    setup: Setup,
    transport: TransportKind,
    target: Target,
    json: bool,
    timeout: Duration,
}

/// What is looked at once the network is known to be fine.
enum Setup {
    Phoenix(Box<phoenix::Setup>),
    Supabase(Box<supabase::Setup>),
}

impl Plan {
    pub(crate) fn check(args: &DoctorArgs) -> Result<Self, Failure> {
        let transport = one_transport(args.connection.transport)?;
        let mut setup = match args.connection.dialect {
            Dialect::Phoenix => Setup::Phoenix(Box::new(phoenix::Setup::check(args)?)),
            Dialect::Supabase => Setup::Supabase(Box::new(supabase::Setup::check(args)?)),
            Dialect::Sente => return Err(input::no_sente()),
        };
        let timeout = input::duration("--timeout", &args.timeout)?;
        // Our own patience ends sooner, so that there is one answer to what takes too long.
        let longer = timeout.saturating_mul(2);
        let config = match &mut setup {
            Setup::Phoenix(setup) => &mut setup.config,
            Setup::Supabase(setup) => {
                setup.project.config.postgres_ready_timeout = longer;
                &mut setup.project.config.phoenix
            }
        };
        (config.connect_timeout, config.join_timeout, config.push_timeout) = (longer, longer, longer);
        (config.heartbeat_timeout, config.leave_timeout, config.close_timeout) = (longer, FAREWELL, FAREWELL);
        // What fails is told and not tried again.
        config.max_attempts = Some(1);
        let target = Target::of(&config.endpoint);
        Ok(Self { setup, transport, target, json: args.json, timeout })
    }
}

fn one_transport(name: TransportName) -> Result<TransportKind, Failure> {
    match name {
        TransportName::Websocket => Ok(TransportKind::WebSocket),
        TransportName::Longpoll => Ok(TransportKind::LongPoll),
        TransportName::Auto => {
            Err(Failure::usage("--transport", "one is looked at at a time; write websocket or longpoll"))
        }
    }
}

/// The name of the check that the connection opens, and what is shown then.
const fn opening(transport: TransportKind) -> (&'static str, &'static str) {
    match transport {
        TransportKind::WebSocket => ("upgrade", "the server speaks WebSocket"),
        TransportKind::LongPoll => ("longpoll", "the server speaks long-poll"),
    }
}

pub(crate) struct Examination {
    pub(crate) plan: Plan,
    pub(crate) interrupts: Interrupts,
}

impl Job for Examination {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Self { plan: Plan { setup, transport, target, json, timeout }, interrupts } = self;
        let (mut report, patience) = (Report::new(json), Patience::new(host.clone(), timeout));
        let examined = async {
            network::examine(&host, &patience, &mut report, &target).await;
            match setup {
                Setup::Phoenix(setup) => setup.examine(&host, transport, &patience, &mut report).await?,
                Setup::Supabase(setup) => setup.examine(&host, transport, &patience, &mut report).await?,
            }
            report.verdict()
        };
        let interrupted = async {
            interrupts.wait().await;
            Err(Failure::broken("interrupted"))
        };
        future::or(examined, interrupted).await
    }
}
