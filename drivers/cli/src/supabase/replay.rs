//! `--replay-since TIME` and `--replay-limit N`: which stored broadcasts come first.

use std::time::{Duration, SystemTime};

use rejoin_core::supabase::{Replay, UnixMillis};

use crate::failure::Failure;

const SINCE: &str = "--replay-since";
const LIMIT: &str = "--replay-limit";
/// Milliseconds below this are a day before 1974, and seconds below it one before the year 5138:
/// whoever writes such a number means seconds.
const LEAST: u64 = 100_000_000_000;
/// How far the clock of whoever wrote the time may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(60);

/// What the two options ask for, at the time `now`.
pub(crate) fn replay(since: Option<&str>, limit: Option<&str>, now: SystemTime) -> Result<Option<Replay>, Failure> {
    let limit = limit.map(self::limit).transpose()?;
    match (since, limit) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Failure::usage(LIMIT, format!("it limits {SINCE}, which is missing; give both"))),
        (Some(since), limit) => {
            let replay = Replay::since(self::since(since, now)?);
            Ok(Some(limit.map_or(replay, |limit| replay.limit(limit))))
        }
    }
}

fn since(text: &str, now: SystemTime) -> Result<UnixMillis, Failure> {
    let fail = |what: &str| {
        let forms = "write a time such as 2026-01-31T12:00:00Z, a time ago such as 10m, or milliseconds since 1970";
        Failure::usage(SINCE, format!("`{text}` {what}; {forms}"))
    };
    let unix = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(millis);
    let at = match text.parse::<u64>() {
        Ok(number) if number < LEAST => {
            return Err(fail("looks like seconds, of which milliseconds are 1000 times as many"));
        }
        Ok(number) => number,
        Err(_) => {
            let ago = || humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
            rfc3339(text).or_else(ago).and_then(unix).ok_or_else(|| fail("is no time since 1970"))?
        }
    };
    if unix(now + AHEAD).is_some_and(|latest| at > latest) {
        return Err(fail("is in the future, from where nothing comes"));
    }
    Ok(UnixMillis::from_millis(at))
}

/// With an offset, too, which `humantime` does not read.
fn rfc3339(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours).filter(|h| *h < 24)?, digits(minutes).filter(|m| *m < 60)?);
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset_time = Duration::from_secs((hours * 60 + minutes) * 60);
    match offset.as_bytes().first() {
        Some(b'+') => time.checked_sub(offset_time),
        Some(b'-') => time.checked_add(offset_time),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

fn limit(text: &str) -> Result<u8, Failure> {
    match text.parse() {
        Ok(limit @ 1..=25) => Ok(limit),
        _ => Err(Failure::usage(LIMIT, format!("`{text}` is no number from 1 to 25; servers replay 25 at most"))),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T12:00:00Z.
    const NOON: u64 = 1_795_262_400_000;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(NOON)
    }

    fn said(since: Option<&str>, limit: Option<&str>) -> String {
        match replay(since, limit, noon()) {
            Err(Failure::Usage(said)) => said,
            other => panic!("{since:?}, {limit:?}: {other:?}"),
        }
    }

    #[test]
    fn a_time_is_written_in_any_of_three_ways() {
        let minutes = |n: u64| n * 60_000;
        for (text, at) in [
            ("1795262400000", NOON),
            ("2026-11-21T12:00:00Z", NOON),
            ("2026-11-21T12:00:00.250Z", NOON + 250),
            ("2026-11-21T12:00:00+00:00", NOON),
            ("2026-11-21T12:00:00+02:30", NOON - minutes(150)),
            ("2026-11-21T01:00:00.5-10:00", NOON - minutes(60) + 500),
            ("10m", NOON - minutes(10)),
            ("1h 30m", NOON - minutes(90)),
            ("0s", NOON),
        ] {
            let expected = Replay::since(UnixMillis::from_millis(at));
            assert_eq!(replay(Some(text), None, noon()), Ok(Some(expected)), "{text}");
            assert_eq!(replay(Some(text), Some("7"), noon()), Ok(Some(expected.limit(7))), "{text}");
        }
        assert_eq!(replay(None, None, noon()), Ok(None));
    }

    #[test]
    fn what_is_no_time_of_the_past_is_refused() {
        for text in ["", "soon", "-5m", "2026-11-21", "2026-11-21T12:00:00", "2026-11-21T12:00:00+2:00", "10", "9999y"]
        {
            assert!(said(Some(text), None).contains("write a time such as"), "{text}");
        }
        for (text, what) in [
            ("1795262400", "looks like seconds"),
            ("0", "looks like seconds"),
            ("1795262400000000", "is in the future"),
            ("2026-11-21T12:02:00Z", "is in the future"),
        ] {
            assert!(said(Some(text), None).starts_with(&format!("--replay-since: `{text}` {what}")), "{text}");
        }
    }

    #[test]
    fn a_limit_is_one_that_servers_know_and_limits_something() {
        for text in ["0", "26", "-1", "many", ""] {
            assert!(said(Some("10m"), Some(text)).contains("1 to 25"), "{text}");
        }
        assert!(said(None, Some("7")).starts_with("--replay-limit: it limits --replay-since"));
    }

    proptest! {
        #[test]
        fn any_time_is_the_same_with_any_offset(at in 0..NOON, hours in 0..24_u64, minutes in 0..60_u64, east: bool) {
            let offset = (hours * 60 + minutes) * 60_000;
            let local = if east { at + offset } else { at.saturating_sub(offset) };
            let text = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(local));
            let sign = if east { '+' } else { '-' };
            let text = format!("{}{sign}{hours:02}:{minutes:02}", text.to_string().trim_end_matches('Z'));
            let expected = if east { local - offset } else { local + offset };
            prop_assert_eq!(since(&text, noon()), Ok(UnixMillis::from_millis(expected)));
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in "\\PC{0,30}") {
            let _ = since(&text, noon());
        }
    }
}
