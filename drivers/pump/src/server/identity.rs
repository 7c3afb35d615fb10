//! Who a connection belongs to: what it said of itself, and what its token says.

use std::sync::{Arc, Mutex};

use rejoin_core::auth::Claims;
use rejoin_core::phoenix::Params;

use super::lock;

/// One connection's.
pub(super) struct Identity {
    pub(super) params: Params,
    claims: Mutex<Option<Arc<Claims>>>,
}

impl Identity {
    pub(super) fn new(params: Params, claims: Option<Claims>) -> Self {
        Self { params, claims: Mutex::new(claims.map(Arc::new)) }
    }

    pub(super) fn claims(&self) -> Option<Arc<Claims>> {
        lock(&self.claims).clone()
    }

    pub(super) fn renew(&self, claims: Claims) {
        *lock(&self.claims) = Some(Arc::new(claims));
    }
}
