//! How a command fails: one line on stderr and an exit code.

use std::fmt::Display;
use std::process::ExitCode;

use crate::output::printable;

/// Why a command did not do what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The input could never have worked: exit code 2.
    Usage(String),
    /// Something went wrong on the way: exit code 1.
    Broken(String),
}

impl Failure {
    /// `argument` is bad; `what` says why and what to write instead.
    pub(crate) fn usage(argument: &str, what: impl Display) -> Self {
        Self::Usage(format!("{argument}: {what}"))
    }

    pub(crate) fn broken(what: impl Display) -> Self {
        Self::Broken(what.to_string())
    }

    /// Something else than a realtime socket lives at the URL, if it has refused to connect with what
    /// is a success or a redirection elsewhere: a web page, as a rule.
    pub(crate) fn elsewhere(http_status: Option<u16>) -> Option<Self> {
        let status = http_status.filter(|status| (200..400).contains(status))?;
        let what = format!("what answers there (HTTP {status}) is no realtime socket; check the path, and try https");
        Some(Self::usage("URL", what))
    }

    pub(crate) fn report(&self) -> ExitCode {
        let (Self::Usage(what) | Self::Broken(what)) = self;
        // Servers and files have a say in some of these; they get one line and no control characters.
        eprintln!("error: {}", printable(what));
        let code = if matches!(self, Self::Usage(_)) { 2 } else { 1 };
        ExitCode::from(code)
    }
}
