//! `rejoin send`: joins, pushes, waits for the answers if asked, leaves.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_lite::future;
use rejoin_core::phoenix::{Config, JoinFailure, JoinOptions, LossReason, Push, PushOutcome};
use rejoin_core::{Payload, Text};
use rejoin_pump::{
    Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, Inbox, InboxEvent, Inflow, PushTicket,
};

use crate::args::SendArgs;
use crate::failure::Failure;
use crate::host::{Host, Job};
use crate::input;
use crate::interrupt::Interrupts;
use crate::output::{json_error, printable, say, shown};

/// How long the server may take to answer our close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pushes without an outcome at one time. Fewer than a session buffers while it is disconnected, so
/// that none is refused for want of room.
const WINDOW: usize = 64;

/// What was typed, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    config: Config,
    topic: Text,
    push: Push,
    count: u64,
    every: Option<Duration>,
    timeout: Duration,
}

impl Plan {
    pub(crate) fn check(args: &SendArgs) -> Result<Self, Failure> {
        let mut config = input::config(&args.url, &args.connection)?;
        let topic = input::topic(&args.topic)?;
        let event = input::event(&args.event)?;
        let count = args.count.as_deref().map_or(Ok(1), |text| input::count("--count", text))?;
        let every = args.rate.as_deref().map(|text| input::rate("--rate", text)).transpose()?;
        let timeout = input::duration("--timeout", &args.timeout)?;
        // Last, because it may wait for somebody to type.
        let payload = input::payload_or_stdin("PAYLOAD", args.payload.as_deref())?;

        (config.connect_timeout, config.join_timeout, config.push_timeout) = (timeout, timeout, timeout);
        // Longer than it is waited for: a leave that ends then was answered.
        (config.leave_timeout, config.close_timeout) = (timeout.saturating_mul(2), FAREWELL);
        let push = Push::new(event, payload);
        let push = if args.reply { push } else { push.without_reply() };
        Ok(Self { config, topic, push, count, every, timeout })
    }
}

pub(crate) struct Sending {
    pub(crate) plan: Plan,
    pub(crate) interrupts: Interrupts,
}

impl Job for Sending {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Plan { config, topic, push, count, every, timeout } = self.plan;
        let mut options = ConnectOptions::default();
        // Nothing may happen before the inbox is there to see it.
        options.connect = false;
        let (client, pump) = host.connect(config, options);
        let mut tally = Tally::default();
        let work = async {
            let (channel, mut inbox) = join(&host, &client, &topic, timeout).await?;
            let start = Instant::now();
            let pushed = push_all(&host, &channel, &push, count, every, &mut tally).await;
            // Whether anybody reads it changes nothing.
            let _ = say(&tally.summary(&topic, &push, start.elapsed()));
            let left = leave(&host, &channel, &mut inbox, timeout).await;
            // Replies have said that everything arrived; without them the answer to the leave does.
            if push.wants_reply { pushed } else { pushed.and(left) }
        };
        let interrupted = async {
            self.interrupts.wait().await;
            Err(Failure::broken("interrupted"))
        };
        let outcome = future::or(work, interrupted).await;
        client.close().await;
        host.within(FAREWELL * 2, pump.done()).await;
        outcome
    }
}

/// Connects and joins, within `timeout` together.
async fn join<H: Host>(
    host: &H,
    client: &Client,
    topic: &Text,
    timeout: Duration,
) -> Result<(Channel, Inbox), Failure> {
    let fail = |what: String| Failure::broken(format!("{topic} was not joined: {what}"));
    let closed = |_| Failure::broken("the client is closed");
    // What others say in the topic meanwhile is not wanted, and must not stop the reading.
    let inflow = Inflow::DropOldest { capacity: WINDOW };
    let (handle, mut inbox) = client.inbox(inflow).await.map_err(closed)?;
    let joined = client.join_into(handle, topic.clone(), JoinOptions::default()).await;
    let channel = joined.map_err(|error| fail(error.to_string()))?;
    client.connect().await.map_err(closed)?;

    let mut last = None;
    let outcome = host.within(timeout, until_joined(&mut inbox, &mut last)).await;
    match (outcome, last) {
        (Some(Ok(())), _) => Ok((channel, inbox)),
        (Some(Err(what)), _) => Err(fail(what)),
        (None, Some(last)) => Err(fail(format!("no connection within {}: {last}", shown_time(timeout)))),
        (None, None) => Err(fail(format!("no answer within {}", shown_time(timeout)))),
    }
}

/// A server that may be about to start is tried again; one that said no is not. `last` is why there
/// is no connection at present.
async fn until_joined(inbox: &mut Inbox, last: &mut Option<String>) -> Result<(), String> {
    while let Some(event) = inbox.next().await {
        match event {
            InboxEvent::Channel { event: ChannelEvent::Joined { .. }, .. } => return Ok(()),
            InboxEvent::Channel { event: ChannelEvent::JoinFailed { failure, .. }, .. } => {
                return Err(refusal(&failure));
            }
            InboxEvent::Channel { event: ChannelEvent::Closed { reason }, .. } => return Err(reason.to_string()),
            InboxEvent::Connection(ConnectionEvent::Connected) => *last = None,
            InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. }) => {
                if let LossReason::Open(error) = &reason
                    && error.status.is_some_and(|status| (400..429).contains(&status))
                {
                    return Err(reason.to_string());
                }
                *last = Some(reason.to_string());
            }
            _ => {}
        }
    }
    Err("the client ended by itself".into())
}

