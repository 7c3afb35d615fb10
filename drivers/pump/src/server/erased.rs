//! Channels of every type behind one, so that a connection can hold any of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rejoin_core::{Payload, Text};

use super::channel::{Answer, Channel, Crash, Joined, Leave, Refusal};
use super::socket::{Seat, Socket};
use crate::runtime::BoxFuture;

/// Who answers the joins of a topic.
pub(super) trait Route: Send + Sync {
    /// `None` if the application panicked.
    fn join(&self, seat: Arc<Seat>, payload: Payload) -> BoxFuture<Option<Result<Guest, Refusal>>>;
}

/// A client that the application lets in, and what it is told.
pub(super) struct Guest {
    pub(super) channel: Box<dyn AnyChannel>,
    pub(super) response: Payload,
}

/// What is asked of a channel.
pub(super) enum Call {
    Joined,
    Event { event: Text, payload: Payload },
    Expiring { expires_in: Duration },
    Leave { reason: Leave },
}

impl Call {
    /// How much of the client's it keeps.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Event { event, payload } => event.len() + payload.len(),
            Self::Joined | Self::Expiring { .. } | Self::Leave { .. } => 0,
        }
    }
}

/// A channel and its socket. Each call takes it and gives it back, so that the future in between
/// owns all it needs.
pub(super) trait AnyChannel: Send {
    fn call(self: Box<Self>, call: Call) -> BoxFuture<Called>;
}

/// What has become of a call.
pub(super) enum Called {
    Done { channel: Box<dyn AnyChannel>, answer: Answer },
    Crashed { channel: Box<dyn AnyChannel>, error: Crash },
    Panicked,
}

/// The route to the channels of one type.
pub(super) struct RouteTo<C: Channel> {
    pub(super) app: Arc<C::App>,
}

impl<C: Channel> Route for RouteTo<C> {
    fn join(&self, seat: Arc<Seat>, payload: Payload) -> BoxFuture<Option<Result<Guest, Refusal>>> {
        let socket = Socket { seat, app: self.app.clone() };
        let joining = async move {
            let Joined { channel, response } = C::join(socket.topic(), payload, &socket).await?;
            let channel: Box<dyn AnyChannel> = Box::new(Attached { channel: Some(channel), socket });
            Ok(Guest { channel, response })
        };
        Box::pin(AssertUnwindSafe(joining).catch_unwind().map(Result::ok))
    }
}

struct Attached<C: Channel> {
    /// `None` only while it is dropped.
    channel: Option<C>,
    socket: Socket<C::App>,
}

/// A panic here is the application's, and no reason to forget the client's other channels.
impl<C: Channel> Drop for Attached<C> {
    fn drop(&mut self) {
        let channel = self.channel.take();
        // Whoever minds has heard of it from the panic hook.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(channel)));
    }
}

impl<C: Channel> AnyChannel for Attached<C> {
    fn call(mut self: Box<Self>, call: Call) -> BoxFuture<Called> {
        let calling = async move {
            let Self { channel: Some(channel), socket } = &mut *self else { return Called::Panicked };
            let answer: Result<Answer, Crash> = match call {
                Call::Joined => channel.joined(socket).await.map(|()| Answer::None),
                Call::Event { event, payload } => channel.event(event, payload, socket).await,
                Call::Expiring { expires_in } => channel.expiring(expires_in, socket).await.map(|()| Answer::None),
                Call::Leave { reason } => {
                    channel.leave(reason, socket).await;
                    Ok(Answer::None)
                }
            };
            let channel: Box<dyn AnyChannel> = self;
            match answer {
                Ok(answer) => Called::Done { channel, answer },
                Err(error) => Called::Crashed { channel, error },
            }
        };
        // What was taken is dropped with the future: nothing that may be broken is looked at again.
        Box::pin(AssertUnwindSafe(calling).catch_unwind().map(|called| called.unwrap_or(Called::Panicked)))
    }
}
