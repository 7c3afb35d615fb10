//! The handles of a Supabase client, in virtual time: what an application sees of them.

mod lab;
#[path = "../rig/mod.rs"]
mod rig;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../http/wire.rs"]
mod wire;

mod connection;
mod lifetimes;
mod listening;
mod members;
mod over_http;
mod pressure;
mod pushing;
mod reading;
mod rows;
mod sharing;
mod tokens;
