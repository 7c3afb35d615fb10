//! Prints what changes in a table, on tokio:
//! `SUPABASE_KEY=… cargo run -p rejoin-tokio --example tokio_table_watch -- https://abc.supabase.co/realtime/v1 todos`.
//!
//! The table has to be in the publication `supabase_realtime`. Cut the network and see what it says.

use std::time::Duration;

use rejoin_tokio::core::supabase::{ChannelConfig, Config, PostgresBinding, PostgresEvent};
use rejoin_tokio::supabase::{self, ChannelEvent, Typed};
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, table] = &words[..] else { return Err("give the URL of Realtime and a table".into()) };
    let (client, pump) = supabase::connect(Config::new(url, &std::env::var("SUPABASE_KEY")?)?);
    let pump = tokio::spawn(pump);

    let rows = PostgresBinding::new(PostgresEvent::All).table(table.as_str());
    let channel = client.channel("table_watch", ChannelConfig::default().postgres_changes(rows.clone()))?;
    // An application has a type for its rows; these may be any.
    let mut changes = channel.changes::<Value>(&rows).await?;
    channel.subscribe().await?;
    channel.wait_ready(Duration::from_secs(30)).await?;
    while let Some(heard) = changes.next().await {
        match heard {
            Typed::Message(change) => {
                let old: Option<Value> = change.raw.old_record()?;
                println!("{:?} {} (before: {})", change.kind, shown(change.new.as_ref()), shown(old.as_ref()));
            }
            // What changed before is not told.
            Typed::Channel(ChannelEvent::PostgresReady { .. } | ChannelEvent::Lagged { .. }) => {
                println!("-- now is the time to read the table");
            }
            other => println!("-- {other:?}"),
        }
    }
    pump.await?;
    Ok(())
}

fn shown(row: Option<&Value>) -> String {
    row.map_or("nothing".into(), Value::to_string)
}