/// With all that the server said.
fn refusal(failure: &JoinFailure) -> String {
    match failure {
        JoinFailure::Refused { response } => format!("refused with {}", shown(response)),
        other => other.to_string(),
    }
}

async fn push_all<H: Host>(
    host: &H,
    channel: &Channel,
    push: &Push,
    count: u64,
    every: Option<Duration>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut under_way = VecDeque::new();
    for number in 0..count {
        if let Some(every) = every {
            let due = every.as_secs_f64() * number as f64;
            let due = Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX);
            host.sleep(due.saturating_sub(start.elapsed())).await;
        }
        let ticket = channel.push(push.clone()).await.map_err(Failure::broken)?;
        under_way.push_back(ticket);
        while under_way.len() >= WINDOW {
            settle_first(&mut under_way, tally).await?;
        }
    }
    while !under_way.is_empty() {
        settle_first(&mut under_way, tally).await?;
    }
    Ok(())
}

/// Waits for the oldest push; its failure is the command's.
async fn settle_first(under_way: &mut VecDeque<PushTicket>, tally: &mut Tally) -> Result<(), Failure> {
    let Some(ticket) = under_way.pop_front() else { return Ok(()) };
    let number = tally.pushes() + 1;
    let fail = |what: &str| Failure::broken(format!("push {number}: {what}"));
    let outcome = ticket.await.map_err(|error| fail(&error.to_string()))?;
    match outcome {
        PushOutcome::Sent => tally.sent += 1,
        PushOutcome::Ok(response) => {
            tally.ok += 1;
            show_reply("ok", &response);
        }
        PushOutcome::Error(response) => {
            tally.error += 1;
            show_reply("error", &response);
            return Err(fail(&format!("the server replied error {}", shown(&response))));
        }
        PushOutcome::Other { status, response } => {
            tally.other += 1;
            show_reply(&status, &response);
        }
        PushOutcome::TimedOut => return Err(fail("no reply in time")),
        PushOutcome::Unknown => return Err(fail("the connection was lost before the reply")),
        PushOutcome::Dropped => return Err(fail("it was never sent: the channel is gone")),
        other => return Err(fail(&format!("ended as {other:?}"))),
    }
    Ok(())
}

fn show_reply(status: &str, response: &Payload) {
    let what = match json_error(response) {
        Some(error) => format!("<not JSON: {error}>").into(),
        None => shown(response),
    };
    // Whether anybody reads it changes nothing.
    let _ = say(&printable(&format!("reply {status} {what}")));
}

/// The server answers this after everything that was pushed before: a socket that is closed sooner,
/// or lost, may take pushes with it that the server has not read.
async fn leave<H: Host>(host: &H, channel: &Channel, inbox: &mut Inbox, timeout: Duration) -> Result<(), Failure> {
    let unconfirmed = |why: &str| Failure::broken(format!("it is not known whether everything arrived: {why}"));
    let left = async {
        // A client that is closed has left.
        let _ = channel.leave().await;
        while let Some(event) = inbox.next().await {
            match event {
                InboxEvent::Channel { event: ChannelEvent::Closed { .. }, .. } => return Ok(()),
                InboxEvent::Connection(ConnectionEvent::Disconnected { reason, .. }) => {
                    return Err(unconfirmed(&format!("the connection was lost: {reason}")));
                }
                _ => {}
            }
        }
        Ok(())
    };
    let late = || Err(unconfirmed(&format!("the leave was not answered within {}", shown_time(timeout))));
    host.within(timeout, left).await.unwrap_or_else(late)
}

/// How the pushes ended.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    ok: u64,
    error: u64,
    other: u64,
}

impl Tally {
    const fn pushes(&self) -> u64 {
        self.sent + self.ok + self.error + self.other
    }

    fn summary(&self, topic: &str, push: &Push, took: Duration) -> String {
        let mut text = format!("sent {} to {}", plural(self.pushes(), "message", "messages"), printable(topic));
        // Writing into memory cannot fail.
        if push.wants_reply {
            let _ = write!(text, ", {} ok", plural(self.ok, "reply", "replies"));
        }
        for (number, what) in [(self.error, "error"), (self.other, "of another status")] {
            if number > 0 {
                let _ = write!(text, ", {number} {what}");
            }
        }
        let _ = write!(text, " in {}", shown_time(took));
        text
    }
}

fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn shown_time(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let push = Push::new("shout", Payload::EMPTY);
        let time = Duration::from_millis(12);
        let tally = Tally { ok: 3, ..Tally::default() };
        assert_eq!(tally.summary("room:lobby", &push, time), "sent 3 messages to room:lobby, 3 replies ok in 12 ms");
        let tally = Tally { sent: 1, ..Tally::default() };
        assert_eq!(tally.summary("a", &push.without_reply(), time), "sent 1 message to a in 12 ms");
    }
}
