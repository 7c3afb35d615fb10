//! What is said on stderr of a server's troubles: a line each, and no more than can be read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rejoin_core::phoenix::EndReason;
use rejoin_pump::server::{Drained, Refused, Report, ServerCounts};

use crate::failure::Failure;
use crate::output::{note, plural};

/// Lines about each subject between two ticks; the rest is counted.
const A_TICK: u32 = 3;
const TICK: Duration = Duration::from_secs(1);
/// Lines that wait to be written.
const WAITING: usize = 256;

/// Writes lines on a thread of its own: whoever does not read stderr holds nobody up.
pub(super) struct Reports {
    desk: Arc<Desk>,
    writer: JoinHandle<()>,
}

/// Where reports come in.
pub(super) struct Desk {
    verbose: bool,
    quota: Mutex<Quota>,
    /// Clients that were closed for what they sent, or did not read.
    cut_off: AtomicU64,
    /// `None` is the end.
    lines: SyncSender<Option<String>>,
}

impl Reports {
    pub(super) fn start(verbose: bool) -> Result<Self, Failure> {
        let (lines, waiting) = sync_channel(WAITING);
        let desk = Arc::new(Desk::new(verbose, lines));
        let writer = thread::Builder::new().name("reports".into()).spawn({
            let desk = desk.clone();
            move || desk.write(&waiting)
        });
        let writer = writer.map_err(|error| Failure::broken(format!("there is no thread for reports: {error}")))?;
        Ok(Self { desk, writer })
    }

    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Waits until everything is written, and sums up what was refused and lost.
    pub(super) fn finish(self, counts: &ServerCounts, drained: &Drained) {
        // The writer is there until it hears this.
        let _ = self.desk.lines.send(None);
        let _ = self.writer.join();
        if let Some(summary) = summary(counts, self.desk.cut_off.load(Ordering::Relaxed), drained.cut) {
            note(&summary);
        }
    }
}

impl Desk {
    fn new(verbose: bool, lines: SyncSender<Option<String>>) -> Self {
        Self { verbose, quota: Mutex::default(), cut_off: AtomicU64::new(0), lines }
    }

