//! What a client's connections have seen, told from the wire alone: refs, joins, heartbeats.

use std::collections::BTreeMap;

use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{ConnId, Frame, TransportAction, TransportEvent};

/// Checks S1, S4, S5 and the wire part of S6 on everything that passes a client's transport.
#[derive(Debug)]
pub(crate) struct WireLog {
    serializer: Serializer,
    joins_in_flight: usize,
    last_ref: u64,
    last_conn: Option<ConnId>,
    conns: BTreeMap<ConnId, ConnLog>,
}

#[derive(Debug, Default)]
struct ConnLog {
    opened: bool,
    /// Closed or given up by the client, or reported closed to it.
    over: bool,
    /// Closed by the client.
    hung_up: bool,
    joins: BTreeMap<(String, u64), JoinLog>,
    heartbeat: Option<u64>,
}

#[derive(Debug, Default)]
struct JoinLog {
    settled: bool,
    left: bool,
}

impl WireLog {
    pub(crate) const fn new(serializer: Serializer, joins_in_flight: usize) -> Self {
        Self { serializer, joins_in_flight, last_ref: 0, last_conn: None, conns: BTreeMap::new() }
    }

    /// Something is about to reach the client.
    pub(crate) fn arrives(&mut self, event: &TransportEvent) {
        match event {
            TransportEvent::Opened { conn } => {
                if let Some(log) = self.conns.get_mut(conn).filter(|log| !log.over) {
                    log.opened = true;
                }
            }
            TransportEvent::Received { conn, frame } => self.frame_arrives(*conn, frame),
            TransportEvent::OpenFailed { conn, .. } | TransportEvent::Closed { conn, .. } => {
                if let Some(log) = self.conns.get_mut(conn) {
                    log.over = true;
                }
            }
            _ => {}
        }
    }

    fn frame_arrives(&mut self, conn: ConnId, frame: &Frame) {
        let Some(log) = self.conns.get_mut(&conn).filter(|log| log.opened && !log.over) else { return };
        let Ok(message) = self.serializer.decode_from_server(frame.clone()) else { return };
        let (topic, reference) = (message.topic.to_string(), number(message.reference.as_ref()));
        match &*message.event {
            "phx_reply" => {
                if reference.is_some() && reference == log.heartbeat {
                    log.heartbeat = None;
                }
                if let Some(join) = reference.and_then(|r| log.joins.get_mut(&(topic, r))) {
                    join.settled = true;
                }
            }
            "phx_close" | "phx_error" => {
                let ends = |join_ref| message.join_ref.is_none() && reference.is_none() || Some(join_ref) == reference;
                let ends = |r| ends(r) || number(message.join_ref.as_ref()) == Some(r);
                for ((other, join_ref), join) in &mut log.joins {
                    join.settled |= *other == topic && ends(*join_ref);
                }
            }
            _ => {}
        }
    }

    /// The client told its transport to do something; what is wrong about it.
    pub(crate) fn leaves(&mut self, action: &TransportAction) -> Result<(), String> {
        match action {
            TransportAction::Open(request) => {
                if self.last_conn.is_some_and(|last| last >= request.conn) {
                    return Err(format!("S4: connection {} is dialled a second time", request.conn));
                }
                self.last_conn = Some(request.conn);
                self.conns.insert(request.conn, ConnLog::default());
                Ok(())
            }
            TransportAction::Send { conn, frame } => self.frame_leaves(*conn, frame),
            TransportAction::Close { conn, reason, .. } => {
                let log = self.conns.get_mut(conn).ok_or("S4: a Close of an unknown connection")?;
                // The other side may have been faster.
                if log.hung_up || !log.opened {
                    return Err(format!("S4: Close of connection {conn}, which is not open"));
                }
                (log.over, log.hung_up) = (true, true);
                if reason.len() > 123 { Err("S4: a close reason that fits no frame".into()) } else { Ok(()) }
            }
            TransportAction::Abort { conn } => {
                if let Some(log) = self.conns.get_mut(conn) {
                    log.over = true;
                }
                Ok(())
            }
        }
    }

    fn frame_leaves(&mut self, conn: ConnId, frame: &Frame) -> Result<(), String> {
        let message = self
            .serializer
            .decode_from_client(frame.clone())
            .map_err(|e| format!("S12: the client sends a malformed frame: {e}"))?;
        let limit = self.joins_in_flight;
        let log = self.conns.get_mut(&conn).ok_or("S4: a frame on an unknown connection")?;
        if !log.opened || log.over {
            return Err(format!("S4: a frame on connection {conn}, which is not open: {message:?}"));
        }
        let reference = number(message.reference.as_ref()).ok_or("S1: a frame without a ref")?;
        if reference <= self.last_ref {
            return Err(format!("S1: ref {reference} after {}: {message:?}", self.last_ref));
        }
        self.last_ref = reference;
        log.sends(&message, reference, limit)
    }
}

impl ConnLog {
    fn sends(&mut self, message: &Message, reference: u64, limit: usize) -> Result<(), String> {
        let topic = message.topic.to_string();
        if topic == "phoenix" {
            return match self.heartbeat.replace(reference) {
                Some(earlier) => Err(format!("S5: heartbeat {reference} while {earlier} is unanswered")),
                None => Ok(()),
            };
        }
        let join_ref = number(message.join_ref.as_ref()).ok_or_else(|| format!("T13: no join_ref on {message:?}"))?;
        if &*message.event == "phx_join" {
            if join_ref != reference {
                return Err(format!("S4: a join whose refs differ: {message:?}"));
            }
            self.joins.insert((topic, join_ref), JoinLog::default());
            let in_flight = self.joins.values().filter(|join| !join.settled && !join.left).count();
            return if in_flight > limit { Err(format!("S6: {in_flight} joins in flight")) } else { Ok(()) };
        }
        let join = self.joins.get_mut(&(topic, join_ref));
        let join = join.ok_or_else(|| format!("S4: a message before its join on this connection: {message:?}"))?;
        if join.left {
            return Err(format!("S4: a message after its phx_leave: {message:?}"));
        }
        if &*message.event == "phx_leave" {
            join.left = true;
        } else if !join.settled {
            return Err(format!("S4: a push before the answer to its join: {message:?}"));
        }
        Ok(())
    }
}

/// One of our own numbers: decimal, no leading zero, no sign.
pub(crate) fn number(reference: Option<&Ref>) -> Option<u64> {
    let text = reference?.as_str();
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !(text.len() > 1 && text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
