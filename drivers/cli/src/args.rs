//! What can be typed. Values are taken as text and checked in `input`, whose messages fit one line.

use std::fmt;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// The heading of options that mean nothing to another dialect.
const OF_SUPABASE: &str = "Options of --dialect supabase";
/// The headings of what `serve` lets in, and how much of it.
const ACCESS: &str = "Who may come";
const LIMITS: &str = "Limits";
/// What a program that reads `listen` can meet; people read the same words with spaces in between.
const EVENTS: &str = "\
Every line of --json has at_ms, in milliseconds since 1970, and event, which is one of
  connected, disconnected, transport_changed, gave_up, heartbeat, closed
  joined, join_failed, channel_errored, channel_closed, gap, message, malformed
and with --dialect supabase of these, too
  broadcast, system, token_refreshed, token_expired, token_unavailable
  postgres_ready, postgres_failed, postgres_change, fell_back_to_http
  presence_sync, presence_join, presence_update, presence_leave, presence_trouble, track_failed";

/// Realtime channels that always come back: talk to Phoenix Channels and Supabase Realtime, serve
/// Phoenix Channels, or read a recorded conversation.
#[derive(Debug, Parser)]
#[command(name = "rejoin", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch two clients on two runtimes meet in a room, lose the connection and come back.
    Demo,
    /// Serve a chat-like Phoenix socket: any topic may be joined, pushes go to the others in it.
    ///
    /// Clients come to ws://ADDR:PORT/socket by WebSocket or long-poll. Each push is answered with ok;
    /// a ping comes back to its sender alone. Tokens are read from the parameters token and apikey, the
    /// headers x-api-key and authorization (Bearer), and the subprotocols of phoenix.js.
    Serve(ServeArgs),
    /// Join topics and print what happens, through every loss of the connection.
    #[command(after_help = EVENTS)]
    Listen(ListenArgs),
    /// Join a topic, push messages into it and leave.
    Send(SendArgs),
    /// Go the whole way to a server, from its name to a message that comes back, and print how each
    /// step stands and what to do.
    Doctor(DoctorArgs),
    /// Print a recorded conversation decoded, a line a frame, and mark what is malformed.
    Explain(ExplainArgs),
}

#[derive(Debug, Group)]
pub(crate) struct ExplainArgs {
    /// A recording: of `listen --record`, of the tests, or the trace of a simulation.
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
}

#[derive(Debug, Group)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 is a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4000", allow_hyphen_values = true)]
    pub(crate) listen: String,
    /// Keep the newest N messages of each topic, for joins that ask for them: with the payload
    /// {"history":{"last":20}}, or with the epoch and the offset that an earlier answer brought.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) history: Option<String>,
    /// How long clients have to leave after Ctrl-C, which tells them to come back; a second Ctrl-C
    /// ends it at once.
    #[arg(long, value_name = "DURATION", default_value = "3s", allow_hyphen_values = true)]
    pub(crate) drain: String,
    /// Say on stderr who comes and goes, too, and leave nothing out.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// The async runtime that does the work.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) runtime: RuntimeName,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Who may come. The variable is read there and nowhere else, so that no help shows what is in it.
#[derive(Group)]
#[command(next_help_heading = ACCESS)]
pub(crate) struct AccessArgs {
    /// Let in who has a token (JWT) signed with this secret of 32 bytes or more; default is the
    /// variable REJOIN_JWT_SECRET.
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    pub(crate) jwt_secret: Option<String>,
    /// Let in who has a token signed with a key of this JSON Web Key Set. With --jwt-secret either
    /// will do.
    #[arg(long, value_name = "FILE")]
    pub(crate) jwks: Option<String>,
    /// Let everybody in; the default where only this machine can come, and nowhere else.
    #[arg(long)]
    pub(crate) no_auth: bool,
    /// Web pages that may connect: an origin such as https://example.com or //*.example.com, or any;
    /// default are those of the server's own host, or of this machine where nobody has to show a token.
    /// May be repeated.
    #[arg(long, value_name = "ORIGIN", allow_hyphen_values = true)]
    pub(crate) origin: Vec<String>,
}

