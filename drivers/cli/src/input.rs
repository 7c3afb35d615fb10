//! Checks what was typed: each function names the argument and the fix in one line.

use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rejoin_core::phoenix::{Config, Transport};
use rejoin_core::wire::Serializer;
use rejoin_core::{Payload, Text};

use crate::args::{ConnectionArgs, TransportName, Vsn};
use crate::failure::Failure;

/// The configuration for a URL and what every client command has.
pub(crate) fn config(url: &str, connection: &ConnectionArgs) -> Result<Config, Failure> {
    let mut config = Config::new(url).map_err(|error| Failure::usage("URL", error))?;
    connect_as(connection, &mut config);
    config.params = params(&connection.param)?;
    Ok(config)
}

/// How to speak, and over what.
pub(crate) fn connect_as(connection: &ConnectionArgs, config: &mut Config) {
    config.serializer = match connection.vsn {
        Vsn::One => Serializer::V1,
        Vsn::Two => Serializer::V2,
    };
    config.transport = match connection.transport {
        TransportName::Websocket => Transport::WebSocket,
        TransportName::Longpoll => Transport::LongPoll,
        TransportName::Auto => Transport::AUTO,
    };
}

/// Whether a refusal over `WebSocket` is the last word, for as long as no other transport is told of.
pub(crate) fn is_settled(config: &Config) -> bool {
    !matches!(config.transport, Transport::Auto { .. })
}

/// What is said about the dialect that does not exist yet.
pub(crate) fn no_sente() -> Failure {
    Failure::usage("--dialect", "sente is not built yet; use phoenix or supabase")
}

/// A time with a unit, longer than nothing.
pub(crate) fn duration(argument: &str, text: &str) -> Result<Duration, Failure> {
    let fail = |what: &str| Failure::usage(argument, format!("`{text}` {what}; write 5s or 500ms"));
    if text.trim().is_empty() {
        return Err(fail("is no duration"));
    }
    if text.trim().parse::<f64>().is_ok() {
        return Err(fail("has no unit"));
    }
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(fail("is no time at all")),
        Ok(duration) => Ok(duration),
        Err(humantime::DurationError::NumberOverflow) => Err(fail("is too long")),
        Err(_) => Err(fail("is no duration")),
    }
}

/// A number of things, at least one.
pub(crate) fn count(argument: &str, text: &str) -> Result<u64, Failure> {
    match text.parse() {
        Ok(0) => Err(Failure::usage(argument, "`0` would do nothing; write 1 or more")),
        Ok(count) => Ok(count),
        Err(_) => Err(Failure::usage(argument, format!("`{text}` is no whole number; write 1 or more"))),
    }
}

/// The same, as large as what it is for can be.
pub(crate) fn number<T: TryFrom<u64>>(argument: &str, text: &str) -> Result<T, Failure> {
    fitting(argument, text, count(argument, text)?)
}

/// A number of bytes, at least one, plain or in KiB, MiB or GiB.
pub(crate) fn bytes<T: TryFrom<u64>>(argument: &str, text: &str) -> Result<T, Failure> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let in_units =
        units.iter().find_map(|(name, shift)| text.strip_suffix(name).map(|number| (number.trim_end(), *shift)));
    let (number, shift) = in_units.unwrap_or((text, 0));
    match number.parse::<u64>() {
        Ok(0) => Err(Failure::usage(argument, format!("`{text}` lets nothing through; write 1 or more"))),
        Ok(number) => fitting(argument, text, number.saturating_mul(1 << shift)),
        Err(_) => Err(Failure::usage(argument, format!("`{text}` is no number of bytes; write 65536 or 64KiB"))),
    }
}

fn fitting<T: TryFrom<u64>>(argument: &str, text: &str, number: u64) -> Result<T, Failure> {
    number.try_into().map_err(|_| Failure::usage(argument, format!("`{text}` is too large; write a smaller number")))
}

/// The time between two of so many a second.
pub(crate) fn rate(argument: &str, text: &str) -> Result<Duration, Failure> {
    let fail = || Failure::usage(argument, format!("`{text}` is no rate; write how many a second, such as 10"));
    let rate: f64 = text.parse().map_err(|_| fail())?;
    if !(rate.is_finite() && rate > 0.0) {
        return Err(fail());
    }
    Duration::try_from_secs_f64(rate.recip()).map_err(|_| fail())
}

/// JSON text as it is.
pub(crate) fn payload(argument: &str, text: &str) -> Result<Payload, Failure> {
    Payload::from_json_text(text.trim()).map_err(|error| {
        let fix = r#"write JSON such as {"a":1} or "text""#;
        let what = match error {
            rejoin_core::PayloadError::Json(what) => what,
            error => error.to_string(),
        };
        Failure::usage(argument, format!("not JSON ({what}); {fix}"))
    })
}

