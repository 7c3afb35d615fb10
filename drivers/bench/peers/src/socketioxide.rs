//! A room server on socketioxide and axum, configured as its documentation begins.
//!
//! `join` enters a room, `shout` is acknowledged and emitted to the others in it.

use axum::Router;
use axum::serve::ListenerExt as _;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::net::TcpListener;

const ROOM: &str = "bench";

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("join", async |socket: SocketRef, ack: AckSender| {
            socket.join(ROOM);
            let _ = ack.send(&());
        });
        socket.on("shout", async |socket: SocketRef, Data::<Value>(data), ack: AckSender| {
            let _ = ack.send(&());
            // What finds a full buffer is an error here, and lost.
            let _ = socket.to(ROOM).emit("shout", &data).await;
        });
    });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on ws://{}/socket.io/?EIO=4&transport=websocket", listener.local_addr()?);
    let listener = listener.tap_io(|tcp| {
        let _ = tcp.set_nodelay(true);
    });
    axum::serve(listener, Router::new().layer(layer)).await
}
