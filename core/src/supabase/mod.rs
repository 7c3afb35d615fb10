//! Supabase Realtime on top of Phoenix Channels: broadcast, presence and database changes.
#![expect(dead_code, reason = "the session is to use what is pub(crate) here")]

mod access_token;

pub use access_token::{AccessToken, ApiKey, ApiKeyError, TokenError};
