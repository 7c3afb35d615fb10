//! `rejoin serve`: a small Phoenix server, for trying things out and for tests.
//!
//! Any topic may be joined. A push of any event is replied `ok` and sent to the others in the
//! topic; `ping` is echoed to its sender alone. Clients come by WebSocket or by long-poll.

mod access;
mod reports;
mod room;
mod settings;

use std::io;
use std::net::SocketAddr;

use futures_lite::future;
use rejoin_pump::server::{Endpoint, Server};

use crate::failure::Failure;
use crate::host::{Host, Job};
use crate::interrupt::Interrupts;
use crate::output;
use reports::Reports;
use room::Room;

pub(crate) use settings::Settings;

pub(crate) struct Serve {
    pub(crate) settings: Settings,
    pub(crate) interrupts: Interrupts,
}

impl Job for Serve {
    async fn run<H: Host>(self, host: H) -> Result<(), Failure> {
        let Settings { address, drain, verbose, .. } = self.settings;
        let listener = host.bind(address).await.map_err(|error| cannot_listen(address, &error))?;
        let address = host.local_address(&listener).map_err(|error| cannot_listen(address, &error))?;
        let reports = Reports::start(verbose)?;
        let desk = reports.desk();
        let server = server(&host, self.settings.endpoint().report_to(move |report| desk.take(report)));
        // Whoever started us may not care for the address; serving goes on without it.
        let _ = output::say(&format!("listening on ws://{address}/socket"));

        future::or(server.accept_all(|| host.accept(&listener)), self.interrupts.wait()).await;
        // Whoever comes now hears from the system that nobody is here.
        drop(listener);
        let drained = server.shutdown(drain).await;
        reports.finish(&server.counts(), &drained);
        Ok(())
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; choose another, or 0 for a free one".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address; try 127.0.0.1".into(),
        io::ErrorKind::PermissionDenied => "the port is reserved; choose one above 1023".into(),
        _ => format!("{error}; choose another address"),
    };
    Failure::usage("--listen", format!("{address}: {what}"))
}

/// Any topic, and everybody in it.
pub(crate) fn rooms() -> Endpoint<()> {
    Endpoint::new(()).channel::<Room>("*")
}

pub(crate) fn server<H: Host>(host: &H, endpoint: Endpoint<()>) -> Server<H::Runtime> {
    let background = host.clone();
    Server::new(endpoint, host.runtime(), move |task| background.start(task))
}
