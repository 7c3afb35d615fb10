//! A scripted Supabase Realtime, as the specification and the recordings show release 2.129.8.
//!
//! * A [`SupabasePeer`] is the server's end of one socket: a machine without I/O, for virtual time
//!   and for real sockets alike. Tests write what it shall refuse and when it shall fail.
//! * A [`Project`] is the server that clients dial: it checks upgrades and carries broadcasts from
//!   one socket to the others.
//! * A [`Lab`] joins one client session to a project under virtual time.
//! * A [`Desk`] is a project alone, whose clients a test writes frame by frame.
//! * A [`Broken`] server is broken in one way.
//! * [`replay`] plays recorded clients to a project.

mod broadcasting;
mod broken;
mod channel;
mod commons;
mod config;
mod desk;
mod events;
mod join_payload;
mod joining;
mod lab;
mod peer;
mod postgres;
mod presence;
mod project;
pub mod replay;
mod rest;
mod token;
mod upgrade;
mod web;

pub use broadcasting::{Body, Broadcast};
pub use broken::Broken;
pub use commons::{Commons, PresenceDiff};
pub use config::{Access, Echo, Joins, PeerConfig, PresenceState, Readiness, Stored, Upgrades};
pub use desk::{Desk, LATE};
pub use events::{PeerEvent, Spread};
pub use lab::{Lab, Watch};
pub use peer::SupabasePeer;
pub use postgres::{RowChange, RowError};
pub use project::Project;
pub use rest::{HttpAnswer, Rest};
pub use token::{BAD_SIGNATURE, token, token_with};
pub use upgrade::{Refused, Upgrade};
pub use web::Web;
