//! Servers side by side under one load: `rejoin-server-bench --help`.
//!
//! Starts each server as a process of its own, on a processor of its own, and is its clients from
//! another processor: what the server takes of time and memory is read from `/proc`, so that the
//! load costs it nothing. Every server does the same work: one client's message is answered and
//! sent to all the others in its room. Rounds of the servers alternate, and medians are told.
//!
//! What `ServerSession` does in memory, without sockets, is measured by the benchmarks of `rejoin-core`.

#![forbid(unsafe_code)]

mod args;
mod crowd;
mod dialect;
mod fan_out;
mod idle;
mod machine;
mod server;
mod table;
mod websocket;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Part};
use fan_out::FanOut;
use idle::Idle;
use machine::Machine;
use server::Kind;

type Failure = Box<dyn std::error::Error>;

/// File descriptors that a process has besides its connections.
const BESIDES: usize = 64;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rejoin-server-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let kinds = args.kinds()?;
    let machine = Machine::prepare(args.connections() + BESIDES)?;
    println!("{}", machine.describe());
    for kind in &kinds {
        println!("- {}: {}", kind.name, kind.about);
    }
    for part in args.parts() {
        match part {
            Part::FanOut => fan_out(args, &kinds, &machine)?,
            Part::Flood => flood(args, &kinds, &machine)?,
            Part::Idle => idle(args, &kinds, &machine)?,
        }
    }
    Ok(())
}

/// Rates with as many messages under way as the server's own documentation allows, and with one.
fn fan_out(args: &Args, kinds: &[&'static Kind], machine: &Machine) -> Result<(), Failure> {
    let mut measured = Vec::new();
    for round in 1..=args.rounds {
        for &subscribers in &args.subscribers {
            for &kind in kinds {
                eprintln!("round {round}: {subscribers} subscribers of {}", kind.name);
                measured.push(fan_out::measure(args, kind, machine, subscribers)?);
            }
        }
    }
    let measured: Vec<FanOut> = measured.into_iter().flatten().collect();
    for &size in &args.size {
        for &pace in args.paces() {
            println!(
                "\n## Fan-out of {size} B, {pace}: delivered a CPU second (a second), median of {}\n",
                args.rounds
            );
            let cell = |kind: &Kind, subscribers| {
                let runs = measured.iter().filter(|run| {
                    run.kind == kind.name && run.subscribers == subscribers && run.size == size && run.pace == pace
                });
                FanOut::rates(&runs.collect::<Vec<_>>())
            };
            table::print("subscribers", kinds, &args.subscribers, cell);
        }
    }
    Ok(())
}

/// What becomes of messages that are sent in one go.
fn flood(args: &Args, kinds: &[&'static Kind], machine: &Machine) -> Result<(), Failure> {
    let mut measured = Vec::new();
    for round in 1..=args.rounds {
        for &kind in kinds {
            eprintln!("round {round}: a flood for {}", kind.name);
            measured.push(fan_out::flood(args, kind, machine)?);
        }
    }
    println!(
        "\n## {} messages of {} B in one go to {} subscribers, all of which read: arrived, median of {}\n",
        args.flood, args.size[0], args.flood_subscribers, args.rounds
    );
    table::print("messages", kinds, &[args.flood], |kind, _| {
        FanOut::arrivals(&measured.iter().filter(|run| run.kind == kind.name).collect::<Vec<_>>())
    });
    Ok(())
}

/// What a connection costs that has joined a room and is silent.
fn idle(args: &Args, kinds: &[&'static Kind], machine: &Machine) -> Result<(), Failure> {
    let mut measured = Vec::new();
    for round in 1..=args.rounds {
        for &kind in kinds {
            eprintln!("round {round}: {} idle connections to {}", args.idle, kind.name);
            measured.push(idle::measure(args, kind, machine)?);
        }
    }
    for (title, cell) in Idle::COLUMNS {
        println!("\n## {title}, median of {}\n", args.rounds);
        table::print("connections", kinds, &[args.idle], |kind, _| {
            cell(&measured.iter().filter(|run| run.kind == kind.name).collect::<Vec<_>>())
        });
    }
    Ok(())
}
