//! The head of a request, whoever has read it, as the core wants it.

use rejoin_core::phoenix::RequestHead;
use ureq_proto::http::header::{HOST, UPGRADE};
use ureq_proto::http::{HeaderName, Request, Version};

/// Everything that the core looks at.
pub(crate) fn request_head<B>(request: &Request<B>) -> RequestHead<'_> {
    let headers = request.headers();
    // In HTTP/1.0 nothing can be upgraded (RFC 9110, section 7.8).
    let is_meant = |name: &HeaderName| request.version() >= Version::HTTP_11 || name != UPGRADE;
    let meant = headers.iter().filter(|(name, _)| is_meant(name));
    let meant = meant.map(|(name, value)| (name.as_str(), value.as_bytes()));
    // HTTP/2 names the host in the target alone (RFC 9113, section 8.3.1).
    let authority = request.uri().authority().filter(|_| !headers.contains_key(HOST));
    let host = authority.map(|authority| (HOST.as_str(), authority.as_str().as_bytes()));
    RequestHead::new(request.method().as_str(), target(request), meant.chain(host))
}

/// Path and query.
pub(crate) fn target<B>(request: &Request<B>) -> &str {
    request.uri().path_and_query().map_or("", |target| target.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::phoenix::{Decision, UpgradeConfig};

    fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_page_of_the_same_host_is_known_by_its_host_in_every_version_of_http() {
        let origin = ("origin", "https://example.com");
        for (version, uri, headers, allowed) in [
            (Version::HTTP_11, "/socket/longpoll", &[("host", "example.com"), origin][..], true),
            (Version::HTTP_2, "https://example.com/socket/longpoll", &[origin], true),
            (Version::HTTP_2, "https://elsewhere.com/socket/longpoll", &[origin], false),
            // What the client says itself counts more than what a proxy has made of it.
            (Version::HTTP_11, "http://example.com/socket/longpoll", &[("host", "elsewhere.com"), origin], false),
            (Version::HTTP_11, "/socket/longpoll", &[origin], false),
        ] {
            let request = request(version, uri, headers);
            let admitted = UpgradeConfig::default().admit(&request_head(&request)).is_ok();
            assert_eq!(admitted, allowed, "{request:?}");
            assert_eq!(target(&request), "/socket/longpoll");
        }
    }

    #[test]
    fn what_is_of_http_1_0_is_not_upgraded() {
        let upgrade = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (version, status) in [(Version::HTTP_10, 426), (Version::HTTP_11, 101)] {
            let request = request(version, "/socket/websocket", &upgrade);
            let answered = match UpgradeConfig::default().decide(&request_head(&request)) {
                Decision::Accept(upgrade) => upgrade.response.status,
                Decision::Refuse(response) => response.status,
            };
            assert_eq!(answered, status);
        }
    }
}
