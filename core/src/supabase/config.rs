//! What a Supabase session can be told: the project, its key, and how tokens and rooms are handled.

use alloc::string::{String, ToString};
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use super::access_token::{AccessToken, ApiKey, ApiKeyError};
use super::tracking::PresenceBudget;
use crate::phoenix::{self, EndpointError, PresenceLimits};
use crate::text::Text;

/// Configuration of a Supabase session. Start from [`Config::for_project`] or [`Config::new`] and
/// assign fields.
///
/// ```
/// use rejoin_core::supabase::{Config, LogLevel};
///
/// let mut config = Config::for_project("https://abc.supabase.co", "sb_publishable_1")?;
/// config.log_level = Some(LogLevel::Info);
/// assert_eq!(config.phoenix.endpoint.to_string(), "wss://abc.supabase.co/realtime/v1/websocket");
/// # Ok::<(), rejoin_core::supabase::SupabaseConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The socket below: URL, serializer, timeouts, limits. Its heartbeat is every 25 s here, as in
    /// Supabase's own clients; at most 50 joins leave within a second, half of what a project may make
    /// by default; and no frame has more than 5,000,000 bytes, for which servers cut the connection
    /// (specification, section 9.4). Of its parameters, `apikey` is left out, and so is `log_level` if
    /// [`Config::log_level`] is set; of its headers, `x-api-key` if [`KeyIn::Header`] sends the key.
    /// `x-client-info: rejoin/VERSION` is added unless there is one.
    pub phoenix: phoenix::Config,
    /// The project's key.
    pub api_key: ApiKey,
    /// Where the key is sent. Default [`KeyIn::Query`].
    pub key_in: KeyIn,
    /// The user's token that channels are joined with; default `None`: as the API key's role.
    pub access_token: Option<AccessToken>,
    /// Whether the host answers requests for a token; default no. If it does, its answers replace
    /// [`Config::access_token`].
    pub token_provider: bool,
    /// How long the host may take for a token; default 10 s, as for a connection.
    pub token_timeout: Duration,
    /// Whether each upgrade request carries `authorization: Bearer` with the token of that moment.
    /// Default no: servers ignore it, and refuse header values above 4,096 bytes (specification,
    /// section 1.3). Proxies may want it.
    pub authorization: bool,
    /// What the *server* logs about this connection; default `None`: its default, errors.
    pub log_level: Option<LogLevel>,
    /// Whether broadcasts are sent as text in vsn 2.0.0, too; default no: in the binary form, as
    /// Supabase's own client sends them. Servers before that form (2.34) lose binary ones
    /// (specification, Appendix C). Over long-poll they are text anyway.
    pub text_broadcasts: bool,
    /// How long a connection without channels stays open; default 50 s, two heartbeats, so that a
    /// change of rooms does not dial anew. `None` keeps it for ever; servers end it after 10 to 20 min.
    pub disconnect_when_empty: Option<Duration>,
    /// How long to wait at least after a refusal for too much at a time; default 30 s (specification,
    /// sections 1.5 and 9.3). A `Retry-After` of the server's may ask for more.
    pub rate_delay: Duration,
    /// How long after a join the server may take to say that database changes flow, before
    /// [`Event::PostgresFailed`](super::Event::PostgresFailed) says that it has not; default 15 s. It is
    /// waited for all the same.
    pub postgres_ready_timeout: Duration,
    /// How many presence calls a channel makes; default 5 in 31 s, for servers end channels that make
    /// more than 5 in 30 s. Later wishes wait, and only the last of them is sent.
    pub presence_budget: PresenceBudget,
    /// How much a channel remembers of who is present.
    pub presence_limits: PresenceLimits,
    /// Whether broadcasts on a channel that cannot send go over HTTP instead of waiting; default no.
    /// They may then overtake others. [`Broadcast::http_fallback`](super::Broadcast::http_fallback)
    /// overrules it.
    pub http_fallback: bool,
    /// How many broadcasts may be on their way over HTTP; default 64.
    pub http_broadcasts: usize,
}

