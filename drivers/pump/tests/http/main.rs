//! What is carried by HTTP: requests to any server, and long-poll on both sides.

#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod rig;
mod server;
mod wire;

mod admission;
mod anything;
mod client;
mod cuts;
mod long_poll;
mod long_poll_client;
mod long_poll_endpoint;
mod supabase;
