//! What clients dial: many sockets, and what goes from one to the others.

use std::collections::{BTreeMap, VecDeque};

use rejoin_core::{ConnId, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

use super::broadcasting::Broadcast;
use super::commons::Commons;
use super::config::PeerConfig;
use super::events::PeerEvent;
use super::peer::SupabasePeer;
use super::postgres::RowChange;
use super::rest::HttpAnswer;
use super::upgrade::{Refused, Upgrade};

/// A Supabase project: the peers of its sockets, each of which hears of the others.
///
/// It is driven as a machine is, but has many connections and never ends.
#[derive(Debug, Default)]
pub struct Project {
    /// The configuration of sockets to come.
    pub config: PeerConfig,
    /// What all sockets share.
    pub commons: Commons,
    peers: BTreeMap<ConnId, SupabasePeer>,
    refusals: VecDeque<Refused>,
    events: VecDeque<(ConnId, PeerEvent)>,
}

impl Project {
    /// A project without sockets.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The next `times` upgrades are refused, after the usual delay.
    pub fn refuse_upgrades(&mut self, status: u16, error: &str, times: usize) {
        let refused = Refused::new(status, error, self.config.upgrade_delay);
        self.refusals.extend(std::iter::repeat_n(refused, times));
    }

    /// Looks at an upgrade request; [`Project::open`] follows one that is let in.
    ///
    /// # Errors
    /// If it is refused.
    pub fn check_upgrade(
        &mut self,
        now: Timestamp,
        target: &str,
        headers: &[(Text, Text)],
    ) -> Result<Upgrade, Refused> {
        match self.refusals.pop_front() {
            Some(refused) => Err(refused),
            None => self.config.check_upgrade(target, headers, now),
        }
    }

    /// A socket is open.
    pub fn open(&mut self, now: Timestamp, conn: ConnId, upgrade: Upgrade) {
        let peer = SupabasePeer::new(self.config.clone(), upgrade, conn, now).sharing(&self.commons);
        self.peers.insert(conn, peer);
    }

    /// The peer of a socket, until its last event was taken.
    #[must_use]
    pub fn peer(&self, conn: ConnId) -> Option<&SupabasePeer> {
        self.peers.get(&conn)
    }

    /// Lets a test order something.
    pub fn with_peer<T>(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        order: impl FnOnce(&mut SupabasePeer, Timestamp) -> T,
    ) -> Option<T> {
        let result = self.peers.get_mut(&conn).map(|peer| order(peer, now));
        self.settle(now);
        result
    }

    /// A row came, changed or went: whoever asked for it is told.
    pub fn change(&mut self, now: Timestamp, change: &RowChange) {
        self.peers.values_mut().for_each(|peer| peer.change(now, change));
        self.settle(now);
    }

    /// `realtime.send` of the database: to everybody in the channels of this topic, which is without
    /// `realtime:`. What is sent to private ones is stored.
    pub fn send(&mut self, now: Timestamp, topic: &str, private: bool, event: &str, payload: Payload) {
        let broadcast = self.commons.send(self.config.unix(now), topic, private, event, payload);
        self.deliver(now, [broadcast]);
    }

    /// A request over HTTP. `None` is no answer at all.
    pub fn handle_http(
        &mut self,
        now: Timestamp,
        method: &str,
        target: &str,
        headers: &[(Text, Text)],
        body: &[u8],
    ) -> Option<HttpAnswer> {
        let (answer, broadcasts) = self.config.handle_http(&self.commons, now, method, target, headers, body);
        self.deliver(now, broadcasts);
        answer
    }

    fn deliver(&mut self, now: Timestamp, broadcasts: impl IntoIterator<Item = Broadcast>) {
        for broadcast in broadcasts {
            self.peers.values_mut().for_each(|peer| peer.deliver(now, broadcast.clone()));
        }
        self.settle(now);
    }

    /// Something happens to a socket.
    pub fn handle_transport(&mut self, now: Timestamp, conn: ConnId, event: TransportEvent) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.handle_transport(now, event);
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for peer in self.peers.values_mut() {
            peer.handle_timeout(now);
        }
        self.settle(now);
    }

    /// When `handle_timeout` is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.peers.values().filter_map(Machine::poll_timeout).min()
    }

    /// The next thing to do with a socket.
    pub fn poll_transport(&mut self) -> Option<TransportAction> {
        let action = self.peers.values_mut().find_map(Machine::poll_transport);
        if action.is_none() {
            self.peers.retain(|_, peer| !peer.is_finished());
        }
        action
    }

    /// The next thing that a test may want to see, with its socket.
    pub fn poll_event(&mut self) -> Option<(ConnId, PeerEvent)> {
        self.events.pop_front()
    }

    /// Carries things from socket to socket until nobody says anything new.
    fn settle(&mut self, now: Timestamp) {
        while let Some((conn, event)) = self.next_event() {
            if let Some(spread) = event.spread() {
                for (_, peer) in self.peers.iter_mut().filter(|(other, _)| **other != conn) {
                    peer.deliver(now, spread.clone());
                }
            }
            self.events.push_back((conn, event));
        }
    }

    fn next_event(&mut self) -> Option<(ConnId, PeerEvent)> {
        self.peers.iter_mut().find_map(|(conn, peer)| Some((*conn, peer.poll_event()?)))
    }
}
