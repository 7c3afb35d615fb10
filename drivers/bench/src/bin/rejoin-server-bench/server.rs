//! The servers, as processes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::Failure;
use crate::args::Args;
use crate::dialect::Dialect;
use crate::machine::Machine;

/// A server that can be measured.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) dialect: Dialect,
    /// Messages that may be under way at a time without a loss, by its own documentation.
    pub(crate) window: usize,
    /// Whether the sender of a message gets it as well.
    pub(crate) echoes: bool,
    program: Program,
}

#[derive(Debug)]
enum Program {
    Ours(&'static [&'static str]),
    Peer(&'static str),
}

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "rejoin-smol",
        about: concat!("rejoin serve ", env!("CARGO_PKG_VERSION"), " on smol, Phoenix vsn 2.0.0, windows of 100"),
        dialect: Dialect::PhoenixV2,
        window: 100,
        echoes: false,
        program: Program::Ours(&["serve", "--listen", "127.0.0.1:0", "--runtime", "smol"]),
    },
    Kind {
        name: "rejoin-tokio",
        about: concat!("rejoin serve ", env!("CARGO_PKG_VERSION"), " on tokio, Phoenix vsn 2.0.0, windows of 100"),
        dialect: Dialect::PhoenixV2,
        window: 100,
        echoes: false,
        program: Program::Ours(&["serve", "--listen", "127.0.0.1:0", "--runtime", "tokio"]),
    },
    Kind {
        name: "socketioxide",
        about: "socketioxide 0.18.9 on axum 0.8.9 and tokio, Socket.IO 5, windows of 100: it buffers 128 packets",
        dialect: Dialect::SocketIo,
        window: 100,
        echoes: false,
        program: Program::Peer("peer-socketioxide"),
    },
    Kind {
        name: "trillium-channels",
        about: "trillium-channels 0.4.0 on trillium 1.0.0 and smol, Phoenix vsn 1.0.0, windows of 10: it buffers 10",
        dialect: Dialect::PhoenixV1,
        window: 10,
        echoes: true,
        program: Program::Peer("peer-trillium"),
    },
];

/// A running server, killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Kept open, for servers that have more to say.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(args: &Args, kind: &Kind, machine: &Machine) -> Result<Self, Failure> {
        let (program, arguments) = kind.program(args)?;
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = machine.beside_the_load(|| command.spawn())?;
        let mut child = started.map_err(|error| format!("{}: {error}; is it built? see --help", program.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the server has no output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.split_once("ws://").and_then(|(_, url)| url.trim_end().split('/').next()?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{} did not say where it listens", program.display()).into());
        };
        Ok(Self { child, address, _stdout: stdout })
    }

    /// Processor time so far, in seconds, to 10 ms.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        /// A second of `/proc/PID/stat`, on every Linux that Rust supports.
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        if ticks.len() == 2 { Ok((ticks[0] + ticks[1]) / TICKS) } else { Err("/proc/PID/stat has no times".into()) }
    }

    /// Resident memory, in KiB; what the kernel holds for its sockets is not in it.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| "/proc/PID/status has no VmRSS".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    fn program(&self, args: &Args) -> Result<(PathBuf, &'static [&'static str]), Failure> {
        Ok(match self.program {
            Program::Ours(arguments) => {
                let directory = match &args.ours {
                    Some(directory) => directory.clone(),
                    None => std::env::current_exe()?.parent().ok_or("where is this program?")?.to_path_buf(),
                };
                (directory.join("rejoin"), arguments)
            }
            Program::Peer(name) => (args.peers.join(name), &[]),
        })
    }
}
