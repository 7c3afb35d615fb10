//! A chat room in a terminal, on smol: `cargo run -p rejoin-smol --example chat -- URL TOPIC NAME`.
//!
//! Try it against `cargo run --bin rejoin -- serve`, with two terminals, and stop and start the
//! server in between.

use rejoin_smol::core::Payload;
use rejoin_smol::core::phoenix::{Config, JoinOptions, Push};
use rejoin_smol::{Channel, ChannelEvent, Events};
use smol::io::{AsyncBufReadExt, BufReader};
use smol::stream::StreamExt;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or_else(|| default.into());
    let config = Config::new(&word(0, "ws://127.0.0.1:4000/socket"))?;
    let (topic, name) = (word(1, "room:lobby"), word(2, "somebody"));

    smol::block_on(async {
        let (client, pump) = rejoin_smol::connect(config);
        let pump = smol::spawn(pump);
        let (room, events) = client.join(topic, JoinOptions::default()).await?;
        smol::future::or(talk(room, &name), listen(events)).await?;
        client.close().await;
        pump.await;
        Ok(())
    })
}

/// Sends each line until the input ends.
async fn talk(room: Channel, name: &str) -> Result<(), Failure> {
    let mut lines = BufReader::new(smol::Unblock::new(std::io::stdin())).lines();
    while let Some(line) = lines.next().await {
        let said = Payload::json(&[name, &line?])?;
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
