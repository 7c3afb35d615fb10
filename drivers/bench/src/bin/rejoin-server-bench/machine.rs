//! What the numbers depend on besides the servers: processors, limits, the system.

use std::fmt::Write as _;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Failure;

pub(crate) struct Machine {
    descriptors: u64,
    pinned: bool,
}

impl Machine {
    /// Makes room for so many file descriptors and leaves a processor to the servers, if there is
    /// more than one.
    pub(crate) fn prepare(descriptors: usize) -> Result<Self, Failure> {
        let wanted = descriptors as u64;
        let mut limit = getrlimit(Resource::Nofile);
        if limit.maximum.is_some_and(|most| most < wanted) {
            return Err(format!(
                "{wanted} file descriptors are needed and the hard limit is {}: raise it, as root with `ulimit -n \
                 {wanted}`, or choose fewer connections with --subscribers and --idle",
                limit.maximum.unwrap_or_default()
            )
            .into());
        }
        if limit.current.is_some_and(|current| current < wanted) {
            limit.current = limit.maximum;
            setrlimit(Resource::Nofile, limit)?;
        }
        let pinned =
            std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) && pin::to(LOAD).is_ok();
        Ok(Self { descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), pinned })
    }

    /// Starts a process on the servers' processor.
    pub(crate) fn beside_the_load<T>(&self, start: impl FnOnce() -> T) -> Result<T, Failure> {
        if !self.pinned {
            return Ok(start());
        }
        // What is started inherits where it may run.
        pin::to(SERVER)?;
        let started = start();
        pin::to(LOAD)?;
        Ok(started)
    }

    pub(crate) fn describe(&self) -> String {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let field =
            |name| cpuinfo.lines().find(|line| line.starts_with(name))?.split_once(": ").map(|(_, value)| value);
        let mut text = format!("{processors} x {}", field("model name").unwrap_or("a processor without a name"));
        let _ = write!(text, ", Linux {}", read("/proc/sys/kernel/osrelease").trim());
        let _ = write!(text, ", {} file descriptors, ", self.descriptors);
        text.push_str(match self.pinned {
            true => "the server on processor 0 and the load on processor 1",
            false => "server and load on any processor",
        });
        text
    }
}

const SERVER: usize = 0;
const LOAD: usize = 1;

#[cfg(target_os = "linux")]
mod pin {
    use rustix::thread::{CpuSet, sched_setaffinity};

    /// Lets this thread, and what it starts, run on one processor.
    pub(super) fn to(processor: usize) -> rustix::io::Result<()> {
        let mut set = CpuSet::new();
        set.set(processor);
        sched_setaffinity(None, &set)
    }
}

#[cfg(not(target_os = "linux"))]
mod pin {
    pub(super) const fn to(_: usize) -> rustix::io::Result<()> {
        Err(rustix::io::Errno::NOTSUP)
    }
}
