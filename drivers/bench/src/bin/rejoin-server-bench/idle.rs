//! Many come in and are silent.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::args::Args;
use crate::crowd::Crowd;
use crate::fan_out;
use crate::machine::Machine;
use crate::server::{Kind, Server};
use crate::table::{median, thousands};

/// Until what the joins have left behind is settled.
const SETTLE: Duration = Duration::from_secs(2);

/// What one run found.
pub(crate) struct Idle {
    pub(crate) kind: &'static str,
    connections: usize,
    kib: f64,
    /// The same after everybody has got a window of messages.
    kib_after: f64,
    seconds: f64,
    cpu: f64,
}

/// A column of the report, from all runs of one server.
type Column = (&'static str, fn(&[&Idle]) -> String);

pub(crate) fn measure(args: &Args, kind: &'static Kind, machine: &Machine) -> Result<Idle, Failure> {
    let server = Server::start(args, kind, machine)?;
    let mut crowd = Crowd::new(server.address, kind.dialect)?;
    crowd.rest(Duration::from_millis(200))?;
    let (memory, cpu, begun) = (server.memory()?, server.cpu()?, Instant::now());
    crowd.grow(args.idle)?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), server.cpu()? - cpu);
    crowd.rest(SETTLE)?;
    let kib = server.memory()? - memory;
    fan_out::burst(&server, &mut crowd, kind, args.size[0])?;
    crowd.rest(SETTLE)?;
    let kib_after = server.memory()? - memory;
    Ok(Idle { kind: kind.name, connections: args.idle, kib, kib_after, seconds, cpu })
}

impl Idle {
    pub(crate) const COLUMNS: [Column; 3] = [
        ("KiB of the server's memory for an idle connection that joined a room, without the kernel's", |runs| {
            format!("{:.1}", median(runs.iter().map(|run| run.kib / run.connections as f64).collect()))
        }),
        ("The same after a window of messages to all of them", |runs| {
            format!("{:.1}", median(runs.iter().map(|run| run.kib_after / run.connections as f64).collect()))
        }),
        ("Connects with a join, a CPU second (a second)", |runs| {
            let of = |rate: fn(&Self) -> f64| thousands(median(runs.iter().map(|run| rate(run)).collect()));
            let cpu = of(|run| run.connections as f64 / run.cpu.max(0.01));
            format!("{cpu} ({})", of(|run| run.connections as f64 / run.seconds))
        }),
    ];
}
