//! The checklist, written line by line as it grows.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use rejoin_pump::ClosedError;

use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Check, Printer, ReaderGone, Standing};

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

/// How long what is looked at may take.
#[derive(Clone)]
pub(super) struct Patience<H> {
    host: H,
    timeout: Duration,
}

impl<H: Host> Patience<H> {
    pub(super) const fn new(host: H, timeout: Duration) -> Self {
        Self { host, timeout }
    }

    /// The future's result, or that what it waits for is `missing`, and what to do about that.
    pub(super) async fn wait<T: Send>(
        &self,
        missing: &str,
        fix: &'static str,
        future: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T, Trouble> {
        let late = || Err(Trouble::new(format!("{missing} within {}", humantime::format_duration(self.timeout)), fix));
        self.host.within(self.timeout, future).await.unwrap_or_else(late)
    }
}

/// The checklist so far.
pub(super) struct Report {
    /// `None` once nobody reads it any more.
    printer: Option<Printer>,
    failed: Vec<&'static str>,
    /// The failed check without which nothing else can be looked at.
    obstacle: Option<&'static str>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { printer: Some(Printer::new(json)), failed: Vec::new(), obstacle: None }
    }

    /// Looks at something that everything behind it needs.
    pub(super) async fn need(&mut self, name: &'static str, look: impl Future<Output = Finding>) {
        self.check(name, async { look.await.map_err(Trouble::and_the_end) }).await;
    }

    /// Looks at something that what is behind it can do without.
    pub(super) async fn check(&mut self, name: &'static str, look: impl Future<Output = Finding>) {
        if self.obstacle.is_some() {
            return self.skip(name, "");
        }
        let start = Instant::now();
        let finding = look.await;
        let took = Some(start.elapsed());
        match &finding {
            Ok(detail) => self.print(&Check { name, standing: Standing::Fine, detail, took }),
            Err(Trouble { what, fix, is_the_end }) => {
                self.print(&Check { name, standing: Standing::Failed { fix }, detail: what, took });
                self.failed.push(name);
                self.obstacle = is_the_end.then_some(name);
            }
        }
    }

    /// Something that is not looked at, and why; an obstacle is the better reason.
    pub(super) fn skip(&mut self, name: &'static str, why: &str) {
        let obstacle = self.obstacle.map(|obstacle| format!("skipped: {obstacle} failed"));
        let detail = obstacle.as_deref().unwrap_or(why);
        self.print(&Check { name, standing: Standing::Skipped, detail, took: None });
    }

    /// What it comes to.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(Failure::broken(format!("not well: {}", self.failed.join(", "))))
    }

    /// Whether anybody reads it changes nothing.
    fn print(&mut self, check: &Check<'_>) {
        if let Some(printer) = &mut self.printer
            && let Err(ReaderGone) = printer.print_check(check)
        {
            self.printer = None;
        }
    }
}
