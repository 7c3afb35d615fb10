//! What was typed, checked: where to listen, whom to let in, and how much of anything.

use std::net::SocketAddr;
use std::time::Duration;

use rejoin_core::hub::HistoryLimits;
use rejoin_core::phoenix::{OutboxOverflow, RateLimit};
use rejoin_jwt::JwtVerifier;
use rejoin_pump::server::{Endpoint, ServerOptions};

use super::{access, rooms};
use crate::args::{LimitArgs, OverflowName, ServeArgs};
use crate::failure::Failure;
use crate::input;

/// What the end takes besides the farewells.
const THE_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) address: SocketAddr,
    pub(super) drain: Duration,
    pub(super) verbose: bool,
    verifier: Option<JwtVerifier>,
    options: ServerOptions,
}

impl Settings {
    pub(crate) fn check(args: &ServeArgs) -> Result<Self, Failure> {
        let address = input::address("--listen", &args.listen)?;
        let verifier = access::verifier(&args.access, address)?;
        let mut options = ServerOptions::default();
        options.upgrade.origin = access::origins(&args.access.origin, verifier.is_none() && !args.access.no_auth)?;
        limit(&mut options, &args.limits)?;
        if let Some(messages) = given("--history", &args.history, input::number)? {
            let mut history = HistoryLimits::default();
            history.messages = messages;
            options.hub.history = Some(history);
        }
        let drain = input::duration("--drain", &args.drain)?;
        Ok(Self { address, drain, verbose: args.verbose, verifier, options })
    }

    /// When the program ends after a signal, whatever hangs.
    pub(crate) fn last_resort(&self) -> Duration {
        self.drain.saturating_add(THE_REST)
    }

    pub(super) fn endpoint(self) -> Endpoint<()> {
        let endpoint = rooms().options(self.options);
        match self.verifier {
            Some(verifier) => endpoint.verifier(verifier),
            None => endpoint,
        }
    }
}

fn limit(options: &mut ServerOptions, args: &LimitArgs) -> Result<(), Failure> {
    let (session, long_poll) = (&mut options.session, &mut options.long_poll);
    set(&mut options.connections, given("--max-connections", &args.max_connections, input::number)?);
    set(&mut session.channels, given("--max-channels", &args.max_channels, input::number)?);
    set(&mut session.topic_bytes, given("--max-topic-bytes", &args.max_topic_bytes, input::number)?);
    let message_bytes = given("--max-message-bytes", &args.max_message_bytes, input::bytes)?;
    set(&mut session.frame_bytes, message_bytes);
    set(&mut long_poll.body_bytes, message_bytes);
    let outbox_bytes = given("--outbox-bytes", &args.outbox_bytes, input::bytes)?;
    set(&mut session.outbox_bytes, outbox_bytes);
    set(&mut long_poll.outbox_bytes, outbox_bytes);
    session.joins = given("--joins-per-second", &args.joins_per_second, input::number)?.map(RateLimit::per_second);
    session.messages =
        given("--messages-per-second", &args.messages_per_second, input::number)?.map(RateLimit::per_second);
    session.bytes = given("--bytes-per-second", &args.bytes_per_second, input::bytes)?.map(RateLimit::per_second);
    if let Some(timeout) = given("--idle-timeout", &args.idle_timeout, input::duration)? {
        session.idle_timeout = Some(timeout);
    }
    session.overflow = match args.overflow {
        OverflowName::Close => OutboxOverflow::Close,
        OverflowName::DropNewest => OutboxOverflow::DropNewest,
        OverflowName::DropOldest => OutboxOverflow::DropOldest,
        OverflowName::Latest => OutboxOverflow::Latest,
    };
    Ok(())
}

/// An option's value, if there is one.
fn given<T>(
    name: &str,
    text: &Option<String>,
    read: impl FnOnce(&str, &str) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    text.as_deref().map(|text| read(name, text)).transpose()
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
