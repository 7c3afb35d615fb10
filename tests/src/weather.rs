//! What the network does: lawful like TCP, or hostile like nothing that exists.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// What may happen to a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Climate {
    /// In order and without loss, for as long as the connection lives. Safety and liveness hold.
    Lawful,
    /// Loss, duplication, reordering, mutation and frames that nobody sent. Safety holds.
    Hostile,
}

/// The weather of the moment.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The climate that it belongs to.
    pub climate: Climate,
    /// How long a message takes one way.
    pub latency_ms: u16,
    /// What happens to attempts to connect.
    pub dial: Dial,
}

impl Weather {
    /// A fair day.
    #[must_use]
    pub const fn fair(climate: Climate) -> Self {
        Self { climate, latency_ms: 20, dial: Dial::Accept }
    }
}

/// What happens to an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Dial {
    /// It succeeds.
    Accept,
    /// It succeeds, but late.
    Slow {
        /// How late.
        ms: u16,
    },
    /// The server answers with a status other than 101.
    Refuse {
        /// The status.
        status: u16,
        /// What it asks for.
        retry_after_s: Option<u8>,
    },
    /// It fails below HTTP.
    Fail,
    /// Nobody ever answers.
    Silent,
}

impl Dial {
    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.below(8) {
            0..3 => Self::Accept,
            3 => Self::Slow { ms: rng.below(20_000) as u16 },
            4 | 5 => Self::Refuse {
                status: rng.pick(&[401, 403, 404, 429, 500, 503]),
                retry_after_s: rng.chance(300).then(|| rng.below(40) as u8),
            },
            6 => Self::Fail,
            _ => Self::Silent,
        }
    }
}

/// What hostile weather does to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    IsLost,
    ArrivesTwice,
    OvertakesOthers,
    IsMutated,
}

impl Climate {
    pub(crate) fn fate(self, rng: &mut Rng) -> Fate {
        match (self, rng.below(100)) {
            (Self::Lawful, _) | (_, 0..88) => Fate::Arrives,
            (_, 88..91) => Fate::IsLost,
            (_, 91..94) => Fate::ArrivesTwice,
            (_, 94..97) => Fate::OvertakesOthers,
            _ => Fate::IsMutated,
        }
    }
}

/// Changes some bytes, or the length.
pub(crate) fn mutate(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        match (rng.below(4), bytes.is_empty()) {
            (0, false) => bytes.truncate(at),
            (1, false) => drop(bytes.remove(at)),
            (2, false) => bytes[at] = rng.number() as u8,
            // Digits are what refs are made of.
            (_, false) => bytes[at] = b'0' + rng.below(10) as u8,
            (_, true) => bytes.push(rng.number() as u8),
        }
    }
    bytes
}
