//! Looking on: what a recorder needs to see of a connection.

use rejoin_core::{ConnId, ConnectRequest, Frame, OpenError};

/// Sees everything that a pump's connections carry, in order.
///
/// Called from the pump's task between two steps; it must not block. Requests and frames carry
/// credentials: what is written down has to be redacted first.
pub trait Tap: Send {
    /// An attempt begins.
    fn opening(&mut self, request: &ConnectRequest);
    /// The attempt succeeded.
    fn opened(&mut self, conn: ConnId);
    /// The attempt failed.
    fn open_failed(&mut self, conn: ConnId, error: &OpenError);
    /// A frame was sent or received.
    fn frame(&mut self, conn: ConnId, direction: Direction, frame: &Frame);
    /// The connection ended: by our own close frame, by the peer's, or (`code` is `None`) without one.
    fn closed(&mut self, conn: ConnId, direction: Direction, code: Option<u16>, reason: &str);
}

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two directions")]
pub enum Direction {
    /// From here to the peer.
    Out,
    /// From the peer to here.
    In,
}
