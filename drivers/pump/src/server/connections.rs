//! Who is connected, and who is on the way: counted, bounded, and waited for at the end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use rejoin_core::ConnId;

use super::lock;
use crate::peer::Peer;

pub(super) struct Connections {
    peers: Mutex<BTreeMap<ConnId, Peer>>,
    last_conn: AtomicU64,
    /// The places of clients that are taken, of so many.
    taken: Arc<AtomicUsize>,
    limit: usize,
    /// The connections that bring requests. They are no clients, but two of them may carry one.
    asking: Arc<AtomicUsize>,
    asking_limit: usize,
    handshakes: Mutex<Handshakes>,
    /// Held by everybody who is there; the second part sees the last one go.
    present: (Mutex<Option<Sender<()>>>, Receiver<()>),
    /// Closed when nobody is let in any more; nothing is ever sent.
    closing: (Sender<()>, Receiver<()>),
    /// Closed when nobody is waited for any more; nothing is ever sent.
    over: (Sender<()>, Receiver<()>),
}

struct Handshakes {
    limit: usize,
    last: u64,
    /// Dropping one gives it up.
    open: BTreeMap<u64, oneshot::Sender<()>>,
    /// Gave way to later ones.
    given_up: u64,
}

/// Shows that somebody is there, until it is dropped.
pub(super) struct Present(#[expect(dead_code, reason = "its drop is what it is for")] Sender<()>);

/// One of the places for clients, from its being let in until it is dropped.
pub(super) struct Place {
    #[expect(dead_code, reason = "its drop is what it is for")]
    taken: Taken,
    #[expect(dead_code, reason = "its drop is what it is for")]
    present: Present,
}

/// One of so many, until it is dropped.
pub(super) struct Taken(Arc<AtomicUsize>);

impl Taken {
    fn one_of(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let take = |taken| (taken < limit).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Self(taken.clone()))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why nobody more is let in.
pub(super) enum NoRoom {
    Full,
    Closing,
}

impl Connections {
    pub(super) fn new(limit: usize, handshakes: usize) -> Self {
        let (present, gone) = async_channel::bounded(1);
        let asking_limit = limit.saturating_mul(2).saturating_add(handshakes);
        let handshakes = Handshakes { limit: handshakes.max(1), last: 0, open: BTreeMap::new(), given_up: 0 };
        Self {
            peers: Mutex::default(),
            last_conn: AtomicU64::new(0),
            taken: Arc::default(),
            limit,
            asking: Arc::default(),
            asking_limit,
            handshakes: Mutex::new(handshakes),
            present: (Mutex::new(Some(present)), gone),
            closing: async_channel::bounded(1),
            over: async_channel::bounded(1),
        }
    }

    pub(super) fn next_conn(&self) -> ConnId {
        ConnId::new(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Shows whoever comes as present; `None` once the server is closing.
    pub(super) fn arrive(&self) -> Option<Present> {
        lock(&self.present.0).clone().map(Present)
    }

    /// What a client does before it is connected: unless it is given up for a later one, or the
    /// server is closing.
    pub(super) async fn handshake<T>(&self, handshake: impl Future<Output = T>) -> Option<T> {
        let (number, given_up) = self.open_handshake();
        let _open = OpenHandshake { connections: self, number };
        let (handshake, closing) = (pin!(handshake), pin!(self.closing()));
        match select(handshake, select(given_up, closing)).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    fn open_handshake(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, given_up) = oneshot::channel();
        let mut handshakes = lock(&self.handshakes);
        let is_full = handshakes.open.len() >= handshakes.limit;
        let oldest = if is_full { handshakes.open.pop_first() } else { None };
        handshakes.given_up += u64::from(oldest.is_some());
        handshakes.last += 1;
        let number = handshakes.last;
        handshakes.open.insert(number, sender);
        // Its drop wakes a task, which may not happen under the lock.
        drop(handshakes);
        drop(oldest);
        (number, given_up)
    }

    /// A place for one more.
    pub(super) fn admit(&self) -> Result<Place, NoRoom> {
        let present = self.arrive().ok_or(NoRoom::Closing)?;
        let taken = Taken::one_of(&self.taken, self.limit).ok_or(NoRoom::Full)?;
        Ok(Place { taken, present })
    }

    /// Room for one more connection that brings requests.
    pub(super) fn listen_to(&self) -> Option<Taken> {
        Taken::one_of(&self.asking, self.asking_limit)
    }

    pub(super) fn enter(&self, peer: &Peer) {
        lock(&self.peers).insert(peer.conn(), peer.clone());
        if self.is_closing() {
            // It was let in while the others were told.
            peer.close(1012, "");
        }
    }

    pub(super) fn leave(&self, conn: ConnId) {
        // Its drop may wake a task, which may not happen under the lock.
        let _peer = lock(&self.peers).remove(&conn);
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        lock(&self.peers).values().cloned().collect()
    }

    /// Drops every connection without a word.
    pub(super) fn abort_all(&self) {
        self.peers().iter().for_each(Peer::abort);
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.closing.0.close();
        drop(lock(&self.present.0).take());
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.0.is_closed()
    }

    /// Waits until nobody is let in any more.
    pub(super) async fn closing(&self) {
        // Nobody sends; the channel closes.
        let _ = self.closing.1.recv().await;
    }

    /// After `close`: waits until everybody is gone.
    pub(super) async fn gone(&self) {
        // Nobody sends; the channel closes.
        let _ = self.present.1.recv().await;
    }

    /// After `close`: ends what is not waited for any more.
    pub(super) fn finish(&self) {
        self.abort_all();
        self.over.0.close();
    }

    /// Waits until nobody is waited for any more.
    pub(super) async fn over(&self) {
        // Nobody sends; the channel closes.
        let _ = self.over.1.recv().await;
    }

    /// How many are connected, on the way, and were given up on their way.
    pub(super) fn counts(&self) -> (usize, usize, u64) {
        let handshakes = lock(&self.handshakes);
        (lock(&self.peers).len(), handshakes.open.len(), handshakes.given_up)
    }
}

struct OpenHandshake<'a> {
    connections: &'a Connections,
    number: u64,
}

impl Drop for OpenHandshake<'_> {
    fn drop(&mut self) {
        lock(&self.connections.handshakes).open.remove(&self.number);
    }
}