    /// Never blocks.
    pub(super) fn take(&self, report: &Report) {
        let Some(subject) = Subject::of(report).filter(|subject| self.verbose || !subject.is_ordinary()) else {
            return;
        };
        if subject == Subject::CutOff {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        let mut quota = self.quota();
        let allowed = if self.verbose { u32::MAX } else { A_TICK };
        if !quota.admit(subject, allowed) || self.lines.try_send(Some(line(report))).is_err() {
            quota.leave_out(subject);
        }
    }

    fn write(&self, waiting: &Receiver<Option<String>>) {
        let mut tick = Instant::now() + TICK;
        loop {
            match waiting.recv_timeout(tick.saturating_duration_since(Instant::now())) {
                Ok(Some(line)) => note(&line),
                Err(RecvTimeoutError::Timeout) => {
                    tick = Instant::now() + TICK;
                    self.quota().tick().iter().for_each(|line| note(line));
                }
                Ok(None) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.quota().tick().iter().for_each(|line| note(line));
    }

    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    fn quota(&self) -> MutexGuard<'_, Quota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report, with the option that is the likely answer to it.
fn line(report: &Report) -> String {
    match report {
        Report::Refused { status: 403, why: Refused::Request } => {
            format!("{report}; it is of a page whose origin is not allowed (see --origin), or of an unknown vsn")
        }
        Report::Refused { why: Refused::Full, .. } => format!("{report} (see --max-connections)"),
        Report::Ended { reason: EndReason::TooLarge, .. } => format!("{report} (see --max-message-bytes)"),
        Report::Ended { reason: EndReason::TooSlow, .. } => format!("{report} (see --outbox-bytes and --overflow)"),
        report => report.to_string(),
    }
}

/// What reports are about, so that many of one do not drown another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Requests,
    Tokens,
    Room,
    Crashes,
    Drops,
    Limits,
    Malformed,
    CutOff,
    /// Who comes and goes as it should.
    Visits,
}

impl Subject {
    fn of(report: &Report) -> Option<Self> {
        Some(match report {
            Report::Refused { why: Refused::Token(_), .. } => Self::Tokens,
            Report::Refused { why: Refused::Full | Refused::Closing, .. } => Self::Room,
            Report::Refused { .. } => Self::Requests,
            Report::Crashed { .. } => Self::Crashes,
            Report::Dropped { .. } => Self::Drops,
            Report::Limited { .. } => Self::Limits,
            Report::Malformed { .. } => Self::Malformed,
            Report::Ended { reason: EndReason::TooLarge | EndReason::TooSlow, .. } => Self::CutOff,
            Report::Connected { .. } | Report::Ended { .. } => Self::Visits,
            // `Report` may grow; what is new there has to get a subject here.
            _ => return None,
        })
    }

    const fn is_ordinary(self) -> bool {
        matches!(self, Self::Visits)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Requests => "refused requests",
            Self::Tokens => "refused tokens",
            Self::Room => "clients that found no room",
            Self::Crashes => "crashes",
            Self::Drops => "dropped messages",
            Self::Limits => "limits",
            Self::Malformed => "malformed frames",
            Self::CutOff => "clients that were cut off",
            Self::Visits => "clients that came or went",
        }
    }
}

/// How much was said about each subject since the last tick.
#[derive(Debug, Default)]
struct Quota(BTreeMap<Subject, Said>);

#[derive(Debug, Default)]
struct Said {
    lines: u32,
    left_out: u64,
}

impl Quota {
    /// Whether one more line about it may be written.
    fn admit(&mut self, subject: Subject, allowed: u32) -> bool {
        let said = self.0.entry(subject).or_default();
        let admitted = said.lines < allowed;
        said.lines = said.lines.saturating_add(1);
        admitted
    }

    fn leave_out(&mut self, subject: Subject) {
        self.0.entry(subject).or_default().left_out += 1;
    }

    /// Begins anew, and tells what was left out.
    fn tick(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.0).into_iter().filter(|(_, said)| said.left_out > 0);
        said.map(|(subject, said)| format!("… and {} more about {}", said.left_out, subject.words())).collect()
    }
}

/// What was refused and lost, if anything.
fn summary(counts: &ServerCounts, cut_off: u64, late: usize) -> Option<String> {
    let late = u64::try_from(late).unwrap_or(u64::MAX);
    let parts = [
        (counts.refused, "client was refused", "clients were refused"),
        (counts.handshakes_given_up, "half-open connection made room", "half-open connections made room"),
        (counts.crashed, "channel crashed", "channels crashed"),
        (counts.malformed, "malformed frame came", "malformed frames came"),
        (counts.limited, "message was over a limit", "messages were over a limit"),
        (counts.dropped, "message was dropped for a slow reader", "messages were dropped for slow readers"),
        (
            counts.skipped,
            "binary message was not sent to a client of vsn 1.0.0, which has none",
            "binary messages were not sent to clients of vsn 1.0.0, which has none",
        ),
        (cut_off, "client was cut off", "clients were cut off"),
        (late, "client did not leave in time", "clients did not leave in time"),
    ];
    let said = parts.iter().filter(|(number, ..)| *number > 0).map(|(number, one, many)| plural(*number, one, many));
    Some(said.collect::<Vec<_>>().join(", ")).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use rejoin_core::ConnId;

    use super::*;

    #[test]
    fn many_reports_about_one_subject_are_counted_and_another_one_is_still_heard() {
        let mut quota = Quota::default();
        let tell = |quota: &mut Quota, subject| {
            let admitted = quota.admit(subject, A_TICK);
            if !admitted {
                quota.leave_out(subject);
            }
            admitted
        };
        let told = (0..1_000).filter(|_| tell(&mut quota, Subject::Tokens)).count();
        assert_eq!(told, 3);
        assert!(tell(&mut quota, Subject::Drops));
        assert_eq!(quota.tick(), ["… and 997 more about refused tokens"]);
        assert!(tell(&mut quota, Subject::Tokens));
        assert_eq!(quota.tick(), [""; 0]);
    }

    #[test]
    fn who_comes_and_goes_as_it_should_is_told_to_whoever_asks_for_it() {
        let conn = ConnId::new(7);
        let reports = [
            Report::Connected { conn },
            Report::Ended { conn, reason: EndReason::Idle },
            Report::Ended { conn, reason: EndReason::TooSlow },
        ];
        for (verbose, expected) in [(false, 1), (true, 3)] {
            let (lines, waiting) = sync_channel(WAITING);
            let desk = Desk::new(verbose, lines);
            reports.iter().for_each(|report| desk.take(report));
            assert_eq!(waiting.try_iter().count(), expected, "{verbose}");
        }
    }

    #[test]
    fn an_output_that_nobody_reads_holds_nobody_up_and_is_counted() {
        let (lines, _waiting) = sync_channel(1);
        let desk = Desk::new(true, lines);
        for _ in 0..5 {
            desk.take(&Report::Connected { conn: ConnId::new(1) });
        }
        assert_eq!(desk.quota().tick(), ["… and 4 more about clients that came or went"]);
    }

    #[test]
    fn what_went_well_needs_no_summary() {
        let mut counts = ServerCounts::default();
        (counts.connections, counts.topics) = (5, 5);
        assert_eq!(summary(&counts, 0, 0), None);
        (counts.refused, counts.limited) = (2, 1);
        assert_eq!(
            summary(&counts, 3, 1).as_deref(),
            Some(
                "2 clients were refused, 1 message was over a limit, 3 clients were cut off, 1 client did not leave in time"
            )
        );
    }
}
