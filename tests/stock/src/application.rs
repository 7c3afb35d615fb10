//! The application: which topics there are, who may come, and what its channels share.

use std::time::Duration;

use async_channel::{Receiver, Sender};
use clap::Args;
use rejoin_jwt::{JwtVerifier, KeyError};
use rejoin_pump::server::{Endpoint, ServerOptions};

use crate::counter::Counter;
use crate::people::Person;
use crate::room::Room;

/// Who may come, and for how long.
#[derive(Args)]
pub(crate) struct Policy {
    /// Lets only those in whose token is signed with this.
    #[arg(long)]
    jwt_secret: Option<String>,
    /// How long a client may be silent.
    #[arg(long)]
    idle_ms: Option<u64>,
    /// How long before a token expires its client is told.
    #[arg(long)]
    expiry_warning_ms: Option<u64>,
    /// How long a poll waits; whoever does not poll for half as long again is gone.
    #[arg(long)]
    window_ms: Option<u64>,
}

/// What the channels share: a gate that some joins wait at.
pub(crate) struct App {
    openings: (Sender<()>, Receiver<()>),
}

impl App {
    /// Waits until the gate is opened, which lets one through.
    pub(crate) async fn wait_at_gate(&self) {
        // It is never closed: this value holds both ends.
        let _ = self.openings.1.recv().await;
    }

    pub(crate) fn open_gate(&self) {
        // It is never full.
        let _ = self.openings.0.try_send(());
    }
}

pub(crate) fn endpoint(policy: &Policy) -> Result<Endpoint<App>, KeyError> {
    let mut options = ServerOptions::default();
    if let Some(ms) = policy.idle_ms {
        options.session.idle_timeout = Some(Duration::from_millis(ms));
    }
    if let Some(ms) = policy.expiry_warning_ms {
        options.session.expiry_warning = Duration::from_millis(ms);
    }
    if let Some(ms) = policy.window_ms {
        options.long_poll.window = Duration::from_millis(ms);
    }
    let endpoint = Endpoint::new(App { openings: async_channel::unbounded() })
        .channel::<Room>("room:*")
        .channel::<Counter>("crash:*")
        .channel::<Person>("presence:*")
        .options(options);
    Ok(match &policy.jwt_secret {
        Some(secret) => endpoint.verifier(JwtVerifier::from_secret(secret)?),
        None => endpoint,
    })
}
