//! Where the socket lives: checking the URL that a user gave, building the one that is dialled.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::machine::without_query;
use crate::wire::Serializer;

/// The base URL of a Phoenix socket, such as `wss://example.com/socket`.
///
/// `http` and `https` count as `ws` and `wss`; `/websocket` is appended when it is missing; a path
/// and a query are kept (specification, section 1.2).
///
/// ```
/// use rejoin_core::phoenix::Endpoint;
///
/// assert!("https://example.com/socket/".parse::<Endpoint>().is_ok());
/// let error = "ftp://example.com".parse::<Endpoint>().unwrap_err();
/// assert_eq!(error.to_string(), "the scheme is `ftp`; use ws, wss, http or https");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Up to and including `/websocket`, without the query.
    base: String,
    query: String,
}

impl Endpoint {
    /// The URL to dial: the endpoint's own query, then `params` percent-encoded, then `vsn`.
    ///
    /// A `vsn` among the parameters or in the endpoint's query is left out: the serializer says it.
    #[must_use]
    pub fn url(&self, params: &[(String, String)], serializer: Serializer) -> String {
        self.with_query(self.base.clone(), params, serializer)
    }

    /// The same of the long-poll transport: `http` for `ws`, `/longpoll` for `/websocket`
    /// (specification, section 10.1).
    #[must_use]
    pub fn longpoll_url(&self, params: &[(String, String)], serializer: Serializer) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let (_, rest) = self.base.split_once("://").unwrap_or_default();
        let socket = rest.strip_suffix("/websocket").unwrap_or(rest);
        self.with_query(alloc::format!("{scheme}://{socket}/longpoll"), params, serializer)
    }

    fn with_query(&self, mut url: String, params: &[(String, String)], serializer: Serializer) -> String {
        let mut mark = '?';
        let own = self.query.split('&').filter(|pair| !pair.is_empty() && name(pair) != "vsn");
        for pair in own {
            url.push(core::mem::replace(&mut mark, '&'));
            url.push_str(pair);
        }
        for (key, value) in params.iter().filter(|(key, _)| key != "vsn") {
            url.push(core::mem::replace(&mut mark, '&'));
            percent_encode(&mut url, key);
            url.push('=');
            percent_encode(&mut url, value);
        }
        url.push(mark);
        url.push_str("vsn=");
        url.push_str(serializer.vsn());
        url
    }

    /// The same place as an HTTP URL, without `/websocket` and without the query.
    pub(crate) fn http_base(&self) -> String {
        let base = self.base.strip_suffix("/websocket").unwrap_or(&self.base);
        // `ws` and `wss` become `http` and `https`.
        alloc::format!("http{}", base.strip_prefix("ws").unwrap_or(base))
    }

    /// Whether the connection is to be encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.base.starts_with("wss:")
    }
}

impl core::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::NoScheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(EndpointError::Scheme(scheme.into())),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_authority(authority)?;
        if !(path.chars().chain(query.chars())).all(|c| c.is_ascii_graphic()) {
            return Err(EndpointError::Characters);
        }
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/websocket").unwrap_or(path);
        Ok(Self { base: alloc::format!("{scheme}://{authority}{path}/websocket"), query: query.into() })
    }
}

/// Without the query and without user information: they may be secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_query(&self.base))
    }
}

/// Why a URL is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is no `://`.
    NoScheme,
    /// A scheme other than ws, wss, http and https.
    Scheme(String),
    /// Nothing between `://` and the path.
    NoHost,
    /// The host has characters that a host cannot have.
    Host,
    /// What follows the host's colon is not a port.
    Port,
    /// The path or query has spaces or other characters that must be percent-encoded.
    Characters,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("there is no scheme; write ws://HOST/PATH"),
            Self::Scheme(scheme) => write!(f, "the scheme is `{scheme}`; use ws, wss, http or https"),
            Self::NoHost => f.write_str("there is no host; write ws://HOST/PATH"),
            Self::Host => f.write_str("the host has a character that hosts cannot have"),
            Self::Port => f.write_str("the port is not a number from 1 to 65535"),
            Self::Characters => f.write_str("the path or query has a character that must be percent-encoded"),
        }
    }
}