impl Config {
    /// The defaults for the URL of a Realtime server's socket, such as
    /// `wss://abc.supabase.co/realtime/v1` or, without a gateway, `ws://localhost:4000/socket`.
    ///
    /// An `apikey` in the URL's query gives way to `api_key`.
    ///
    /// # Errors
    /// If the URL has no host or a strange scheme, or the key is missing or has illegal characters.
    pub fn new(url: &str, api_key: &str) -> Result<Self, SupabaseConfigError> {
        let heartbeat = Duration::from_secs(25);
        let mut phoenix = phoenix::Config::new(&without_key(url))?;
        phoenix.heartbeat_interval = Some(heartbeat);
        phoenix.limits.joins_per_second = NonZeroU32::new(50);
        phoenix.limits.outbound_frame_bytes = SERVER_FRAME_BYTES;
        Ok(Self {
            phoenix,
            api_key: ApiKey::new(api_key)?,
            key_in: KeyIn::default(),
            access_token: None,
            token_provider: false,
            token_timeout: Duration::from_secs(10),
            authorization: false,
            log_level: None,
            text_broadcasts: false,
            disconnect_when_empty: Some(heartbeat * 2),
            rate_delay: Duration::from_secs(30),
            postgres_ready_timeout: Duration::from_secs(15),
            presence_budget: PresenceBudget::default(),
            presence_limits: PresenceLimits::default(),
            http_fallback: false,
            http_broadcasts: 64,
        })
    }

    /// The defaults for a project's URL, such as `https://abc.supabase.co`: `/realtime/v1`, where
    /// the gateway has the socket, is appended unless there is a path already.
    ///
    /// # Errors
    /// As [`Config::new`].
    pub fn for_project(project_url: &str, api_key: &str) -> Result<Self, SupabaseConfigError> {
        let (base, rest) = project_url.split_at(project_url.find(['?', '#']).unwrap_or(project_url.len()));
        let base = base.trim_end_matches('/');
        match base.split_once("://") {
            Some((_, host)) if !host.contains('/') => Self::new(&alloc::format!("{base}/realtime/v1{rest}"), api_key),
            _ => Self::new(project_url, api_key),
        }
    }

    /// The socket's configuration, with the key and the other words to the server in their places.
    pub(crate) fn to_phoenix(&self) -> phoenix::Config {
        let mut config = self.phoenix.clone();

        let ours = |name: &str| name == API_KEY_PARAM || (name == LOG_LEVEL_PARAM && self.log_level.is_some());
        config.params.retain(|(name, _)| !ours(name));
        let key = (self.key_in == KeyIn::Query).then(|| (API_KEY_PARAM, self.api_key.expose()));
        let log_level = self.log_level.map(|level| (LOG_LEVEL_PARAM, level.as_str()));
        let first = key.into_iter().chain(log_level).map(|(name, value)| (name.to_string(), value.to_string()));
        config.params.splice(0..0, first);

        if self.key_in == KeyIn::Header {
            config.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(API_KEY_HEADER));
            config.headers.insert(0, (Text::from_static(API_KEY_HEADER), self.api_key.expose().into()));
        }
        if !config.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CLIENT_HEADER)) {
            config.headers.insert(0, (Text::from_static(CLIENT_HEADER), Text::from_static(CLIENT)));
        }
        config
    }
}

/// Where the API key is sent when the connection is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyIn {
    /// As the parameter `apikey` of the URL's query (the default), as Supabase's own clients do.
    #[default]
    Query,
    /// As the header `x-api-key`, which servers prefer to the parameter (specification, section 1.3)
    /// and which does not end up in access logs. Ask for it only where no gateway wants the parameter.
    Header,
}

/// What the server logs about a connection. A type and not a text, because servers take any other
/// word, such as `warn`, for `error` without a word (specification, trap T83).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLevel {
    /// Information, warnings and errors.
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors only.
    Error,
}

impl LogLevel {
    /// As it stands in the query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Why a [`Config`] could not be made. It does not repeat the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupabaseConfigError {
    /// The URL is not one of a socket.
    Endpoint(EndpointError),
    /// The key is missing, or no key.
    ApiKey(ApiKeyError),
}

impl From<EndpointError> for SupabaseConfigError {
    fn from(error: EndpointError) -> Self {
        Self::Endpoint(error)
    }
}

