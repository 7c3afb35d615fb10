//! The end of a server: everybody is told, nobody at the same moment.

use std::time::Duration;

use super::handle::Server;
use crate::peer::Peer;
use crate::runtime::{Runtime, within};

/// A pause between two batches of goodbyes, at the most.
const BATCH: Duration = Duration::from_millis(20);
/// What a goodbye may take of the time of a shutdown.
const A_GOODBYE: Duration = Duration::from_micros(100);

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Clients that were told to come back.
    pub told: usize,
    /// Those of them whose goodbye took too long.
    pub cut: usize,
}

impl<R: Runtime> Server<R> {
    /// Ends the server: nobody is let in any more, and every client is told to come back (1012,
    /// "service restart"), spread over at most half of the time so that they do not come back
    /// all at once. Whoever is not gone after `deadline` is cut; what channels are busy with goes on, in
    /// its task, after this has resolved.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        let connections = &self.shared.connections;
        connections.close();
        self.long_polls.close();
        let mut peers = connections.peers();
        let told = peers.len();
        let draining = async {
            self.say_goodbye(&mut peers, deadline / 2).await;
            connections.gone().await;
        };
        let in_time = within(&self.runtime, deadline, draining).await.is_some();
        let cut = if in_time { 0 } else { connections.peers().len() };
        connections.finish();
        Drained { told, cut }
    }

    /// In an order and at a pace that no client can foresee.
    async fn say_goodbye(&self, peers: &mut [Peer], time: Duration) {
        let mut random = fastrand::Rng::with_seed(self.shared.seed);
        random.shuffle(peers);
        let time = time.min(A_GOODBYE * u32::try_from(peers.len()).unwrap_or(u32::MAX));
        let batches = usize::try_from(time.as_millis() / BATCH.as_millis()).unwrap_or(usize::MAX).max(1);
        let mut batches = peers.chunks(peers.len().div_ceil(batches).max(1)).peekable();
        while let Some(batch) = batches.next() {
            batch.iter().for_each(|peer| peer.close(1012, ""));
            if batches.peek().is_some() {
                let pause = BATCH.mul_f64(0.5 + random.f64() / 2.0);
                self.runtime.sleep_until(self.runtime.now() + pause).await;
            }
        }
    }
}
