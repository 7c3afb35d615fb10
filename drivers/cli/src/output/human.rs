//! Text for people: a line each, nothing in it that could steer a terminal.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::line::Detail;
use super::words::{printable, shown};
use super::{Line, Retry, presence};

pub(super) const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const PLAIN: &str = "";
pub(super) const END: &str = "\x1b[0m";

pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, colours: bool) {
    let text = text(line);
    let colour = if colours { colour(line.event) } else { PLAIN };
    let end = if colour.is_empty() { PLAIN } else { END };
    out.extend_from_slice(colour.as_bytes());
    out.extend_from_slice(printable(&text).as_bytes());
    out.extend_from_slice(end.as_bytes());
    out.push(b'\n');
}

fn text(line: &Line<'_>) -> String {
    let mut text = match (line.event, line.again) {
        ("joined", Some(true)) => "joined again".to_owned(),
        ("message" | "broadcast", _) => String::new(),
        (event, _) => event.replace('_', " "),
    };
    let add = |text: &mut String, part: &str| {
        if !text.is_empty() && !part.is_empty() {
            text.push(' ');
        }
        text.push_str(part);
    };
    for part in [line.topic, line.name].into_iter().flatten() {
        add(&mut text, part);
    }
    // A refusal that was understood is its own reason.
    for payload in [line.payload.filter(|_| line.class.is_none()), line.meta].into_iter().flatten() {
        add(&mut text, &shown(payload));
    }
    match &line.detail {
        None => {}
        Some(Detail::Row(row)) => add(&mut text, &row.to_text()),
        Some(Detail::Presence(change)) => add(&mut text, &presence::change_text(change)),
        Some(Detail::Members(members)) => add(&mut text, &presence::members_text(members)),
    }
    // Writing into memory cannot fail.
    if let Some(system) = line.system {
        let status = if system.ok { "" } else { "error: " };
        let _ = write!(text, " {}: {status}{}", system.extension, system.message);
    }
    if let Some(reason) = &line.reason {
        let _ = write!(text, ": {reason}");
    }
    if let Some(transport) = line.transport {
        let _ = write!(text, ": {transport} is next");
    }
    if let Some(class) = line.class {
        let _ = write!(text, " [{class}]");
    }
    if let Some(advice) = line.advice {
        let _ = write!(text, "; {advice}");
    }
    text.push_str(&match line.retry {
        None => String::new(),
        Some(Retry::In(time)) => format!(" (trying again in {:.1} s)", time.as_secs_f64()),
        Some(Retry::OnConnection) => " (trying again with the connection)".into(),
        Some(Retry::OnToken) => " (trying again with another token)".into(),
        Some(Retry::Never) => " (not trying again)".into(),
    });
    if let Some((since, until)) = line.gap {
        let lasted = until.duration_since(since).unwrap_or_default();
        let _ = write!(text, ": what came in {:.1} s is lost", lasted.as_secs_f64());
    }
    if let Some(since) = line.missed_since {
        let ago = SystemTime::now().duration_since(since).unwrap_or_default();
        let _ = write!(text, ": changes of {:.1} s may be missing", ago.as_secs_f64());
    }
    if let Some(time) = line.expires_at {
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        let _ = write!(text, ", good for {} s", left.as_secs());
    }
    if let Some(time) = line.rtt {
        let _ = write!(text, " answered in {:.1} ms", time.as_secs_f64() * 1e3);
    }
    text
}

fn colour(event: &str) -> &'static str {
    match event {
        "connected" | "joined" | "postgres_ready" => GREEN,
        "disconnected" | "channel_errored" | "channel_closed" | "closed" | "gap" | "token_expired"
        | "fell_back_to_http" | "transport_changed" => YELLOW,
        "join_failed" | "malformed" | "gave_up" | "token_unavailable" | "postgres_failed" | "track_failed"
        | "presence_trouble" => RED,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rejoin_says_so() {
        let line = Line { event: "joined", topic: Some("room:a"), again: Some(true), ..Line::default() };
        assert_eq!(text(&line), "joined again room:a");
    }

    #[test]
    fn what_happens_next_and_what_is_lost_is_said_in_words() {
        let topic = Some("realtime:a");
        for (retry, words) in [
            (Retry::In(Duration::from_millis(1_250)), "trying again in 1.2 s"),
            (Retry::OnConnection, "trying again with the connection"),
            (Retry::OnToken, "trying again with another token"),
            (Retry::Never, "not trying again"),
        ] {
            let line = Line { event: "channel_errored", topic, retry: Some(retry), ..Line::default() };
            assert_eq!(text(&line), format!("channel errored realtime:a ({words})"));
        }
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let line = Line { event: "gap", topic, gap: Some((SystemTime::UNIX_EPOCH, until)), ..Line::default() };
        assert_eq!(text(&line), "gap realtime:a: what came in 1.5 s is lost");
    }
}
