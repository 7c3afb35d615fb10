//! Shows who is in a room, on tokio:
//! `SUPABASE_KEY=… cargo run -p rejoin-tokio --example tokio_presence -- https://abc.supabase.co/realtime/v1 NAME`.
//!
//! Start it in two terminals with two names, and end one of them.

use rejoin_tokio::core::Payload;
use rejoin_tokio::core::phoenix::PresenceChange;
use rejoin_tokio::core::supabase::{ChannelConfig, Config};
use rejoin_tokio::supabase::{self, Typed};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, name] = &words[..] else { return Err("give the URL of Realtime and your name".into()) };
    let (client, pump) = supabase::connect(Config::new(url, &std::env::var("SUPABASE_KEY")?)?);
    let pump = tokio::spawn(pump);

    let room = client.channel("lobby", ChannelConfig::default().presence(name.as_str()))?;
    let mut presence = room.presence().await?;
    room.subscribe().await?;
    // From now on, through every loss of the connection.
    let shown = room.track(Payload::from_json_text(r#"{"from":"the example"}"#)?).await?;
    println!("-- {:?}", shown.await?);
    while let Some(heard) = presence.next().await {
        match heard {
            Typed::Message(PresenceChange::Join { key, .. }) => println!("{key} has come"),
            Typed::Message(PresenceChange::Leave { key, current, .. }) if current.is_empty() => {
                println!("{key} has gone");
            }
            Typed::Message(PresenceChange::Sync) => {
                let keys: Vec<_> = presence.members().map(|(key, _)| key).collect();
                println!("here: {}", keys.join(", "));
            }
            Typed::Message(_) => {}
            other => println!("-- {other:?}"),
        }
    }
    pump.await?;
    Ok(())
}
