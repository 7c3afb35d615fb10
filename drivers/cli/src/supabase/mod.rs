//! What `--dialect supabase` needs, checked before anything is dialled: a project, its key, who
//! joins its channels, and how.

mod binding;
mod replay;

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, SystemTime};

use rejoin_core::Text;
use rejoin_core::supabase::{
    AccessToken, AuthError, ChannelConfig, Config, PostgresBinding, SupabaseConfigError, topic_of,
};
use rejoin_core::wire::Serializer;
use rejoin_pump::supabase::ConnectOptions;
use rejoin_pump::{BoxFuture, Tap, TokenProvider, TokenProviderError};

use crate::args::{ConnectionArgs, HearingArgs, ProjectArgs, SupabaseArgs};
use crate::failure::Failure;
use crate::input;
use crate::secret::Secret;

const KEY: &str = "SUPABASE_KEY";
const TOKEN: &str = "SUPABASE_TOKEN";
/// What one byte of a binary frame's header can count to.
const NAME_BYTES: usize = 255;

/// A project, and how its channels are joined.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) config: Config,
    pub(crate) channel: ChannelConfig,
    pub(crate) tokens: Option<TokenFile>,
}

impl Project {
    pub(crate) fn check(url: &str, connection: &ConnectionArgs, args: &ProjectArgs) -> Result<Self, Failure> {
        let key = Secret::given("--apikey", args.apikey.as_deref(), KEY)?;
        let (name, key) = key.as_ref().map_or(("--apikey", ""), |key| (key.name, &key.value));
        let mut config = Config::for_project(url, key).map_err(|error| match error {
            SupabaseConfigError::Endpoint(error) => Failure::usage("URL", error),
            error if key.trim().is_empty() => Failure::usage(name, format!("{error} with --apikey or {KEY}")),
            error => Failure::usage(name, error),
        })?;
        input::connect_as(connection, &mut config.phoenix);
        config.phoenix.params = params(&connection.param)?;

        let tokens = match (&args.token, &args.token_file) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("--token-file", "there is --token, too; give one of them"));
            }
            (_, file) => file.clone().map(TokenFile),
        };
        match &tokens {
            Some(file) => {
                let token = file.read().map_err(|error| Failure::usage("--token-file", error))?;
                not_expired("--token-file", &token)?;
            }
            None => {
                if let Some(Secret { name, value }) = Secret::given("--token", args.token.as_deref(), TOKEN)? {
                    let token = AccessToken::new(value).map_err(|error| Failure::usage(name, error))?;
                    not_expired(name, &token)?;
                    config.access_token = Some(token);
                }
            }
        }

        let mut channel = ChannelConfig::default();
        channel.private = args.private;
        Ok(Self { config, channel, tokens })
    }

    /// The same, with what `listen` and `send` may ask for.
    pub(crate) fn check_broadcasts(
        url: &str,
        connection: &ConnectionArgs,
        args: &SupabaseArgs,
    ) -> Result<Self, Failure> {
        let mut project = Self::check(url, connection, &args.project)?;
        (project.channel.broadcast.echo, project.channel.broadcast.ack) = (args.echo, args.ack);
        Ok(project)
    }

    /// Takes note of what is to be heard besides broadcasts.
    pub(crate) fn hear(&mut self, args: &HearingArgs) -> Result<(), Failure> {
        self.channel.postgres_changes = bindings(&args.postgres_changes)?;
        for (name, given) in [("--presence-key", args.presence_key.is_some()), ("--track", args.track.is_some())] {
            if given && !args.presence {
                return Err(Failure::usage(name, "it is about presence, which is not asked for; add --presence"));
            }
        }
        self.channel.presence.enabled = args.presence;
        self.channel.presence.key = args.presence_key.as_deref().map(presence_key).transpose()?;
        self.channel.broadcast.replay =
            replay::replay(args.replay_since.as_deref(), args.replay_limit.as_deref(), SystemTime::now())?;
        match self.channel.broadcast.replay {
            Some(_) if !self.channel.private => {
                Err(Failure::usage("--replay-since", "only private channels replay broadcasts; add --private"))
            }
            _ => Ok(()),
        }
    }

    /// The token that channels are joined with at this moment.
    pub(crate) fn token(&self) -> Option<AccessToken> {
        match &self.tokens {
            Some(file) => file.read().ok(),
            None => self.config.access_token.clone(),
        }
    }

    /// Options of a client that waits to be told to connect: nothing may happen before the inbox is
    /// there to see it.
    pub(crate) fn options(tokens: Option<TokenFile>, tap: Option<Box<dyn Tap>>) -> ConnectOptions {
        let mut options = ConnectOptions::default();
        (options.connect, options.tap) = (false, tap);
        match tokens {
            Some(tokens) => options.token_provider(tokens),
            None => options,
        }
    }
}

