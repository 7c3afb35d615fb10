//! The server that the stock clients of `suites/` talk to: one application of channels, on smol, on
//! tokio, or inside of axum.
//!
//! It says where it listens on its first line, and stops when it is told to (SIGTERM), as a server
//! that is replaced by its next version.

mod application;
mod counter;
mod people;
mod room;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use clap::{Parser, ValueEnum};
use futures_lite::future;

/// How long the clients have for their goodbyes.
const DRAIN: Duration = Duration::from_secs(3);

#[derive(Parser)]
struct Args {
    #[arg(long)]
    runtime: RuntimeName,
    /// Where to listen; port 0 for a free one.
    #[arg(long)]
    listen: SocketAddr,
    #[command(flatten)]
    policy: application::Policy,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeName {
    Smol,
    Tokio,
    /// Tokio, inside of axum.
    Axum,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (stop, stopped) = async_channel::bounded(1);
    ctrlc::set_handler(move || {
        stop.close();
    })?;
    // Nobody sends; the channel closes.
    let stopped = async move { stopped.recv().await.unwrap_or_default() };
    match args.runtime {
        RuntimeName::Smol => smol::block_on(on_smol(args, stopped)),
        RuntimeName::Tokio => tokio_runtime()?.block_on(on_tokio(args, stopped)),
        RuntimeName::Axum => tokio_runtime()?.block_on(on_axum(args, stopped)),
    }
}

fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn on_smol(args: Args, stopped: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
    let endpoint = application::endpoint(&args.policy)?;
    let listener = smol::Async::<std::net::TcpListener>::bind(args.listen)?;
    say_where(listener.get_ref().local_addr()?);
    let (server, serving) = rejoin_smol::server::serve(endpoint, listener);
    future::or(serving, stopped).await;
    server.shutdown(DRAIN).await;
    Ok(())
}

async fn on_tokio(args: Args, stopped: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
    let endpoint = application::endpoint(&args.policy)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    say_where(listener.local_addr()?);
    let (server, serving) = rejoin_tokio::server::serve(endpoint, listener);
    future::or(serving, stopped).await;
    server.shutdown(DRAIN).await;
    Ok(())
}

async fn on_axum(args: Args, stopped: impl Future<Output = ()> + Send + 'static) -> Result<(), Box<dyn Error>> {
    let server = rejoin_tokio::server::new(application::endpoint(&args.policy)?);
    let sockets = server.clone();
    let sockets = any(move |request: Request| rejoin_tokio::hyper::serve(&sockets, request));
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    say_where(listener.local_addr()?);
    let stopping = async move {
        stopped.await;
        server.shutdown(DRAIN).await;
    };
    let app = Router::new().route("/socket/{*transport}", sockets);
    axum::serve(listener, app).with_graceful_shutdown(stopping).await?;
    Ok(())
}

fn say_where(address: SocketAddr) {
    println!("listening on ws://{address}/socket");
}
