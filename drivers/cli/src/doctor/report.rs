//! The checklist, written line by line as it grows.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use rejoin_pump::ClosedError;

use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Check, Printer, Standing};

/// What a check saw, if all was well.
pub(super) type Finding = Result<String, Trouble>;

/// What a check saw that is not well.
#[derive(Debug)]
pub(super) struct Trouble {
    what: String,
    fix: Cow<'static, str>,
    /// Nothing that follows can be looked at.
    is_the_end: bool,
}

impl Trouble {
    /// `fix` is what to do, in a sentence.
    pub(super) fn new(what: impl Display, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.to_string(), fix: fix.into(), is_the_end: false }
    }

    /// The client has ended by itself.
    pub(super) fn gone() -> Self {
        Self::new("the client ended by itself", "run it again").and_the_end()
    }

    /// The connection or the channel is gone with it.
    pub(super) fn and_the_end(self) -> Self {
        Self { is_the_end: true, ..self }
    }
}

impl From<ClosedError> for Trouble {
    fn from(_: ClosedError) -> Self {
        Self::gone()
    }
}

/// The checklist so far.
pub(super) struct Report<H> {
    pub(super) host: H,
    printer: Printer,
    /// What each check may take.
    timeout: Duration,
    failed: Vec<&'static str>,
    /// The failed check without which nothing else can be looked at.
    obstacle: Option<&'static str>,
}

impl<H: Host> Report<H> {
    pub(super) fn new(host: H, json: bool, timeout: Duration) -> Self {
        Self { host, printer: Printer::new(json), timeout, failed: Vec::new(), obstacle: None }
    }

    /// Looks at something that everything behind it needs. `late` is what to do if nothing is seen in time.
    pub(super) async fn need(
        &mut self,
        name: &'static str,
        late: &'static str,
        look: impl Future<Output = Finding> + Send,
    ) {
        self.look_at(name, late, true, look).await;
    }

    /// Looks at something that not everything behind it needs, and tells whether it is fine.
    pub(super) async fn check(
        &mut self,
        name: &'static str,
        late: &'static str,
        look: impl Future<Output = Finding> + Send,
    ) -> bool {
        self.look_at(name, late, false, look).await
    }

    /// Something that is not looked at, and why.
    pub(super) fn skip(&mut self, name: &'static str, why: &str) {
        match self.obstacle {
            None => self.print(&Check { name, standing: Standing::Skipped, detail: why, took: None }),
            Some(obstacle) => {
                let why = format!("skipped: {obstacle} failed");
                self.print(&Check { name, standing: Standing::Skipped, detail: &why, took: None });
            }
        }
    }

    /// What it comes to.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(Failure::broken(format!("not well: {}", self.failed.join(", "))))
    }

    async fn look_at(
        &mut self,
        name: &'static str,
        late: &'static str,
        needed: bool,
        look: impl Future<Output = Finding> + Send,
    ) -> bool {
        if self.obstacle.is_some() {
            self.skip(name, "");
            return false;
        }
        let start = Instant::now();
        let late = || {
            let what = format!("nothing within {}", humantime::format_duration(self.timeout));
            Err(Trouble::new(what, late))
        };
        let finding = self.host.within(self.timeout, look).await.unwrap_or_else(late);
        let took = Some(start.elapsed());
        match &finding {
            Ok(detail) => self.print(&Check { name, standing: Standing::Fine, detail, took }),
            Err(Trouble { what, fix, is_the_end }) => {
                self.print(&Check { name, standing: Standing::Failed { fix }, detail: what, took });
                self.failed.push(name);
                self.obstacle = (needed || *is_the_end).then_some(name);
            }
        }
        finding.is_ok()
    }

    /// Whether anybody reads it changes nothing.
    fn print(&mut self, check: &Check<'_>) {
        let _ = self.printer.print_check(check);
    }
}
