//! A room server on trillium-channels and smol, as in its examples.
//!
//! Every topic may be joined; a message is answered and broadcast to everybody in the topic, its
//! sender included.

use std::net::TcpListener;

use trillium_channels::{ChannelConn, ChannelEvent, ChannelHandler, channel};
use trillium_smol::async_net;

struct Room;

impl ChannelHandler for Room {
    async fn join_channel(&self, conn: ChannelConn<'_>, event: ChannelEvent) {
        conn.allow_join(&event, &()).await;
    }

    async fn incoming_message(&self, conn: ChannelConn<'_>, event: ChannelEvent) {
        conn.reply_ok(&event, &()).await;
        conn.broadcast(event);
    }
}

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on ws://{}/socket/websocket", listener.local_addr()?);
    let listener = async_net::TcpListener::try_from(listener)?;
    let config = trillium_smol::config().with_prebound_server(listener).with_nodelay().with_max_connections(None);
    config.run(channel(Room));
    Ok(())
}