impl core::error::Error for EndpointError {}

fn check_authority(authority: &str) -> Result<(), EndpointError> {
    let host_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_port.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or(EndpointError::Host)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(EndpointError::Host)?) })
        }
        None => match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    if host.is_empty() {
        return Err(EndpointError::NoHost);
    }
    let v6 = host_port.starts_with('[');
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c) || (v6 && c == ':');
    if !host.chars().all(legal) || !authority.chars().all(|c| c.is_ascii_graphic()) {
        return Err(EndpointError::Host);
    }
    match port {
        Some(port) if !matches!(port.parse::<u16>(), Ok(1..)) || port.starts_with('+') => Err(EndpointError::Port),
        _ => Ok(()),
    }
}

fn name(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

/// RFC 3986: everything but the unreserved characters.
pub(crate) fn percent_encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(byte.into()),
            _ => write!(url, "%{byte:02X}").unwrap_or_default(),
        }
    }
}

/// Decodes `%41` and `+`; `None` where that is not UTF-8 or a `%` stands alone.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn url(base: &str) -> String {
        base.parse::<Endpoint>().unwrap().url(&[], Serializer::V2)
    }

    #[test]
    fn bases_become_websocket_urls() {
        assert_eq!(url("ws://h/socket"), "ws://h/socket/websocket?vsn=2.0.0");
        assert_eq!(url("http://h:4000/socket/"), "ws://h:4000/socket/websocket?vsn=2.0.0");
        assert_eq!(url("HTTPS://h/socket/websocket"), "wss://h/socket/websocket?vsn=2.0.0");
        assert_eq!(url("wss://[::1]:9/a/b///"), "wss://[::1]:9/a/b/websocket?vsn=2.0.0");
        assert_eq!(url("ws://h"), "ws://h/websocket?vsn=2.0.0");
        assert_eq!(url("ws://h/s?a=1&vsn=9"), "ws://h/s/websocket?a=1&vsn=2.0.0");
    }

    #[test]
    fn long_poll_lives_beside_the_websocket() {
        let longpoll = |base: &str| base.parse::<Endpoint>().unwrap().longpoll_url(&[], Serializer::V1);
        assert_eq!(longpoll("ws://h:4000/socket"), "http://h:4000/socket/longpoll?vsn=1.0.0");
        assert_eq!(longpoll("https://h/socket/websocket?a=1"), "https://h/socket/longpoll?a=1&vsn=1.0.0");
        assert_eq!(longpoll("wss://ws.example/ws"), "https://ws.example/ws/longpoll?vsn=1.0.0");
    }

    #[test]
    fn parameters_are_percent_encoded_and_cannot_set_vsn() {
        let params = [("k+&".to_string(), "v =%ž".to_string()), ("vsn".to_string(), "9".to_string())];
        let endpoint: Endpoint = "ws://h/s".parse().unwrap();
        assert_eq!(endpoint.url(&params, Serializer::V1), "ws://h/s/websocket?k%2B%26=v%20%3D%25%C5%BE&vsn=1.0.0");
    }

    #[test]
    fn what_is_not_an_endpoint_is_named() {
        let error = |url: &str| url.parse::<Endpoint>().unwrap_err();
        assert_eq!(error("localhost:4000"), EndpointError::NoScheme);
        assert_eq!(error("ftp://h"), EndpointError::Scheme("ftp".into()));
        assert_eq!(error("ws:///socket"), EndpointError::NoHost);
        assert_eq!(error("ws://:80/"), EndpointError::NoHost);
        assert_eq!(error("ws://a b/"), EndpointError::Host);
        assert_eq!(error("ws://h:0/"), EndpointError::Port);
        assert_eq!(error("ws://h:x/"), EndpointError::Port);
        assert_eq!(error("ws://h/a b"), EndpointError::Characters);
    }

    #[test]
    fn debug_hides_query_and_user() {
        let endpoint: Endpoint = "ws://u:secret@h/s?apikey=secret".parse().unwrap();
        assert!(!alloc::format!("{endpoint:?}").contains("secret"));
    }

    #[test]
    fn percent_decoding_is_total() {
        assert_eq!(percent_decode("a%20b+c"), Some("a b c".into()));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
