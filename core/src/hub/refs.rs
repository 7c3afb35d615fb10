//! Names that no other hub gives and this one gives once.

use core::hash::BuildHasher;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::text::Text;

/// Which hub it is, and how many names it has given: 6 bytes each, 16 characters of text together, which
/// is as long as Phoenix's.
#[derive(Debug)]
pub(super) struct Refs {
    hub: [u8; 6],
    given: u64,
}

impl Refs {
    pub(super) fn new(seed: u64) -> Self {
        // Seeds that differ only a little shall give names that do not look alike.
        let [hub @ .., _, _] = foldhash::quality::FixedState::default().hash_one(seed).to_be_bytes();
        Self { hub, given: 0 }
    }

    /// Characters of base64url, which need no escapes in JSON.
    pub(super) fn next(&mut self) -> Text {
        self.given += 1;
        let [_, _, number @ ..] = self.given.to_be_bytes();
        let mut name = [0; 12];
        name[..6].copy_from_slice(&self.hub);
        name[6..].copy_from_slice(&number);
        URL_SAFE_NO_PAD.encode(name).into()
    }
}
