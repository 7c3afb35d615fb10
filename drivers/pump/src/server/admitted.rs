//! A client between its request and its connection.

use std::sync::Arc;

use rejoin_core::wire::Serializer;

use super::connections::Place;
use super::identity::Identity;

/// A client that may come in.
pub struct Admitted {
    pub(super) serializer: Serializer,
    pub(super) identity: Arc<Identity>,
    /// Counts it from here on.
    pub(super) place: Place,
}