impl From<ApiKeyError> for SupabaseConfigError {
    fn from(error: ApiKeyError) -> Self {
        Self::ApiKey(error)
    }
}

impl fmt::Display for SupabaseConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "the URL is not one of a Realtime server: {error}"),
            Self::ApiKey(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SupabaseConfigError {}

/// The URL without an `apikey` in its query.
fn without_key(url: &str) -> String {
    let Some((base, query)) = url.split_once('?') else { return url.into() };
    let mut kept = String::from(base);
    let mut mark = '?';
    for pair in query.split('&').filter(|pair| pair.split('=').next() != Some(API_KEY_PARAM)) {
        kept.push(core::mem::replace(&mut mark, '&'));
        kept.push_str(pair);
    }
    kept
}

/// What a server takes in one frame.
const SERVER_FRAME_BYTES: usize = 5_000_000;
const API_KEY_PARAM: &str = "apikey";
const LOG_LEVEL_PARAM: &str = "log_level";
const API_KEY_HEADER: &str = "x-api-key";
const CLIENT_HEADER: &str = "x-client-info";
const CLIENT: &str = concat!("rejoin/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn dialled(config: &Config) -> String {
        let phoenix = config.to_phoenix();
        phoenix.endpoint.url(&phoenix.params, phoenix.serializer)
    }

    fn headers(config: &Config) -> Vec<(String, String)> {
        config.to_phoenix().headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn config() -> Config {
        Config::for_project("https://abc.supabase.co", "key").unwrap()
    }

    fn param(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn urls_are_dialled_with_the_key_first_and_the_vsn_last() {
        for (url, key, dials) in [
            ("wss://h/realtime/v1", "k", "wss://h/realtime/v1/websocket?apikey=k&vsn=2.0.0"),
            ("https://h/realtime/v1/", "k", "wss://h/realtime/v1/websocket?apikey=k&vsn=2.0.0"),
            ("http://h:54321/realtime/v1///", "k", "ws://h:54321/realtime/v1/websocket?apikey=k&vsn=2.0.0"),
            ("ws://localhost:4000/socket/websocket", "k", "ws://localhost:4000/socket/websocket?apikey=k&vsn=2.0.0"),
            ("ws://[::1]:4000/socket", "k", "ws://[::1]:4000/socket/websocket?apikey=k&vsn=2.0.0"),
            ("wss://h/team/a/realtime/v1", "k", "wss://h/team/a/realtime/v1/websocket?apikey=k&vsn=2.0.0"),
            ("wss://h/r?a=1&b=%20", "k", "wss://h/r/websocket?a=1&b=%20&apikey=k&vsn=2.0.0"),
            ("wss://h/r?apikey=old&vsn=1.0.0", "k", "wss://h/r/websocket?apikey=k&vsn=2.0.0"),
            ("wss://h/r?a=1&apikey=old#top", "k", "wss://h/r/websocket?a=1&apikey=k&vsn=2.0.0"),
            ("wss://h/r", "a+b&c=d%e/f", "wss://h/r/websocket?apikey=a%2Bb%26c%3Dd%25e%2Ff&vsn=2.0.0"),
            ("wss://h/r", " sb_publishable_1\n", "wss://h/r/websocket?apikey=sb_publishable_1&vsn=2.0.0"),
        ] {
            assert_eq!(dialled(&Config::new(url, key).unwrap()), dials, "{url}");
        }
    }

    #[test]
    fn a_projects_url_gets_the_gateways_path_unless_it_has_one() {
        for (url, endpoint) in [
            ("https://abc.supabase.co", "wss://abc.supabase.co/realtime/v1/websocket"),
            ("https://abc.supabase.co/", "wss://abc.supabase.co/realtime/v1/websocket"),
            ("http://[::1]:54321", "ws://[::1]:54321/realtime/v1/websocket"),
            ("https://abc.supabase.co/realtime/v1", "wss://abc.supabase.co/realtime/v1/websocket"),
            ("https://abc.supabase.co/realtime/v1/websocket", "wss://abc.supabase.co/realtime/v1/websocket"),
            ("ws://localhost:4000/socket", "ws://localhost:4000/socket/websocket"),
        ] {
            assert_eq!(Config::for_project(url, "k").unwrap().phoenix.endpoint.to_string(), endpoint, "{url}");
        }
        let with_query = Config::for_project("https://abc.supabase.co?a=/", "k").unwrap();
        assert_eq!(dialled(&with_query), "wss://abc.supabase.co/realtime/v1/websocket?a=/&apikey=k&vsn=2.0.0");
    }

    #[test]
    fn parameters_of_the_user_are_encoded_and_override_nothing() {
        let mut config = config();
        config.phoenix.params =
            [param("apikey", "other"), param("vsn", "9"), param("é +", "a&b=c%"), param("log_level", "warn")].into();
        let all = "wss://abc.supabase.co/realtime/v1/websocket?apikey=key&%C3%A9%20%2B=a%26b%3Dc%25";
        assert_eq!(dialled(&config), format!("{all}&log_level=warn&vsn=2.0.0"));
        config.log_level = Some(LogLevel::Warning);
        let all = all.replace("apikey=key", "apikey=key&log_level=warning");
        assert_eq!(dialled(&config), format!("{all}&vsn=2.0.0"));
    }

    #[test]
    fn the_key_goes_into_the_query_or_into_a_header() {
        let mut config = config();
        assert_eq!(headers(&config), [param("x-client-info", CLIENT)]);
        config.key_in = KeyIn::Header;
        config.phoenix.headers = [("X-Api-Key".into(), "other".into()), ("x-team".into(), "a".into())].into();
        assert_eq!(dialled(&config), "wss://abc.supabase.co/realtime/v1/websocket?vsn=2.0.0");
        let sent = [param("x-client-info", CLIENT), param("x-api-key", "key"), param("x-team", "a")];
        assert_eq!(headers(&config), sent);
    }

    #[test]
    fn an_application_may_name_itself() {
        let mut config = config();
        config.phoenix.headers = [("X-Client-Info".into(), "tracker/7".into())].into();
        assert_eq!(headers(&config), [param("X-Client-Info", "tracker/7")]);
    }

    #[test]
    fn what_cannot_be_dialled_is_named() {
        let error = |url, key| Config::for_project(url, key).unwrap_err();
        assert_eq!(error("https://h", " "), SupabaseConfigError::ApiKey(ApiKeyError::Empty));
        assert_eq!(error("https://h", "a b"), SupabaseConfigError::ApiKey(ApiKeyError::Characters));
        assert_eq!(error("https://", "k"), SupabaseConfigError::Endpoint(EndpointError::NoHost));
        assert_eq!(error("abc.supabase.co", "k"), SupabaseConfigError::Endpoint(EndpointError::NoScheme));
        assert!(error("ftp://h", "k").to_string().ends_with("use ws, wss, http or https"));
        assert!(error("https://h", "").to_string().starts_with("the apikey is missing; give "));
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = Config::new("wss://u:secret@h/r?token=secret", "secret").unwrap();
        config.access_token = Some(AccessToken::new("secretsecret.e30.secretsecret").unwrap());
        config.phoenix.params.push(param("token", "secret"));
        config.phoenix.headers.push(("authorization".into(), "secret".into()));
        config.key_in = KeyIn::Header;
        for shown in [format!("{config:?}"), format!("{:?}", config.to_phoenix())] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    fn urls() -> impl Strategy<Value = String> {
        let base = "(wss?|https?|x)://[a-z:]{1,6}(/[a-z/]{0,8})?";
        let query = "(\\?[a&=]{0,4}(&apikey=OTHER)?[&a]{0,4})?";
        prop_oneof![(base, query).prop_map(|(base, query)| base + &query), "\\PC{0,20}"]
    }

    proptest! {
        #[test]
        fn any_url_is_dialled_with_one_key_or_refused(url in urls(), key in "[!-~]{1,20}") {
            for config in [Config::new(&url, &key), Config::for_project(&url, &key)].into_iter().flatten() {
                let dialled = dialled(&config);
                prop_assert_eq!(dialled.matches("apikey=").count(), 1);
                prop_assert!(!dialled.contains("OTHER") && dialled.ends_with("&vsn=2.0.0"), "{}", dialled);
            }
        }
    }
}
