//! Servers of channels, whole: what an application hears and what its clients do.

mod app;
mod lab;
#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod rig;
#[path = "../http/wire.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod wire;

mod churn;
mod draining;
mod embedded;
mod endings;
mod events;
mod handshakes;
mod joining;
mod messages;
mod presence;
mod pressure;
mod recorded;
mod recorded_app;
mod streams;
mod tokens;