/// How much of anything. Those of a client are of each connection.
#[derive(Debug, Group)]
#[command(next_help_heading = LIMITS)]
pub(crate) struct LimitArgs {
    /// Clients at a time; default 100000.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) max_connections: Option<String>,
    /// Channels of a client; default 100.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) max_channels: Option<String>,
    /// The largest message of a client, in bytes or such as 64KiB; default 16MiB.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) max_message_bytes: Option<String>,
    /// The longest topic that may be joined; default 255.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) max_topic_bytes: Option<String>,
    /// Joins of a client; default no limit.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) joins_per_second: Option<String>,
    /// Messages of a client; default no limit.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) messages_per_second: Option<String>,
    /// Bytes of a client's joins and messages, of which none may be larger; default no limit.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) bytes_per_second: Option<String>,
    /// How long a client on a WebSocket may be silent; default 60s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) idle_timeout: Option<String>,
    /// What may wait for a client that reads slowly; default 16MiB.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) outbox_bytes: Option<String>,
    /// What happens to a message when more would wait than that.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) overflow: OverflowName,
}

/// What every client command has.
#[derive(Debug, Group)]
pub(crate) struct ConnectionArgs {
    /// Whose protocol the server speaks.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dialect: Dialect,
    /// The version of Phoenix's serializer.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) vsn: Vsn,
    /// What carries the messages; auto takes long-poll where no WebSocket gets through.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: TransportName,
    /// A query parameter of the socket; may be repeated.
    #[arg(long, value_name = "K=V", allow_hyphen_values = true)]
    pub(crate) param: Vec<String>,
    /// The async runtime that does the work.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) runtime: RuntimeName,
}

/// Which project, who comes, and to which kind of channels. Variables are read there and nowhere
/// else, so that no help shows what is in them.
#[derive(Group)]
#[command(next_help_heading = OF_SUPABASE)]
pub(crate) struct ProjectArgs {
    /// The project's anon or publishable key; default is the variable SUPABASE_KEY.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) apikey: Option<String>,
    /// The user's access token; default is the variable SUPABASE_TOKEN, else to come as the key's role.
    #[arg(long, value_name = "JWT", allow_hyphen_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the access token, which is read anew whenever one is wanted.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<String>,
    /// Join private channels: the database's policies decide who may.
    #[arg(long)]
    pub(crate) private: bool,
}

/// What `listen` and `send` have besides with `--dialect supabase`.
#[derive(Debug, Group)]
#[command(next_help_heading = OF_SUPABASE)]
pub(crate) struct SupabaseArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Join with `self`: the client's own broadcasts come back to it.
    #[arg(long = "self")]
    pub(crate) echo: bool,
    /// Join with `ack`: the server answers broadcasts. `send` waits for the answers and prints them.
    #[arg(long)]
    pub(crate) ack: bool,
}

/// What `listen` alone has besides with `--dialect supabase`.
#[derive(Debug, Group)]
#[command(next_help_heading = OF_SUPABASE)]
pub(crate) struct HearingArgs {
    /// Hear of changes in the database: EVENT is insert, update, delete or *, SCHEMA and TABLE may be *,
    /// and FILTER is such as id=eq.7. May be repeated.
    #[arg(long, value_name = "SCHEMA.TABLE[:EVENT[:FILTER]]", allow_hyphen_values = true)]
    pub(crate) postgres_changes: Vec<String>,
    /// Hear who comes and goes.
    #[arg(long)]
    pub(crate) presence: bool,
    /// What one's own presence is listed under; default is a key that the server makes up.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) presence_key: Option<String>,
    /// Be listed as present with this JSON object for as long as this listens; needs --presence.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) track: Option<String>,
    /// Hear first what was broadcast since then: a time such as 2026-01-31T12:00:00Z, a time ago such
    /// as 10m, or milliseconds since 1970. Only on private channels.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) replay_since: Option<String>,
    /// Hear first the newest N of these, 1 to 25; default 25.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) replay_limit: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ListenArgs {
    /// The socket's base, such as ws://localhost:4000/socket, or a Supabase project's URL, such as
    /// https://PROJECT.supabase.co; http(s) and a final /websocket are fine.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Topics to join. Supabase's are written with or without `realtime:`, and printed with it.
    #[arg(value_name = "TOPIC", required = true)]
    pub(crate) topics: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit after N messages, broadcasts and rows.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) count: Option<String>,
    /// Exit after this time, such as 30s.
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) time: Option<String>,
    /// The payload of every join; default {}. Only of Phoenix: Supabase's are made of other options.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) join_payload: Option<String>,
    /// How often a heartbeat is sent; default 30s, with Supabase 25s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) heartbeat: Option<String>,
    /// Write the conversation, credentials taken out, for `rejoin explain` and for replays.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<String>,
    #[command(flatten)]
    pub(crate) supabase: SupabaseArgs,
    #[command(flatten)]
    pub(crate) hearing: HearingArgs,
}

