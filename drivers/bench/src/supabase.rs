//! The Supabase dialect as a load client: joins, and broadcasts, row changes or presence down.

use futures_util::future::try_join_all;
use rejoin_pump::Inflow;
use rejoin_pump::core::Payload;
use rejoin_pump::core::phoenix::{PresenceChange, Push};
use rejoin_pump::core::supabase::{ChannelConfig, Config, PostgresBinding, PostgresEvent};
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, Inbox, InboxEvent, Listen, SubscribeError};

use crate::meter::{Meter, Report};
use crate::{Args, Failure, go};

struct Socket {
    client: Client,
    channels: Vec<Channel>,
    inbox: Inbox,
}

/// Connects, joins with all pacing off, and does what KIND asks for.
pub(crate) async fn drive(args: &Args, connect: impl Fn(Config) -> Client) -> Result<Report, Failure> {
    let mut report = Report::new(&format!("rejoin-supabase-{}", args.runtime));
    let meter = Meter::start();
    let mut sockets = Vec::new();
    for _ in 0..args.sockets {
        let mut config = Config::new(&format!("{}/socket", args.url), "key")?;
        config.phoenix.limits.joins_in_flight = usize::MAX;
        config.phoenix.limits.joins_per_second = None;
        sockets.push(join_all(connect(config), args).await?);
    }
    report.joined(&meter);
    match args.kind.as_str() {
        "broadcast" | "broadcast_bin" | "postgres_changes" | "presence_diff" => {
            receive(&mut sockets[0], args, &mut report).await?
        }
        "idle" => {}
        kind => return Err(format!("`{kind}` is not measured in this dialect").into()),
    }
    for socket in &sockets {
        socket.client.close().await;
    }
    Ok(report)
}

/// What the channels of a run are for.
fn channel_config(kind: &str) -> ChannelConfig {
    match kind {
        "postgres_changes" => {
            ChannelConfig::default().postgres_changes(PostgresBinding::new(PostgresEvent::Insert).table("todos"))
        }
        "presence_diff" => ChannelConfig::default().presence("me"),
        _ => ChannelConfig::default(),
    }
}

async fn join_all(client: Client, args: &Args) -> Result<Socket, Failure> {
    let (handle, mut inbox) = client.inbox(Inflow::default()).await?;
    let (count, config) = (args.channels, channel_config(&args.kind));
    // All at once, as whoever has so many asks for them.
    let subscribe = async |number| {
        let channel = client.channel(&format!("realtime:b{number}"), config.clone())?;
        channel.listen_into(handle, Listen::everything()).await?;
        channel.subscribe().await?;
        Ok::<_, SubscribeError>(channel)
    };
    let channels = try_join_all((0..count).map(subscribe)).await?;
    let mut joined = 0;
    while joined < count {
        match inbox.next().await {
            Some(InboxEvent::Channel { event: ChannelEvent::Subscribed { .. }, .. }) => joined += 1,
            Some(InboxEvent::Channel { event: ChannelEvent::SubscribeFailed { failure, .. }, .. }) => {
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
            Some(InboxEvent::Channel { event, .. }) => {
                if is_delivery(&event) {
                    std::hint::black_box(&event);
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

/// Whether this is the last word on a message of the stream: a presence diff is told change by change.
fn is_delivery(event: &ChannelEvent) -> bool {
    match event {
        ChannelEvent::Broadcast { event, .. } => *event != "done",
        ChannelEvent::PostgresChange { .. } => true,
        ChannelEvent::Presence(change) => **change == PresenceChange::Sync,
        _ => false,
    }
}
