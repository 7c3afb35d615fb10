//! Everything below HTTP: the host's name, its port, its certificate.

use rejoin_core::phoenix::Endpoint;
use rejoin_pump::Runtime as _;

use super::report::{Finding, Patience, Report, Trouble};
use crate::host::Host;
use crate::output::plural;

/// Where the connection goes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Without brackets.
    host: String,
    port: u16,
    secure: bool,
}

impl Target {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let (secure, url) = (endpoint.is_secure(), endpoint.to_string());
        let authority = url.split('/').nth(2).unwrap_or_default();
        // An address in brackets has colons, too.
        let name_end = authority.rfind(']').map_or(0, |end| end + 1);
        let port_at = authority[name_end..].find(':').map(|at| name_end + at);
        let (host, port) = port_at.map_or((authority, None), |at| (&authority[..at], authority[at + 1..].parse().ok()));
        let host = host.trim_matches(['[', ']']).to_owned();
        Self { host, port: port.unwrap_or(if secure { 443 } else { 80 }), secure }
    }
}

pub(super) async fn examine<H: Host>(host: &H, patience: &Patience<H>, report: &mut Report, target: &Target) {
    let late = "check this machine's network and its name servers";
    report.need("dns", patience.wait("no answer", late, resolve(host, target))).await;
    let late = "check the port, and whether a firewall drops what goes there";
    report.need("tcp", patience.wait("no connection", late, dial(host, target, false))).await;
    if target.secure {
        let late = "check that the port speaks TLS; without it the URL begins with ws:// or http://";
        report.need("tls", patience.wait("no handshake", late, dial(host, target, true))).await;
    } else {
        report.skip("tls", "the URL asks for none");
    }
}

async fn resolve<H: Host>(host: &H, target: &Target) -> Finding {
    let Target { host: name, port, .. } = target;
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(format!("{name} is an address"));
    }
    let fix = format!("check the spelling of `{name}`, and this machine's network");
    let addresses = host.resolve(name, *port).await;
    let addresses = addresses.map_err(|error| Trouble::new(error, fix.clone()))?;
    match addresses.first() {
        None => Err(Trouble::new(format!("{name} has no address"), fix)),
        Some(first) => {
            let number = plural(addresses.len() as u64, "address", "addresses");
            Ok(format!("{name} has {number}: {}{}", first.ip(), if addresses.len() > 1 { ", …" } else { "" }))
        }
    }
}

/// A connection of its own, which is closed again.
async fn dial<H: Host>(host: &H, target: &Target, secure: bool) -> Finding {
    let Target { host: name, port, .. } = target;
    let dialled = host.runtime().dial(name.clone(), *port, secure).await;
    match (dialled, secure) {
        (Ok(_), false) => Ok(format!("port {port} is open")),
        (Ok(_), true) => Ok(format!("the certificate is {name}'s")),
        (Err(error), false) => Err(Trouble::new(
            error,
            format!("check that a server listens at port {port} of {name}, and that no firewall is in between"),
        )),
        (Err(error), true) => Err(Trouble::new(
            error,
            format!(
                "check that port {port} speaks TLS with a certificate for {name} from a public authority, and this \
                 machine's clock"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_dial_to_is_taken_from_the_endpoint() {
        for (url, host, port, secure) in [
            ("ws://h/socket", "h", 80, false),
            ("https://h", "h", 443, true),
            ("wss://u:p@h:4001/socket", "h", 4001, true),
            ("ws://[::1]:4000/socket", "::1", 4000, false),
            ("http://[::1]", "::1", 80, false),
            ("ws://127.0.0.1:54321/realtime/v1", "127.0.0.1", 54321, false),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(Target::of(&endpoint), Target { host: host.into(), port, secure }, "{url}");
        }
    }
}
