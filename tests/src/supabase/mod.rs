//! A scripted Supabase Realtime, as the specification and the recordings show release 2.129.8.
//!
//! * A [`SupabasePeer`] is the server's end of one socket: a machine without I/O, for virtual time
//!   and for real sockets alike. Tests write what it shall refuse and when it shall fail.
//! * A [`Project`] is the server that clients dial: it checks upgrades and carries broadcasts from
//!   one socket to the others.
//! * A [`Lab`] joins one client session to a project under virtual time.
//! * [`replay`] plays recorded clients to a project.
//!
//! Left out are the database, whose changes a test sends with [`SupabasePeer::push`], and presence,
//! of which there is only the empty state.

mod channel;
mod config;
mod joining;
mod lab;
mod peer;
mod project;
pub mod replay;
mod token;
mod upgrade;

pub use channel::{Body, Broadcast};
pub use config::{Access, PeerConfig, Stored};
pub use lab::{Lab, Watch};
pub use peer::{PeerEvent, SupabasePeer};
pub use project::Project;
pub use token::{BAD_SIGNATURE, token, token_with};
pub use upgrade::{Refused, Upgrade};
