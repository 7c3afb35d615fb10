//! What an application says about its channels: who may join, what a push means, what a leave costs.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use rejoin_core::{Payload, Text};
use serde::Serialize;

use super::reason::with_reason;
use super::socket::Socket;

/// One client in one topic, as the application sees it: a value that lives from the join to the
/// leave, and hears one thing at a time.
///
/// Channels of one client run beside each other: one that waits holds nobody else up. What a client
/// pushes meanwhile waits in order; once 256 joins and pushes of a client are not finished, or 32 MiB of
/// them and as much as two messages may have, its socket is not read. What a channel has begun when its
/// client goes is finished before it hears of that.
///
/// A panic, or an `Err(Crash)`, ends the channel as Phoenix does: the client hears `phx_error` and
/// joins again.
///
/// ```
/// use rejoin_pump::core::{Payload, Text};
/// use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};
///
/// struct Room;
///
/// impl Channel for Room {
///     type App = ();
///
///     async fn join(topic: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
///         if topic == "room:secret" { Err(Refusal::reason("unauthorized")) } else { Ok(Joined::new(Room)) }
///     }
///
///     async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
///         match event.as_str() {
///             "ping" => Ok(Answer::Ok(payload)),
///             _ => {
///                 socket.broadcast(event, payload);
///                 Ok(Answer::None)
///             }
///         }
///     }
/// }
/// ```
pub trait Channel: Sized + Send + 'static {
    /// What all channels of the application share: a database's pool, settings. `()` for nothing.
    type App: Send + Sync + 'static;

    /// A client wants to join. Until this is decided it is in no topic: `socket` can be asked and
    /// kept, but carries nothing yet. The future is dropped if the client goes meanwhile.
    fn join(
        topic: &Text,
        payload: Payload,
        socket: &Socket<Self::App>,
    ) -> impl Future<Output = Result<Joined<Self>, Refusal>> + Send;

    /// The client is in the topic, and has been told. The place to say what it has missed, and to
    /// [`track`](Socket::track) it.
    fn joined(&mut self, socket: &Socket<Self::App>) -> impl Future<Output = Result<(), Crash>> + Send {
        let _ = socket;
        async { Ok(()) }
    }

    /// The client pushed something.
    fn event(
        &mut self,
        event: Text,
        payload: Payload,
        socket: &Socket<Self::App>,
    ) -> impl Future<Output = Result<Answer, Crash>> + Send;

    /// The token that the client has come with is about to expire, which ends its connection. It
    /// goes on with a new one that it pushes as `access_token`. Tells the client, by default, with
    /// `token_expiring` and `{"expires_in": seconds}`.
    fn expiring(
        &mut self,
        expires_in: Duration,
        socket: &Socket<Self::App>,
    ) -> impl Future<Output = Result<(), Crash>> + Send {
        async move {
            let payload = Payload::json(&ExpiresIn { expires_in: expires_in.as_secs() }).unwrap_or_default();
            // A client that is gone needs no warning.
            let _ = socket.push("token_expiring", payload);
            Ok(())
        }
    }

    /// The client is in the topic no more. Not called after a panic, which leaves no state to rely on.
    fn leave(&mut self, reason: Leave, socket: &Socket<Self::App>) -> impl Future<Output = ()> + Send {
        let _ = (reason, socket);
        async {}
    }
}

#[derive(Serialize)]
struct ExpiresIn {
    expires_in: u64,
}

/// A client that is let in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Joined<C> {
    /// What will hear of the client.
    pub channel: C,
    /// What the client is told; default `{}`.
    pub response: Payload,
}

impl<C> Joined<C> {
    /// Lets the client in with an empty response.
    #[must_use]
    pub const fn new(channel: C) -> Self {
        Self { channel, response: Payload::EMPTY }
    }

    /// The same with a response, which has to be JSON.
    #[must_use]
    pub fn with_response(mut self, response: Payload) -> Self {
        self.response = response;
        self
    }
}

/// A client that is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// With this response; usually `{"reason": …}`.
    Response(Payload),
    /// As from a topic that does not exist.
    Unmatched,
}

impl Refusal {
    /// With a response of `{"reason": reason}`.
    #[must_use]
    pub fn reason(reason: &str) -> Self {
        Self::Response(with_reason(reason))
    }
}

/// What a push is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Nothing. A client that waits for an answer waits in vain.
    None,
    /// `ok` with a response.
    Ok(Payload),
    /// `error` with a response.
    Error(Payload),
    /// A status of the application's own.
    Other(Text, Payload),
}

impl Answer {
    /// `error` with a response of `{"reason": reason}`.
    #[must_use]
    pub fn error(reason: &str) -> Self {
        Self::Error(with_reason(reason))
    }
}

/// The channel cannot go on; the client shall join again. `?` makes one of any error.
#[derive(Debug)]
#[non_exhaustive]
pub struct Crash(pub Box<dyn std::error::Error + Send + Sync>);

impl Crash {
    /// For this reason, which no client hears.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Crash {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the channel crashed: {}", self.0)
    }
}

/// Why a client is in a topic no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leave {
    /// It left or joined anew, its socket is gone, or the application closed the channel.
    Left,
    /// The channel crashed.
    Crashed,
}
