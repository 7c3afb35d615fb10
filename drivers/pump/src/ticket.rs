//! The receipt of a push: where it is, and then its one outcome.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rejoin_core::phoenix::{PushError, PushOutcome};
use rejoin_core::supabase::TrackError;

/// Resolves to the push's one outcome, in its place among the events: not while a full queue of
/// [`Inflow::Block`](crate::Inflow::Block) stops them. Dropping it abandons the answer, not the push.
#[must_use = "a push whose ticket is dropped is still sent, and nobody hears how it ended"]
pub struct PushTicket(Arc<Mutex<Slot>>);

/// The pump's end of a ticket.
pub(crate) struct TicketSender(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    /// While there is no outcome.
    progress: PushState,
    outcome: Option<Result<PushOutcome, PushFailed>>,
    reader: Option<Waker>,
}

/// Where a push is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushState {
    /// It waits for its channel or for the socket (the default).
    #[default]
    Waiting,
    /// The socket has taken it; its reply is to come.
    Sent,
    /// An HTTP request carries it, since its channel cannot send.
    OverHttp,
    /// It has its outcome.
    Done,
}

/// Why a push has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushFailed {
    /// The session did not accept it.
    Refused(PushError),
    /// The session did not accept a wish about presence.
    Untrackable(TrackError),
    /// The pump is gone.
    Closed,
}

impl fmt::Display for PushFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Untrackable(error) => error.fmt(f),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for PushFailed {}

pub(crate) fn ticket() -> (TicketSender, PushTicket) {
    let slot = Arc::<Mutex<Slot>>::default();
    (TicketSender(slot.clone()), PushTicket(slot))
}

impl PushTicket {
    /// Where the push is now.
    #[must_use]
    pub fn state(&self) -> PushState {
        let slot = lock(&self.0);
        if slot.outcome.is_some() { PushState::Done } else { slot.progress }
    }
}

impl Future for PushTicket {
    type Output = Result<PushOutcome, PushFailed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.0);
        match &slot.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                slot.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl TicketSender {
    pub(crate) fn sent(&self) {
        lock(&self.0).progress = PushState::Sent;
    }

    pub(crate) fn over_http(&self) {
        lock(&self.0).progress = PushState::OverHttp;
    }

    pub(crate) fn done(self, outcome: Result<PushOutcome, PushFailed>) {
        self.settle(outcome);
    }

    fn settle(&self, outcome: Result<PushOutcome, PushFailed>) {
        let mut slot = lock(&self.0);
        if slot.outcome.is_none() {
            slot.outcome = Some(outcome);
            if let Some(reader) = slot.reader.take() {
                drop(slot);
                reader.wake();
            }
        }
    }
}

/// A pump that is dropped answers everybody.
impl Drop for TicketSender {
    fn drop(&mut self) {
        self.settle(Err(PushFailed::Closed));
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
