//! The handles of a Supabase client, in virtual time: what an application sees of them.

mod lab;
#[path = "../rig/mod.rs"]
mod rig;

mod connection;
mod lifetimes;
mod listening;
mod pressure;
mod pushing;
mod sharing;
mod tokens;
