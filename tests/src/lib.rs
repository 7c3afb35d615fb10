//! The simulated world: client and servers joined memory to memory under virtual time.
//!
//! * [`World`] joins one client session to the server sessions it dials, over a simulated network.
//! * A [`Storm`] is a seed, a climate and a list of [`Op`]s; [`Storm::run`] plays it in a world
//!   while the [`Oracle`] checks every promise on everything that leaves and enters.
//! * [`Script`] and [`Scripted`] drive a lone session against a peer that the test writes frame by frame.
//! * [`supabase`] is a scripted Supabase Realtime; a [`supabase_storm`] plays a session of ours against it.
//! * A [`longpoll::LongPollWorld`] has long-poll between the two, and its own storms.
//! * [`replay`] and [`replay_supabase`] drive sessions through recorded conversations.
//! * [`fuzz`] is what the fuzz targets call.
//!
//! `SIM_SEED=<n>` replays one seed of the storms; a failing one is written as a trace.
#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "not published: whoever uses these types is in this repository"
)]

mod app;
pub mod fuzz;
mod host;
pub mod longpoll;
mod network;
mod op;
mod oracle;
pub mod replay;
pub mod replay_supabase;
mod rng;
mod script;
mod scripted;
mod storm;
pub mod supabase;
mod supabase_script;
pub mod supabase_storm;
mod trace;
mod weather;
mod wirelog;
mod world;

pub use app::Policy;
pub use host::Host;
pub use op::{Op, PushEvent, Scrap, Timed, Topic, Word};
pub use oracle::Oracle;
pub use rng::Rng;
pub use script::{Script, config};
pub use scripted::{Scripted, Sent};
pub use storm::{Habit, Outcome, Polls, Storm};
pub use supabase_script::{EPOCH, SupabaseScript, provider_config, supabase_config, token};
pub use trace::{read_trace, write_trace};
pub use weather::{Climate, Dial, Weather};
pub use world::World;

/// The examples of the README are compiled, and the one without sockets is run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
