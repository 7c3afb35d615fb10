//! Supabase Realtime on smol. If you know another client of it, begin at [`migration`].
//!
//! ```no_run
//! use rejoin_smol::core::Payload;
//! use rejoin_smol::core::supabase::{Broadcast, ChannelConfig, Config};
//! use rejoin_smol::supabase::{self, Typed};
//!
//! #[derive(Debug, serde::Deserialize)]
//! struct Cursor {
//!     x: f64,
//!     y: f64,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     let config = Config::new("https://abc.supabase.co/realtime/v1", "sb_publishable_key")?;
//!     let (client, pump) = supabase::connect(config);
//!     let pump = smol::spawn(pump);
//!
//!     let room = client.channel("room", ChannelConfig::default().broadcast_ack())?;
//!     let mut cursors = room.broadcasts::<Cursor>("cursor").await?;
//!     room.subscribe().await?;
//!     let ticket = room.broadcast(Broadcast::new("hello", Payload::json("world")?)).await?;
//!     println!("{:?}", ticket.await?);
//!     while let Some(heard) = cursors.next().await {
//!         match heard {
//!             Typed::Message(cursor) => println!("{} {}", cursor.payload.x, cursor.payload.y),
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     client.close().await;
//!     pump.await;
//!     Ok(())
//! })
//! # }
//! ```

use std::future::Future;

use rejoin_pump::core::supabase::Config;

use crate::SmolRuntime;

pub use rejoin_pump::supabase::*;

/// A client that connects at once, and the future that drives it. The jitter's seed is drawn from
/// the system unless the configuration has one.
pub fn connect(config: Config) -> (Client, impl Future<Output = ()> + Send) {
    connect_on(SmolRuntime::default(), config, ConnectOptions::default())
}

/// The same, with a runtime that has been told about TLS, and with options, of which
/// [`ConnectOptions::token_provider`] is one.
pub fn connect_on(
    runtime: SmolRuntime,
    config: Config,
    options: ConnectOptions,
) -> (Client, impl Future<Output = ()> + Send) {
    connect_with(config, options, runtime)
}
