//! Shows who is in a room, on smol:
//! `SUPABASE_KEY=… cargo run -p rejoin-smol --example smol_presence -- https://abc.supabase.co/realtime/v1 NAME`.
//!
//! Start it in two terminals with two names, and end one of them.

use rejoin_smol::core::Payload;
use rejoin_smol::core::phoenix::PresenceChange;
use rejoin_smol::core::supabase::{ChannelConfig, Config};
use rejoin_smol::supabase::{self, Typed};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, name] = &words[..] else { return Err("give the URL of Realtime and your name".into()) };
    let config = Config::new(url, &std::env::var("SUPABASE_KEY")?)?;
    smol::block_on(async {
        let (client, pump) = supabase::connect(config);
        let pump = smol::spawn(pump);

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
        pump.await;
        Ok(())
    })
}
