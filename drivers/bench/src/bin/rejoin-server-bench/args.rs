//! What was typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::Failure;
use crate::fan_out::Pace;
use crate::server::{KINDS, Kind};

/// Measures servers under one load, each alone on a processor: what they deliver a CPU second, and
/// what a connection costs them.
///
/// Build ours first: cargo build --release -p rejoin-cli -p rejoin-bench. The peers are a workspace
/// of their own: cargo build --release --manifest-path drivers/bench/peers/Cargo.toml.
#[derive(Debug, Parser)]
#[command(name = "rejoin-server-bench", version)]
pub(crate) struct Args {
    /// The servers to measure, of rejoin-smol, rejoin-tokio, socketioxide and trillium-channels.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "rejoin-smol,rejoin-tokio")]
    pub(crate) servers: Vec<String>,
    /// Where the programs of our servers are; default is where this one is.
    #[arg(long, value_name = "DIR")]
    pub(crate) ours: Option<PathBuf>,
    /// Where the programs of the peers are.
    #[arg(long, value_name = "DIR", default_value = "drivers/bench/peers/target/release")]
    pub(crate) peers: PathBuf,
    /// What to measure; default is everything.
    #[arg(long, value_enum, value_name = "PART,...", value_delimiter = ',')]
    part: Vec<Part>,
    /// How many listen to the one who speaks.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    pub(crate) subscribers: Vec<usize>,
    /// Bytes of a message's payload.
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "64,1024")]
    pub(crate) size: Vec<usize>,
    /// How the messages follow each other; default is every way.
    #[arg(long, value_enum, value_name = "PACE,...", value_delimiter = ',')]
    pace: Vec<Pace>,
    /// Processor time of a server for which each of its runs is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) cpu: f64,
    /// Messages of a flood.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) flood: usize,
    /// How many listen to the flood.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) flood_subscribers: usize,
    /// Connections that are idle.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) idle: usize,
    /// How often everything is measured.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Delivered messages a CPU second.
    FanOut,
    /// What is lost of messages that are sent in one go.
    Flood,
    /// Memory of an idle connection, and connects a CPU second.
    Idle,
}

impl Args {
    pub(crate) fn kinds(&self) -> Result<Vec<&'static Kind>, Failure> {
        let known = |name: &String| {
            let kind = KINDS.iter().find(|kind| kind.name == name);
            kind.ok_or_else(|| format!("--servers: `{name}` is not known; see --help").into())
        };
        self.servers.iter().map(known).collect()
    }

    pub(crate) fn parts(&self) -> &[Part] {
        if self.part.is_empty() { Part::value_variants() } else { &self.part }
    }

    pub(crate) fn paces(&self) -> &[Pace] {
        if self.pace.is_empty() { Pace::value_variants() } else { &self.pace }
    }

    /// The most connections at a time.
    pub(crate) fn connections(&self) -> usize {
        let fan_out = self.subscribers.iter().max().map_or(0, |most| most + 1);
        fan_out.max(self.idle).max(self.flood_subscribers + 1)
    }
}
