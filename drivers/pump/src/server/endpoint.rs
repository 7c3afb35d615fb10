//! What a server offers: its topics, who may come, and how much.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rejoin_core::Text;
use rejoin_core::auth::{Requirement, TokenVerifier};
use rejoin_core::hub::HubConfig;
use rejoin_core::phoenix::{LongPollConfig, OutboxOverflow, ServerConfig, UpgradeConfig};
use rejoin_core::wire::Serializer;

use super::channel::Channel;
use super::erased::{Route, RouteTo};
use super::report::Report;

/// What a server offers: its topics, who may come, and how much each may ask for.
///
/// `A` is what all channels of the application share.
pub struct Endpoint<A> {
    app: Arc<A>,
    settings: Settings,
}

/// What does not depend on the application's type.
pub(super) struct Settings {
    routes: Vec<(Pattern, Arc<dyn Route>, TopicOptions)>,
    pub(super) verifier: Option<Arc<dyn TokenVerifier>>,
    pub(super) requirement: Requirement,
    pub(super) options: ServerOptions,
    pub(super) report_to: Option<ReportTo>,
}

type ReportTo = Box<dyn Fn(&Report) + Send + Sync>;

/// How much a server takes. Start from `default`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where the endpoint is; default `/socket`, whose transports are `/socket/websocket` and
    /// `/socket/longpoll`. Other paths are answered with 404.
    pub path: String,
    /// Who may connect from where, and where the token is; see [`UpgradeConfig`].
    pub upgrade: UpgradeConfig,
    /// The limits of each connection. Its serializer is the client's, and its time to authenticate is
    /// over when it begins: who is let in is authenticated.
    pub session: ServerConfig,
    /// The limits of topics, presence and history.
    pub hub: HubConfig,
    /// The limits of each long-poll session.
    pub long_poll: LongPollConfig,
    /// Connections at a time, long-poll sessions included; default 100,000. Whoever comes on top is
    /// answered with 503 and `Retry-After`. Connections that bring requests without being a client's are
    /// closed when there are more than two for each of these, and [`handshakes`](Self::handshakes).
    pub connections: usize,
    /// Connections that have not said what they want; default 1,024. Another one costs the
    /// oldest of them its place, so that half-open ones keep nobody out.
    pub handshakes: usize,
    /// How long a client may take for its upgrade; default 10 s.
    pub handshake_timeout: Duration,
    /// What refs, epochs and the jitter of a shutdown are drawn from; drawn from the system by default.
    pub seed: Option<u64>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            path: "/socket".into(),
            upgrade: UpgradeConfig::default(),
            session: ServerConfig::new(Serializer::default()),
            hub: HubConfig::default(),
            long_poll: LongPollConfig::default(),
            connections: 100_000,
            handshakes: 1_024,
            handshake_timeout: Duration::from_secs(10),
            seed: None,
        }
    }
}

/// How the topics of a pattern behave. Start from `default`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TopicOptions {
    /// What happens to the topic's messages when a client reads too slowly; that of
    /// [`ServerConfig`] by default. Under [`OutboxOverflow::Latest`] a message replaces one of the same
    /// event that still waits.
    pub overflow: Option<OutboxOverflow>,
}

impl TopicOptions {
    /// The same with this policy for clients that read too slowly.
    #[must_use]
    pub const fn overflow(mut self, overflow: OutboxOverflow) -> Self {
        self.overflow = Some(overflow);
        self
    }
}

impl<A: Send + Sync + 'static> Endpoint<A> {
    /// An endpoint without topics, that lets everybody in.
    #[must_use]
    pub fn new(app: A) -> Self {
        let settings = Settings {
            routes: Vec::new(),
            verifier: None,
            requirement: Requirement::default(),
            options: ServerOptions::default(),
            report_to: None,
        };
        Self { app: Arc::new(app), settings }
    }

    /// Sends the joins of a topic to `C`. A pattern is a topic, or the beginning of topics before a
    /// `*` at its end; the first one that fits counts.
    #[must_use]
    pub fn channel<C: Channel<App = A>>(self, pattern: &str) -> Self {
        self.channel_with::<C>(pattern, TopicOptions::default())
    }

    /// The same, with options for the topics of this pattern.
    #[must_use]
    pub fn channel_with<C: Channel<App = A>>(mut self, pattern: &str, options: TopicOptions) -> Self {
        let route: Arc<dyn Route> = Arc::new(RouteTo::<C> { app: self.app.clone() });
        self.settings.routes.push((Pattern::of(pattern), route, options));
        self
    }

    /// Lets only those in whose token this one accepts. Everybody else hears 403, as from Phoenix.
    ///
    /// A client stays until its token expires, and longer with a new one that it pushes as
    /// `access_token`, `{"access_token": …}`, on any channel.
    #[must_use]
    pub fn verifier(mut self, verifier: impl TokenVerifier + 'static) -> Self {
        self.settings.verifier = Some(Arc::new(verifier));
        self
    }

    /// Lets only those in who, besides, have these permissions and roles.
    #[must_use]
    pub fn require(mut self, requirement: Requirement) -> Self {
        self.settings.requirement = requirement;
        self
    }

    /// Sets how much the server takes.
    #[must_use]
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.settings.options = options;
        self
    }

    /// Tells `report` of refusals, crashes and drops. It is called between messages, so that it
    /// must not block.
    #[must_use]
    pub fn report_to(mut self, report: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.settings.report_to = Some(Box::new(report));
        self
    }

    pub(super) fn into_settings(self) -> Settings {
        self.settings
    }
}

impl Settings {
    pub(super) fn has_latest(&self) -> bool {
        let mut overflows = self.routes.iter().filter_map(|(.., options)| options.overflow);
        self.options.session.overflow == OutboxOverflow::Latest || overflows.any(|it| it == OutboxOverflow::Latest)
    }

    pub(super) fn route(&self, topic: &Text) -> Option<(&Arc<dyn Route>, &TopicOptions)> {
        // The router's own topic belongs to nobody.
        let mut routes = self.routes.iter().filter(|_| topic != "phoenix");
        routes.find(|(pattern, ..)| pattern.fits(topic)).map(|(_, route, options)| (route, options))
    }
}

/// Without the application's value.
impl<A> fmt::Debug for Endpoint<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> = self.settings.routes.iter().map(|(pattern, ..)| pattern).collect();
        f.debug_struct("Endpoint")
            .field("patterns", &patterns)
            .field("options", &self.settings.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Pattern {
    start: String,
    /// Whether anything may follow.
    is_prefix: bool,
}

impl Pattern {
    fn of(pattern: &str) -> Self {
        let (start, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
        Self { start: start.into(), is_prefix }
    }

    fn fits(&self, topic: &str) -> bool {
        if self.is_prefix { topic.starts_with(&self.start) } else { topic == self.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_topic_or_its_beginning() {
        for (pattern, topic, fits) in [
            ("room:*", "room:1", true),
            ("room:*", "room:", true),
            ("room:*", "room", false),
            ("room:lobby", "room:lobby", true),
            ("room:lobby", "room:lobby2", false),
            ("*", "", true),
            ("a*b", "a*b", true),
            ("a*b", "acb", false),
        ] {
            assert_eq!(Pattern::of(pattern).fits(topic), fits, "{pattern} and {topic}");
        }
    }
}