#[derive(Debug, Group)]
pub(crate) struct SendArgs {
    /// The socket's base, such as ws://localhost:4000/socket, or a Supabase project's URL, such as
    /// https://PROJECT.supabase.co; http(s) and a final /websocket are fine.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// The topic to join. Supabase's are written with or without `realtime:`.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The event to push, or to broadcast with --dialect supabase.
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,
    /// JSON, or - to read it from the standard input; default {}.
    #[arg(value_name = "PAYLOAD", allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Push N times; default 1.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) count: Option<String>,
    /// Push N times a second; default as fast as the server takes them.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) rate: Option<String>,
    /// Wait for the replies and print them. With Supabase the same as --ack.
    #[arg(long)]
    pub(crate) reply: bool,
    /// How long connecting and joining may take, and then each reply.
    #[arg(long, value_name = "DURATION", default_value = "10s", allow_hyphen_values = true)]
    pub(crate) timeout: String,
    #[command(flatten)]
    pub(crate) supabase: SupabaseArgs,
    /// Send over HTTP, a request a broadcast, without joining.
    #[arg(long, help_heading = OF_SUPABASE)]
    pub(crate) http: bool,
}

#[derive(Debug, Group)]
pub(crate) struct DoctorArgs {
    /// The socket's base, such as ws://localhost:4000/socket, or a Supabase project's URL, such as
    /// https://PROJECT.supabase.co; http(s) and a final /websocket are fine.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// The topic to join; default rejoin-doctor with Supabase, and none of Phoenix.
    #[arg(long, value_name = "TOPIC", allow_hyphen_values = true)]
    pub(crate) channel: Option<String>,
    /// What is pushed into a Phoenix channel, which has to answer it; default ping.
    #[arg(long, value_name = "EVENT", allow_hyphen_values = true)]
    pub(crate) event: Option<String>,
    /// How long each step may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", allow_hyphen_values = true)]
    pub(crate) timeout: String,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// See whether changes in the database are told, too: EVENT is insert, update, delete or *, SCHEMA
    /// and TABLE may be *, and FILTER is such as id=eq.7. May be repeated.
    #[arg(
        long,
        value_name = "SCHEMA.TABLE[:EVENT[:FILTER]]",
        allow_hyphen_values = true,
        help_heading = OF_SUPABASE
    )]
    pub(crate) postgres_changes: Vec<String>,
}

/// Without the credentials.
impl fmt::Debug for ProjectArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectArgs").finish_non_exhaustive()
    }
}

/// Without the secret.
impl fmt::Debug for AccessArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessArgs").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverflowName {
    /// The client is cut off, and starts anew.
    #[default]
    Close,
    /// It is dropped.
    DropNewest,
    /// The oldest ones are dropped.
    DropOldest,
    /// The same; besides, it takes the place of one of the same event that still waits.
    Latest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeName {
    #[default]
    Smol,
    Tokio,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    #[default]
    Phoenix,
    Supabase,
    Sente,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportName {
    #[default]
    Websocket,
    Longpoll,
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Vsn {
    #[value(name = "1")]
    One,
    #[default]
    #[value(name = "2")]
    Two,
}
