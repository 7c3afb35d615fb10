//! The requests over HTTP that have no answer yet.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::http::{HttpId, HttpRequest};
use crate::phoenix::PushId;
use crate::time::Timestamp;

/// How much later than it should the host may answer; it keeps the deadline itself.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<HttpId, Pending>,
    last: u64,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) push: PushId,
    /// Whether it stands in for a push, which ends in `PushDone`.
    pub(super) fell_back: bool,
    /// When the host's answer is not waited for any more.
    until: Timestamp,
    /// The request, until the host takes it.
    request: Option<HttpRequest>,
}

impl Pending {
    /// Whether the host has taken the request, so that the server may act on it.
    pub(super) const fn is_sent(&self) -> bool {
        self.request.is_none()
    }
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The id of the next request.
    pub(super) const fn next_id(&mut self) -> HttpId {
        self.last += 1;
        HttpId::new(self.last)
    }

    pub(super) fn send(&mut self, now: Timestamp, request: HttpRequest, push: PushId, fell_back: bool) {
        let until = now.saturating_add(request.timeout).saturating_add(GRACE);
        self.pending.insert(request.id, Pending { push, fell_back, until, request: Some(request) });
    }

    /// The next one for the host, which takes it.
    pub(super) fn take(&mut self) -> Option<HttpRequest> {
        self.pending.values_mut().find_map(|pending| pending.request.take())
    }

    /// It is over.
    pub(super) fn remove(&mut self, id: HttpId) -> Option<Pending> {
        self.pending.remove(&id)
    }

    /// The same, known by who waits for it.
    pub(super) fn remove_push(&mut self, push: PushId) -> Option<Pending> {
        let id = self.pending.iter().find_map(|(id, pending)| (pending.push == push).then_some(*id))?;
        self.pending.remove(&id)
    }

    /// One whose answer is not waited for any more.
    pub(super) fn remove_late(&mut self, now: Timestamp) -> Option<Pending> {
        let id = self.pending.iter().find_map(|(id, pending)| (pending.until <= now).then_some(*id))?;
        self.pending.remove(&id)
    }

    /// Any one; for the end of everything.
    pub(super) fn remove_first(&mut self) -> Option<Pending> {
        self.pending.pop_first().map(|(_, pending)| pending)
    }

    /// When the host should have answered.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.pending.values().map(|pending| pending.until).min()
    }
}
