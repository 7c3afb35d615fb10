//! Where a URL leads to.

use async_tungstenite::tungstenite::http::Uri;
use rejoin_core::OpenError;

/// What has to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) secure: bool,
}

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Result<Self, OpenError> {
        let host = uri.host().ok_or_else(|| OpenError::io("the URL has no host"))?;
        let secure = matches!(uri.scheme_str(), Some("wss" | "https"));
        let default = if secure { 443 } else { 80 };
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(default), secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_dial_to_is_taken_from_the_url() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap()).ok();
        let at = |host: &str, port, secure| Some(Origin { host: host.into(), port, secure });
        for (url, expected) in [
            ("ws://host/socket", at("host", 80, false)),
            ("http://host", at("host", 80, false)),
            ("wss://host/socket?a=b", at("host", 443, true)),
            ("https://host:80/", at("host", 80, true)),
            ("ws://[::1]:4000/", at("::1", 4000, false)),
            ("/socket", None),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }
}