/// A JSON object as it is.
pub(crate) fn object(argument: &str, text: &str) -> Result<Payload, Failure> {
    let payload = payload(argument, text)?;
    match payload.as_json() {
        Some(json) if json.starts_with('{') => Ok(payload),
        _ => Err(Failure::usage(argument, r#"it is no JSON object; write one such as {"name":"ann"}"#)),
    }
}

/// JSON text from the argument, or from the standard input for `-`.
pub(crate) fn payload_or_stdin(argument: &str, text: Option<&str>) -> Result<Payload, Failure> {
    match text {
        None => Ok(Payload::EMPTY),
        Some("-") => {
            let mut input = String::new();
            let read = std::io::stdin().read_to_string(&mut input);
            read.map_err(|error| Failure::usage(argument, format!("the standard input cannot be read: {error}")))?;
            payload(argument, &input)
        }
        Some(text) => payload(argument, text),
    }
}

/// A topic that can be joined.
pub(crate) fn topic(argument: &str, text: &str) -> Result<Text, Failure> {
    match text {
        "" => Err(Failure::usage(argument, "it is empty; write a name such as room:lobby")),
        "phoenix" => {
            Err(Failure::usage(argument, "`phoenix` is the connection's own; write a name such as room:lobby"))
        }
        topic => Ok(topic.into()),
    }
}

/// Topics that can be joined by one client, each of which `check` accepts.
pub(crate) fn topics(
    texts: &[String],
    check: impl Fn(&str, &str) -> Result<Text, Failure>,
) -> Result<Vec<Text>, Failure> {
    let topics: Vec<Text> = texts.iter().map(|text| check("TOPIC", text)).collect::<Result<_, _>>()?;
    for (at, topic) in topics.iter().enumerate() {
        if topics[..at].contains(topic) {
            return Err(Failure::usage("TOPIC", format!("`{topic}` is there twice; name each topic once")));
        }
    }
    Ok(topics)
}

/// An event that an application may push.
pub(crate) fn event(argument: &str, text: &str) -> Result<Text, Failure> {
    if text.is_empty() {
        return Err(Failure::usage(argument, "it is empty; write a name such as shout"));
    }
    if text.starts_with("phx_") {
        return Err(Failure::usage(argument, format!("`{text}` belongs to the protocol; write a name without phx_")));
    }
    Ok(text.into())
}

/// `K=V` pairs for the socket's query.
pub(crate) fn params(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some(("vsn", _)) => Err(Failure::usage("--param", "vsn is set with --vsn 1 or --vsn 2")),
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::usage("--param", format!("`{text}` is not of the form K=V; write name=value"))),
    };
    texts.iter().map(pair).collect()
}

/// An address to listen at.
pub(crate) fn address(argument: &str, text: &str) -> Result<SocketAddr, Failure> {
    let fail = || Failure::usage(argument, format!("`{text}` is no address; write ADDR:PORT such as 127.0.0.1:4000"));
    text.to_socket_addrs().map_err(|_| fail())?.next().ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_last() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1m 30s", 90_000)] {
            assert_eq!(duration("--for", text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in [("5", "no unit"), ("0", "no unit"), ("0s", "no time"), ("", "no duration"), ("x", "no dur")]
        {
            let Err(Failure::Usage(what)) = duration("--for", text) else { panic!("{text} is accepted") };
            assert!(what.starts_with("--for: ") && what.contains(why) && what.contains("write 5s"), "{what}");
        }
    }

    #[test]
    fn bytes_are_plain_or_in_units_and_fit_what_they_are_for() {
        for (text, expected) in [("1", 1), ("64KiB", 64 << 10), ("16 MiB", 16 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(bytes("--outbox-bytes", text), Ok(expected), "{text}");
        }
        for bad in ["0", "0KiB", "-1", "", "KiB", "64KB", "1.5MiB", "99999999999999999999", "4GiB", "17179869184GiB"] {
            assert!(bytes::<u32>("--outbox-bytes", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(rate("--rate", "10"), Ok(Duration::from_millis(100)));
        assert_eq!(rate("--rate", "0.5"), Ok(Duration::from_secs(2)));
        for bad in ["0", "-1", "x", "inf", "nan", "1e-300", ""] {
            assert!(rate("--rate", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_topic_is_named_once_and_is_not_the_connections_own() {
        assert!(topics(&["a".into(), "b".into()], topic).is_ok());
        for bad in [&["".to_owned()][..], &["phoenix".to_owned()], &["a".to_owned(), "a".to_owned()]] {
            assert!(topics(bad, topic).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn params_are_pairs() {
        assert_eq!(params(&["k=v=w".into()]), Ok(vec![("k".into(), "v=w".into())]));
        for bad in ["k", "=v", "vsn=1"] {
            assert!(params(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
