//! A chat beside a web page, served by axum: `cargo run -p rejoin-tokio --example axum --features hyper`.
//!
//! Open <http://127.0.0.1:4000> in two windows, or talk to it with `--example chat`. Ctrl-C tells everybody
//! to come back later.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Html;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use rejoin_tokio::core::{Payload, Text};
use rejoin_tokio::server::{self, Answer, Channel, Crash, Endpoint, Joined, Refusal, Socket};
use tokio::net::TcpListener;

struct Room;

impl Channel for Room {
    type App = ();

    async fn join(_: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
        Ok(Joined::new(Self))
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
        socket.broadcast_from(event, payload);
        Ok(Answer::Ok(Payload::EMPTY))
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = server::new(Endpoint::new(()).channel::<Room>("room:*"));
    let sockets = server.clone();
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/socket/{*transport}", any(move |request: Request| rejoin_tokio::hyper::serve(&sockets, request)));

    let listener = TcpListener::bind("127.0.0.1:4000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Small messages do not wait for each other, where the system allows that.
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    let stopping = async move {
        let _ = tokio::signal::ctrl_c().await;
        server.shutdown(Duration::from_secs(3)).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stopping).await
}

const PAGE: &str = r#"<!doctype html>
<title>room:lobby</title>
<form><input autofocus></form>
<script type="module">
  import { Socket } from "https://esm.sh/phoenix@1.8";
  const socket = new Socket("/socket", { longPollFallbackMs: 2000 });
  socket.connect();
  const room = socket.channel("room:lobby");
  const show = (line) => document.body.append(line, document.createElement("br"));
  room.on("said", ([name, line]) => show(`${name}: ${line}`));
  room.join().receive("ok", () => show("-- you are in"));
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    const input = event.target[0];
    room.push("said", ["somebody", input.value]).receive("ok", () => show(input.value));
    input.value = "";
  };
</script>
"#;
