//! A chat room in a terminal, on tokio: `cargo run -p rejoin-tokio --example chat -- URL TOPIC NAME`.
//!
//! Try it against `cargo run --bin rejoin -- serve`, with two terminals, and stop and start the
//! server in between.

use rejoin_tokio::core::Payload;
use rejoin_tokio::core::phoenix::{Config, JoinOptions, Push};
use rejoin_tokio::{Channel, ChannelEvent, Events};
use tokio::io::{AsyncBufReadExt, BufReader};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or_else(|| default.into());
    let config = Config::new(&word(0, "ws://127.0.0.1:4000/socket"))?;
    let (topic, name) = (word(1, "room:lobby"), word(2, "somebody"));

    let (client, pump) = rejoin_tokio::connect(config);
    let pump = tokio::spawn(pump);
    let (room, events) = client.join(topic, JoinOptions::default()).await?;
    tokio::select! {
        ended = talk(room, &name) => ended?,
        ended = listen(events) => ended?,
    }
    client.close().await;
    pump.await?;
    // Reading the terminal cannot be interrupted, and tokio would wait for it.
    std::process::exit(0)
}

/// Sends each line until the input ends.
async fn talk(room: Channel, name: &str) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let said = Payload::json(&[name, &line])?;
        println!("   ({:?})", room.push(Push::new("said", said)).await?.await?);
    }
    Ok(())
}

/// Prints what happens in the room until it is closed for good.
async fn listen(mut events: Events) -> Result<(), Failure> {
    while let Some(event) = events.next().await {
        match event {
            ChannelEvent::Joined { again: false, .. } => println!("-- you are in"),
            ChannelEvent::Joined { again: true, .. } => println!("-- you are back"),
            ChannelEvent::JoinFailed { failure, .. } => println!("-- not let in: {failure}"),
            ChannelEvent::Errored { cause, .. } => println!("-- {cause}"),
            ChannelEvent::Message { payload, .. } => match payload.parse::<[&str; 2]>() {
                Ok([name, line]) => println!("{name}: {line}"),
                Err(error) => println!("-- something unreadable: {error}"),
            },
            other => println!("-- {other:?}"),
        }
    }
    Ok(())
}
