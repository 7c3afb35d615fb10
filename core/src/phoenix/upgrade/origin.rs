//! Which web pages may open a socket: a browser names theirs in the header `Origin`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::RequestHead;

/// Which pages may open a socket. A request without the header `Origin` comes from no page and is
/// always allowed; the origin `null` of a page without one only by [`OriginPolicy::Any`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages of the host and port that the request is for, as its header `Host` says (the default).
    /// The default ports of `http` and `https` are understood; other schemes have no such pages. A
    /// proxy has to pass `Host` on as it came.
    ///
    /// A page may give its own name the address of any server, this one's as well, and is then of the
    /// same host (DNS rebinding). A server that lets in whoever reaches it, such as one without tokens in
    /// a private network, is safe from other pages only with a [`List`](Self::List).
    #[default]
    SameHost,
    /// Pages of these origins.
    List(Vec<AllowedOrigin>),
    /// Every page. Right only where nobody is let in for what his browser adds by itself, or for the
    /// network that it is in.
    Any,
}

impl OriginPolicy {
    pub(super) fn allows(&self, request: &RequestHead<'_>) -> bool {
        if request.all("origin").next().is_none() {
            return true;
        }
        let origin = || request.only("origin").and_then(Origin::of);
        match self {
            Self::Any => true,
            Self::List(list) => origin().is_some_and(|origin| list.iter().any(|allowed| allowed.matches(&origin))),
            Self::SameHost => {
                let host = request.only("host").and_then(authority);
                origin().zip(host).is_some_and(|(origin, (host, port))| {
                    let default = default_port(origin.scheme);
                    default.is_some() && origin.host.eq_ignore_ascii_case(host) && origin.port == port.or(default)
                })
            }
        }
    }
}

/// One entry of [`OriginPolicy::List`], written as in Phoenix's `check_origin`:
///
/// | entry | allows |
/// |---|---|
/// | `https://example.com` | that scheme, host and port; without a port the scheme's own |
/// | `//example.com` | that host with every scheme and port |
/// | `//example.com:888` | that host and port with every scheme |
/// | `//*.example.com` | the hosts under that one, without itself; the dot counts, unlike in Phoenix |
///
/// ```
/// use rejoin_core::phoenix::{AllowedOrigin, OriginPolicy};
///
/// let list = ["https://example.com", "//*.example.org"].map(|entry| entry.parse::<AllowedOrigin>().unwrap());
/// assert_eq!(list[1].to_string(), "//*.example.org");
/// let policy = OriginPolicy::List(list.into());
/// # drop(policy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin {
    scheme: Option<String>,
    /// Whether `host` is the end of the name, with its dot.
    wildcard: bool,
    host: String,
    port: Option<u16>,
}

impl AllowedOrigin {
    fn matches(&self, origin: &Origin<'_>) -> bool {
        let host = if self.wildcard {
            ends_with(origin.host, &self.host)
        } else {
            self.host.eq_ignore_ascii_case(origin.host)
        };
        host && match &self.scheme {
            Some(scheme) => scheme.eq_ignore_ascii_case(origin.scheme) && self.port == origin.port,
            None => self.port.is_none() || self.port == origin.port,
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    fn from_str(entry: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = entry.split_once("//").ok_or(OriginError)?;
        let (wildcard, rest) = match rest.strip_prefix('*') {
            Some(rest) if rest.starts_with('.') => (true, rest),
            _ => (false, rest),
        };
        let (host, port) = authority(rest).filter(|(host, _)| *host != ".").ok_or(OriginError)?;
        let scheme = match scheme.strip_suffix(':') {
            Some(scheme) if is_scheme(scheme) => Some(scheme),
            None if scheme.is_empty() => None,
            _ => return Err(OriginError),
        };
        let port = port.or_else(|| scheme.and_then(default_port));
        Ok(Self { scheme: scheme.map(Into::into), wildcard, host: host.into(), port })
    }
}

/// As it is parsed; a port that is the scheme's own is left out.
impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}:")?;
        }
        write!(f, "//{}{}", if self.wildcard { "*" } else { "" }, self.host)?;
        match self.port {
            Some(port) if self.scheme.as_deref().and_then(default_port) != Some(port) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// A text is no entry of a list of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginError;

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is written https://HOST, //HOST or //*.HOST, with :PORT where it matters")
    }
}

impl core::error::Error for OriginError {}

/// What a browser says, taken apart.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn of(origin: &'a str) -> Option<Self> {
        let (scheme, rest) = origin.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
        let (host, port) = authority(rest)?;
        Some(Self { scheme, host, port: port.or_else(|| default_port(scheme)) })
    }
}

/// Host and port, and nothing else.
fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    // What follows the last `]` is no part of an IPv6 address.
    let colon = text.rfind(':').filter(|at| !text[*at..].contains(']'));
    let (host, port) = colon.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte));
    let is_v6 = |host: &str| {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        address.is_some_and(|address| address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)))
    };
    if host.is_empty() || !(is_name(host) || is_v6(host)) {
        return None;
    }
    let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        Some(port) => Some((host, Some(port).filter(digits)?.parse().ok()?)).map(|(host, port)| (host, Some(port))),
        None => Some((host, None)),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    let is = |other: &str| scheme.eq_ignore_ascii_case(other);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn ends_with(host: &str, end: &str) -> bool {
    let at = host.len().checked_sub(end.len());
    at.and_then(|at| host.get(at..)).is_some_and(|rest| rest.eq_ignore_ascii_case(end))
}
