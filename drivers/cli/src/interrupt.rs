//! Ctrl-C and SIGTERM as something to wait for.

use std::time::{Duration, Instant};

use async_channel::Receiver;

use crate::failure::Failure;

/// The promise is 3 s.
const LAST_RESORT: Duration = Duration::from_millis(2_800);
/// Signals within this time are one, told twice; nobody presses keys so fast.
const SAME: Duration = Duration::from_millis(500);

/// Resolves when the user or the system wants the program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(Receiver<()>);

impl Interrupts {
    /// Takes the signals over. After one the program ends in peace, or with `code` after the usual
    /// time. See [`install_within`](Self::install_within).
    pub(crate) fn install(code: i32) -> Result<Self, Failure> {
        Self::install_within(LAST_RESORT, code)
    }

    /// The same with another time for the peaceful end. A second signal ends the program at once, but
    /// not when it comes together with the first: a terminal and whoever started the program may both
    /// pass the same one on.
    pub(crate) fn install_within(time: Duration, code: i32) -> Result<Self, Failure> {
        let (sender, receiver) = async_channel::bounded(1);
        let mut first = None;
        let handler = move || match first {
            None => {
                first = Some(Instant::now());
                exit_within(time, code);
                // There is room: this is the first.
                let _ = sender.try_send(());
            }
            Some(first) if first.elapsed() < SAME => {}
            Some(_) => std::process::exit(code),
        };
        ctrlc::set_handler(handler).map_err(|error| Failure::broken(format!("signals cannot be handled: {error}")))?;
        Ok(Self(receiver))
    }

    /// Waits for the first signal; later calls wait for ever.
    pub(crate) async fn wait(&self) {
        if self.0.recv().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Ends the program with `code` after `time`, whatever hangs: a blocked standard output cannot be
/// waited for, and a process that was told to end has to.
pub(crate) fn exit_within(time: Duration, code: i32) {
    let spawned = std::thread::Builder::new().name("exit".into()).spawn(move || {
        std::thread::sleep(time);
        std::process::exit(code);
    });
    // Without a thread there is only the graceful way.
    drop(spawned);
}
