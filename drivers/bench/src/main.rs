//! The drivers as a load client: `rejoin-bench smol|tokio [supabase] URL KIND N SIZE CHANNELS [SOCKETS]`.
//!
//! It talks to a load server that streams on the event `go`, answers `ping` and counts `up`, and
//! prints one line of JSON. Everything runs on one thread: the pumps as tasks, the reader beside
//! them. KIND is `broadcast`, `broadcast_bin`, `postgres_changes`, `presence_diff` (N messages
//! down, round robin over the channels), `up` (N messages of SIZE bytes), `ping` (N round trips)
//! or `idle` (only joins). With `supabase` it speaks that dialect, in which it knows all but `up` and
//! `ping`.

#![forbid(unsafe_code)]

mod meter;
mod supabase;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use meter::{Meter, Report};
use rejoin_pump::core::Payload;
use rejoin_pump::core::phoenix::{Config, JoinOptions, Push, PushOutcome};
use rejoin_pump::{Channel, ChannelEvent, Client, Inbox, InboxEvent, Inflow};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let Some(args) = Args::parse() else {
        eprintln!("usage: rejoin-bench smol|tokio [supabase] URL KIND N SIZE CHANNELS [SOCKETS]");
        return ExitCode::from(2);
    };
    // Reader and pumps are tasks of one thread, which take turns; a future that is blocked on would
    // get a turn only once in a while.
    let args = Arc::new(args);
    let result = match args.runtime.as_str() {
        "smol" => on_smol(args.clone()),
        _ => on_tokio(args.clone()),
    };
    match result {
        Ok(report) => {
            println!("{}", report.line(&args));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rejoin-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn on_smol(args: Arc<Args>) -> Result<Report, Failure> {
    let executor = Arc::new(smol::Executor::new());
    let tasks = executor.clone();
    let job = async move {
        if args.supabase {
            let connect = |config| {
                let (client, pump) = rejoin_smol::supabase::connect(config);
                tasks.spawn(pump).detach();
                client
            };
            return supabase::drive(&args, connect).await;
        }
        let connect = |config| {
            let (client, pump) = rejoin_smol::connect(config);
            tasks.spawn(pump).detach();
            client
        };
        drive(&args, connect).await
    };
    smol::block_on(executor.run(executor.spawn(job)))
}

fn on_tokio(args: Arc<Args>) -> Result<Report, Failure> {
    let job = async move {
        if args.supabase {
            let connect = |config| {
                let (client, pump) = rejoin_tokio::supabase::connect(config);
                tokio::spawn(pump);
                client
            };
            return supabase::drive(&args, connect).await;
        }
        let connect = |config| {
            let (client, pump) = rejoin_tokio::connect(config);
            tokio::spawn(pump);
            client
        };
        drive(&args, connect).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::spawn(job).await? })
}

struct Args {
    runtime: String,
    supabase: bool,
    url: String,
    kind: String,
    n: usize,
    size: usize,
    channels: usize,
    sockets: usize,
}

impl Args {
    fn parse() -> Option<Self> {
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        let supabase = words.get(1).is_some_and(|word| word == "supabase");
        if supabase {
            words.remove(1);
        }
        let number = |at: usize| words.get(at).map_or(Some(1), |word| word.parse().ok());
        let runtime = words.first().filter(|word| *word == "smol" || *word == "tokio")?;
        Some(Self {
            runtime: runtime.clone(),
            supabase,
            url: words.get(1)?.clone(),
            kind: words.get(2)?.clone(),
            n: number(3)?,
            size: number(4)?,
            channels: number(5)?,
            sockets: number(6)?,
        })
    }
}

struct Socket {
    client: Client,
    channels: Vec<Channel>,
    inbox: Inbox,
}

async fn drive(args: &Args, connect: impl Fn(Config) -> Client) -> Result<Report, Failure> {
    let mut report = Report::new(&format!("rejoin-{}", args.runtime));
    let meter = Meter::start();
    let mut sockets = Vec::new();
    for _ in 0..args.sockets {
        let mut config = Config::new(&format!("{}/socket", args.url))?;
        config.limits.joins_in_flight = usize::MAX;
        sockets.push(join_all(connect(config), args).await?);
    }
    report.joined(&meter);
    let socket = &mut sockets[0];
    match args.kind.as_str() {
        "broadcast" | "broadcast_bin" | "postgres_changes" | "presence_diff" => {
            receive(socket, args, &mut report).await?
        }
        "up" => send(socket, args, &mut report).await?,
        "ping" => ping(socket, args, &mut report).await?,
        _ => {}
    }
    for socket in &sockets {
        socket.client.close().await;
    }
    Ok(report)
}

/// Joins every channel into one inbox and waits for all answers.
async fn join_all(client: Client, args: &Args) -> Result<Socket, Failure> {
    let (handle, mut inbox) = client.inbox(Inflow::default()).await?;
    let payload = Payload::from_json_text(if args.kind == "postgres_changes" { POSTGRES_JOIN } else { "{}" })?;
    let mut channels = Vec::with_capacity(args.channels);
    for number in 0..args.channels {
        let options = JoinOptions::with_payload(payload.clone());
        channels.push(client.join_into(handle, format!("realtime:b{number}"), options).await?);
    }
    let mut joined = 0;
    while joined < args.channels {
        match inbox.next().await {
            Some(InboxEvent::Channel { event: ChannelEvent::Joined { .. }, .. }) => joined += 1,
            Some(InboxEvent::Channel { event: ChannelEvent::JoinFailed { failure, .. }, .. }) => {
                return Err(failure.to_string().into());
            }
            Some(_) => {}
            None => return Err("the client closed before everything was joined".into()),
        }
    }
    Ok(Socket { client, channels, inbox })
}

async fn receive(socket: &mut Socket, args: &Args, report: &mut Report) -> Result<(), Failure> {
    let go = Push::new("go", Payload::from_json_text(go(args))?).without_reply();
    drop(socket.channels[0].push(go).await?);
    let mut meter = None;
    let mut delivered = 0;
    while delivered < args.n {
        match socket.inbox.next().await {
            Some(InboxEvent::Channel { event: ChannelEvent::UserBroadcast { payload, .. }, .. }) => {
                std::hint::black_box(&payload);
                delivered += 1;
                meter.get_or_insert_with(Meter::start);
            }
            Some(InboxEvent::Channel { event: ChannelEvent::Message { event, payload }, .. }) => {
                if matches!(event.as_bytes(), b"broadcast" | b"postgres_changes" | b"presence_diff") {
                    std::hint::black_box(&payload);
                    delivered += 1;
                    meter.get_or_insert_with(Meter::start);
                }
            }
            Some(_) => {}
            None => return Err("the client closed in the middle of the stream".into()),
        }
    }
    report.measured(&meter.unwrap_or_else(Meter::start), delivered);
    Ok(())
}

/// What the load server is to stream.
fn go(args: &Args) -> String {
    format!(r#"{{"n":{},"size":{},"kind":"{}","spread":true}}"#, args.n, args.size, args.kind)
}

async fn send(socket: &mut Socket, args: &Args, report: &mut Report) -> Result<(), Failure> {
    let pad = "x".repeat(args.size.saturating_sub(10));
    let up = format!(r#"{{"type":"broadcast","event":"up","payload":{{"pad":"{pad}"}}}}"#);
    let up = Push::new("broadcast", Payload::from_json_text(up)?).without_reply();
    let channel = &socket.channels[0];
    let meter = Meter::start();
    for _ in 0..args.n {
        drop(channel.push(up.clone()).await?);
    }
    drop(channel.push(Push::new("end", Payload::EMPTY).without_reply()).await?);
    loop {
        match socket.inbox.next().await {
            Some(InboxEvent::Channel { event: ChannelEvent::Message { payload, .. }, .. }) => {
                let expected = format!(r#""n":{}"#, args.n);
                if payload.as_json().is_some_and(|json| json.contains(&expected)) {
                    break;
                }
                return Err("the server counted something else".into());
            }
            Some(_) => {}
            None => return Err("the client closed before the server had counted".into()),
        }
    }
    report.measured(&meter, args.n);
    Ok(())
}

async fn ping(socket: &mut Socket, args: &Args, report: &mut Report) -> Result<(), Failure> {
    let meter = Meter::start();
    for _ in 0..args.n {
        let sent = Instant::now();
        match socket.channels[0].push(Push::new("ping", Payload::EMPTY)).await?.await? {
            PushOutcome::Ok(_) => report.round_trip(sent.elapsed()),
            other => return Err(format!("a ping ended as {other:?}").into()),
        }
    }
    report.measured(&meter, args.n);
    Ok(())
}

const POSTGRES_JOIN: &str = r#"{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"private":false,"postgres_changes":[{"event":"INSERT","schema":"public","table":"todos"}]}}"#;
