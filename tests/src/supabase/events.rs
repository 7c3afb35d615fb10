//! What a peer tells whoever hosts it.

use rejoin_core::phoenix::EndReason;
use rejoin_core::wire::DecodeError;
use rejoin_core::{Payload, Text};

use super::broadcasting::Broadcast;
use super::commons::PresenceDiff;

/// What a test may want to see.
#[derive(Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A join was accepted.
    Joined {
        /// The topic, with `realtime:` here and below.
        topic: Text,
        /// The join payload.
        payload: Payload,
    },
    /// A join was refused.
    Refused {
        /// The topic.
        topic: Text,
        /// What the client was told.
        reason: String,
    },
    /// A channel is over, whoever ended it.
    Left {
        /// The topic.
        topic: Text,
    },
    /// The client broadcast something. Whoever owns the other sockets hands it to them with
    /// [`SupabasePeer::deliver`](super::SupabasePeer::deliver).
    Broadcast(Broadcast),
    /// Members of a topic came or went. Whoever owns the other sockets hands it to them with
    /// [`SupabasePeer::deliver`](super::SupabasePeer::deliver).
    Presence(PresenceDiff),
    /// The client broadcast something too large, or without permission.
    Dropped {
        /// The topic.
        topic: Text,
    },
    /// The client pushed a token; whether it was of use is another question.
    TokenPushed {
        /// The topic.
        topic: Text,
        /// `{"access_token": …}`.
        payload: Payload,
    },
    /// The client pushed an event that means nothing here. Nobody answers it.
    Unknown {
        /// The topic.
        topic: Text,
        /// The event.
        event: Text,
        /// What it carried.
        payload: Payload,
    },
    /// The client sent what is not a message. Nobody answers it.
    Malformed {
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The socket is gone. Always the last event.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

impl PeerEvent {
    /// What the other sockets of the project have to hear of it.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        match self {
            Self::Broadcast(broadcast) => Some(Spread::Broadcast(broadcast.clone())),
            Self::Presence(diff) => Some(Spread::Presence(diff.clone())),
            _ => None,
        }
    }
}

/// What goes from one socket to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A broadcast.
    Broadcast(Broadcast),
    /// Members that came or went.
    Presence(PresenceDiff),
}

impl From<Broadcast> for Spread {
    fn from(broadcast: Broadcast) -> Self {
        Self::Broadcast(broadcast)
    }
}
