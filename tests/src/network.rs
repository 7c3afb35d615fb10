//! The simulated network: connections on which messages travel, stall, are cut off and come late.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::{ConnId, Frame, OpenError, Text, Timestamp, TransportEvent};

use crate::rng::Rng;
use crate::weather::{Climate, Dial, Fate, Weather, mutate};

/// What arrives somewhere.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// The client's upgrade request arrives at the server.
    Upgrade,
    /// Something happens at the server's end of a connection.
    ToServer(TransportEvent),
    /// Something happens at the client's end.
    ToClient(TransportEvent),
}

#[derive(Debug)]
struct Link {
    stalled: bool,
    /// What is held back while it is stalled.
    held: Vec<Delivery>,
    /// Nothing travels any more.
    dead: bool,
    /// Before these times nothing further arrives at the server and at the client.
    clear: [Timestamp; 2],
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    links: BTreeMap<ConnId, Link>,
    travelling: BTreeMap<(Timestamp, u64), (ConnId, Delivery)>,
    sequence: u64,
    rng: Rng,
}

impl Network {
    pub(crate) fn new(climate: Climate, seed: u64) -> Self {
        let weather = Weather::fair(climate);
        Self { weather, links: BTreeMap::new(), travelling: BTreeMap::new(), sequence: 0, rng: Rng::new(seed) }
    }

    /// The client wants a connection.
    pub(crate) fn dial(&mut self, now: Timestamp, conn: ConnId) {
        self.links.insert(conn, Link { stalled: false, held: Vec::new(), dead: false, clear: [now; 2] });
        let failed = |error| Delivery::ToClient(TransportEvent::OpenFailed { conn, error });
        match self.weather.dial {
            Dial::Accept => self.send(now, conn, Delivery::Upgrade),
            Dial::Slow { ms } => self.send_after(now, conn, Duration::from_millis(ms.into()), Delivery::Upgrade),
            Dial::Refuse { status, retry_after_s } => {
                let retry_after = retry_after_s.map(|s| Duration::from_secs(s.into()));
                self.send(now, conn, failed(OpenError::refused(status, retry_after, "")));
            }
            Dial::Fail => self.send(now, conn, failed(OpenError::io("refused"))),
            Dial::Silent => {}
        }
    }

    /// Sends something on its way, behind what was sent before in the same direction.
    pub(crate) fn send(&mut self, now: Timestamp, conn: ConnId, delivery: Delivery) {
        self.send_after(now, conn, Duration::ZERO, delivery);
    }

    /// The same, after a while.
    pub(crate) fn send_after(&mut self, now: Timestamp, conn: ConnId, delay: Duration, delivery: Delivery) {
        let latency = Duration::from_millis(self.weather.latency_ms.into()).saturating_add(delay);
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.dead) else { return };
        if link.stalled {
            link.held.push(delivery);
            return;
        }
        let clear = &mut link.clear[usize::from(matches!(delivery, Delivery::ToClient(_)))];
        let at = now.saturating_add(latency).max(*clear);
        let is_frame = matches!(
            delivery,
            Delivery::ToServer(TransportEvent::Received { .. }) | Delivery::ToClient(TransportEvent::Received { .. })
        );
        match if is_frame { self.weather.climate.fate(&mut self.rng) } else { Fate::Arrives } {
            Fate::Arrives => {
                *clear = at;
                self.schedule(at, conn, delivery);
            }
            Fate::IsLost => {}
            Fate::ArrivesTwice => {
                self.schedule(at, conn, delivery.clone());
                let later = Duration::from_millis(self.rng.below(3000));
                self.schedule(at.saturating_add(later), conn, delivery);
            }
            Fate::OvertakesOthers => {
                let later = Duration::from_millis(self.rng.below(3000));
                self.schedule(at.saturating_add(later), conn, delivery);
            }
            Fate::IsMutated => {
                let delivery = self.mutated(delivery);
                self.schedule(at, conn, delivery);
            }
        }
    }

    /// A word about a connection that comes from nowhere.
    pub(crate) fn whisper(&mut self, now: Timestamp, conn: ConnId, delivery: Delivery) {
        self.schedule(now, conn, delivery);
    }

    pub(crate) fn stall(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.stalled && !link.dead) else { return };
        link.stalled = true;
        // What travels is held back too, ahead of what is sent from now on.
        self.travelling.retain(|_, (other, delivery)| {
            let stays = *other != conn;
            if !stays {
                link.held.push(delivery.clone());
            }
            stays
        });
    }

    pub(crate) fn resume(&mut self, now: Timestamp, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.stalled = false;
            for delivery in std::mem::take(&mut link.held) {
                self.send(now, conn, delivery);
            }
        }
    }

    /// The connection ends: what travels is lost, but for the first `keep`, and both ends are told
    /// if `notice`.
    pub(crate) fn cut(&mut self, now: Timestamp, conn: ConnId, keep: u8, notice: bool) {
        let mut left = keep;
        self.travelling.retain(|_, (other, _)| {
            *other != conn || {
                let kept = left > 0;
                left = left.saturating_sub(1);
                kept
            }
        });
        if notice {
            let closed = TransportEvent::Closed { conn, code: None, reason: Text::from_static("cut") };
            if let Some(link) = self.links.get_mut(&conn) {
                link.held.clear();
                link.stalled = false;
            }
            self.send(now, conn, Delivery::ToServer(closed.clone()));
            self.send(now, conn, Delivery::ToClient(closed));
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.dead = true;
            link.held.clear();
        }
    }

    /// No further trouble; connections that are dead stay dead.
    pub(crate) fn heal(&mut self, now: Timestamp) {
        self.weather = Weather::fair(Climate::Lawful);
        let conns: Vec<_> = self.links.keys().copied().collect();
        for conn in conns {
            self.resume(now, conn);
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.travelling.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(ConnId, Delivery)> {
        let first = self.travelling.first_entry().filter(|entry| entry.key().0 <= now);
        first.map(std::collections::btree_map::OccupiedEntry::remove)
    }

    fn schedule(&mut self, at: Timestamp, conn: ConnId, delivery: Delivery) {
        self.sequence += 1;
        self.travelling.insert((at, self.sequence), (conn, delivery));
    }

    fn mutated(&mut self, delivery: Delivery) -> Delivery {
        let mut mutated = |frame: &Frame| match frame {
            Frame::Text(text) => Frame::Text(Text::assume_utf8(mutate(text.as_bytes(), &mut self.rng).into())),
            Frame::Binary(bytes) => Frame::Binary(mutate(bytes, &mut self.rng).into()),
        };
        match delivery {
            Delivery::ToServer(TransportEvent::Received { conn, frame }) => {
                Delivery::ToServer(TransportEvent::Received { conn, frame: mutated(&frame) })
            }
            Delivery::ToClient(TransportEvent::Received { conn, frame }) => {
                Delivery::ToClient(TransportEvent::Received { conn, frame: mutated(&frame) })
            }
            other => other,
        }
    }
}