/// What a client is listed under.
fn presence_key(text: &str) -> Result<Text, Failure> {
    match text {
        "" => Err(Failure::usage("--presence-key", "it is empty; write a name such as ann, or leave it out")),
        key => Ok(key.into()),
    }
}

/// The database changes to hear of.
pub(crate) fn bindings(texts: &[String]) -> Result<Vec<PostgresBinding>, Failure> {
    texts.iter().map(|text| binding::binding(text)).collect()
}

/// Options that mean nothing to another dialect are not ignored in silence.
pub(crate) fn refuse_options(given: impl IntoIterator<Item = (&'static str, bool)>) -> Result<(), Failure> {
    match given.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Failure::usage(name, "it is Supabase's; add --dialect supabase, or leave it out")),
        None => Ok(()),
    }
}

impl ProjectArgs {
    pub(crate) const fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("--apikey", self.apikey.is_some()),
            ("--token", self.token.is_some()),
            ("--token-file", self.token_file.is_some()),
            ("--private", self.private),
        ]
    }
}

impl SupabaseArgs {
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.project.given().into_iter().chain([("--self", self.echo), ("--ack", self.ack)])
    }
}

impl HearingArgs {
    pub(crate) const fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("--postgres-changes", !self.postgres_changes.is_empty()),
            ("--presence", self.presence),
            ("--presence-key", self.presence_key.is_some()),
            ("--track", self.track.is_some()),
            ("--replay-since", self.replay_since.is_some()),
            ("--replay-limit", self.replay_limit.is_some()),
        ]
    }
}

/// A channel's topic, with its `realtime:`.
pub(crate) fn topic(argument: &str, text: &str) -> Result<Text, Failure> {
    topic_of(text).map_err(|error| Failure::usage(argument, error))
}

/// An event that can be broadcast.
pub(crate) fn event(text: &str) -> Result<Text, Failure> {
    match text {
        "" => Err(Failure::usage("EVENT", "it is empty; write a name such as cursor")),
        event => Ok(event.into()),
    }
}

/// What goes into the header of a binary broadcast has to fit.
pub(crate) fn name_fits(argument: &str, name: &str, serializer: Serializer) -> Result<(), Failure> {
    match name.len() {
        len if serializer == Serializer::V2 && len > NAME_BYTES => Err(Failure::usage(
            argument,
            format!("it has {len} bytes and vsn 2 takes {NAME_BYTES}; write a shorter one, or use --vsn 1"),
        )),
        _ => Ok(()),
    }
}

/// `K=V` pairs for the socket's query.
fn params(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let params = input::params(texts)?;
    if params.iter().any(|(key, _)| key == "apikey") {
        return Err(Failure::usage("--param", format!("apikey is set with --apikey or {KEY}")));
    }
    Ok(params)
}

/// A file that holds the access token of the moment, as somebody else keeps it.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(String);

impl TokenFile {
    fn read(&self) -> Result<AccessToken, String> {
        let Self(file) = self;
        let fail = |error: std::io::Error| format!("{file}: {error}; name a file that holds an access token");
        let (mut text, most) = (String::new(), AccessToken::MAX_BYTES as u64 + 1);
        File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)).map_err(fail)?;
        AccessToken::new(text).map_err(|error| format!("{file}: {error}"))
    }
}

impl TokenProvider for TokenFile {
    fn token(&mut self) -> BoxFuture<Result<Option<AccessToken>, TokenProviderError>> {
        let file = self.clone();
        // A thread of its own may wait for the disk.
        Box::pin(smol::unblock(move || file.read().map(Some).map_err(TokenProviderError::from)))
    }
}

fn not_expired(name: &str, token: &AccessToken) -> Result<(), Failure> {
    let unix_now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    if token.is_expired(unix_now) { Err(Failure::usage(name, AuthError::Expired)) } else { Ok(()) }
}
