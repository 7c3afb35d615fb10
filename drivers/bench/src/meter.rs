//! Wall clock, processor time and memory of one phase, and the line that reports them.

use std::time::{Duration, Instant};

use crate::Args;

/// Ticks of `/proc/self/stat` a second, on every Linux that Rust supports.
const TICKS: f64 = 100.0;

/// Measures from its start.
pub(crate) struct Meter {
    wall: Instant,
    user: f64,
    system: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let (user, system) = processor_seconds();
        Self { wall: Instant::now(), user, system }
    }
}

/// What a run found.
#[derive(Default)]
pub(crate) struct Report {
    client: String,
    delivered: usize,
    secs: f64,
    user: f64,
    system: f64,
    join_secs: f64,
    rss_before: u64,
    rss_joined: u64,
    round_trips: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(client: &str) -> Self {
        Self { client: client.into(), rss_before: status_kb("VmRSS:"), ..Self::default() }
    }

    pub(crate) fn joined(&mut self, meter: &Meter) {
        self.join_secs = meter.wall.elapsed().as_secs_f64();
        self.rss_joined = status_kb("VmRSS:");
    }

    pub(crate) fn measured(&mut self, meter: &Meter, delivered: usize) {
        let (user, system) = processor_seconds();
        self.secs = meter.wall.elapsed().as_secs_f64();
        (self.user, self.system) = (user - meter.user, system - meter.system);
        self.delivered = delivered;
    }

    pub(crate) fn round_trip(&mut self, took: Duration) {
        self.round_trips.push(took);
    }

    pub(crate) fn line(mut self, args: &Args) -> String {
        self.round_trips.sort_unstable();
        let percentile = |p: usize| match self.round_trips.len() {
            0 => 0.0,
            n => self.round_trips[(n * p / 100).min(n - 1)].as_secs_f64() * 1e6,
        };
        let rate = if self.secs > 0.0 { self.delivered as f64 / self.secs } else { 0.0 };
        serde_json::json!({
            "client": self.client, "version": env!("CARGO_PKG_VERSION"),
            "kind": args.kind, "n": args.n, "size": args.size, "channels": args.channels, "sockets": args.sockets,
            "delivered": self.delivered, "secs": self.secs, "msgs_per_s": rate.round(),
            "cpu_user_s": self.user, "cpu_sys_s": self.system, "max_rss_kb": status_kb("VmHWM:"),
            "join_secs": self.join_secs, "rss0_kb": self.rss_before, "rss_kb": self.rss_joined,
            "p50_us": percentile(50), "p99_us": percentile(99), "note": "",
        })
        .to_string()
    }
}

/// User and system time of this process; zero where there is no `/proc`.
fn processor_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default() / TICKS;
    (ticks(11), ticks(12))
}

fn status_kb(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
