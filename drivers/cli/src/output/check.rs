//! A line of `rejoin doctor`: what was looked at, and how it stands.

use std::io::Write as _;
use std::time::Duration;

use super::human::{END, GREEN, PLAIN, RED};
use super::object::Object;
use super::words::printable;

/// One entry of the checklist.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) name: &'static str,
    pub(crate) standing: Standing<'a>,
    /// What was seen, or why nothing was looked at; may be empty.
    pub(crate) detail: &'a str,
    /// `None` if nothing was looked at.
    pub(crate) took: Option<Duration>,
}

/// How it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing<'a> {
    Fine,
    Failed {
        /// What to do about it.
        fix: &'a str,
    },
    Skipped,
}

impl Check<'_> {
    pub(super) fn write_json(&self, out: &mut Vec<u8>, at_ms: u128) {
        let mut object = Object::open(out, at_ms);
        object.string("event", "check");
        object.string("name", self.name);
        let (status, fix) = match self.standing {
            Standing::Fine => ("ok", None),
            Standing::Failed { fix } => ("failed", Some(fix)),
            Standing::Skipped => ("skipped", None),
        };
        object.string("status", status);
        if !self.detail.is_empty() {
            object.string("detail", self.detail);
        }
        if let Some(fix) = fix {
            object.string("advice", fix);
        }
        if let Some(took) = self.took {
            object.raw("took_ms", &format!("{:.3}", took.as_secs_f64() * 1e3));
        }
        object.close();
    }

    /// Writing into memory cannot fail.
    pub(super) fn write_human(&self, out: &mut Vec<u8>, colours: bool) {
        let (mark, colour) = match self.standing {
            Standing::Fine => ('✓', GREEN),
            Standing::Failed { .. } => ('✗', RED),
            Standing::Skipped => ('–', PLAIN),
        };
        let (colour, end) = if colours && !colour.is_empty() { (colour, END) } else { (PLAIN, PLAIN) };
        let _ = write!(out, "{colour}{mark}{end} {:<10}", self.name);
        if !self.detail.is_empty() {
            let _ = write!(out, " {}", printable(self.detail));
        }
        if let Some(took) = self.took {
            let _ = write!(out, " ({:.1} ms)", took.as_secs_f64() * 1e3);
        }
        out.push(b'\n');
        if let Standing::Failed { fix } = self.standing {
            let _ = writeln!(out, "  → {}", printable(fix));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(check: &Check<'_>, colours: bool) -> String {
        let mut out = Vec::new();
        check.write_human(&mut out, colours);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_standing_has_its_mark_and_a_failure_its_advice() {
        let took = Some(Duration::from_micros(1_250));
        let fine = Check { name: "dns", standing: Standing::Fine, detail: "2 addresses", took };
        assert_eq!(written(&fine, false), "✓ dns        2 addresses (1.2 ms)\n");
        assert_eq!(written(&fine, true), "\x1b[32m✓\x1b[0m dns        2 addresses (1.2 ms)\n");
        let skipped = Check { name: "tls", standing: Standing::Skipped, detail: "no", took: None };
        assert_eq!(written(&skipped, true), "– tls        no\n");
        let failed = Check { standing: Standing::Failed { fix: "wait\x1b[2J" }, detail: "no\n", ..fine };
        assert_eq!(written(&failed, false), "✗ dns        no\\n (1.2 ms)\n  → wait\\u{1b}[2J\n");
    }

    #[test]
    fn a_checks_json_leaves_out_what_does_not_apply() {
        let mut out = Vec::new();
        let took = Some(Duration::from_micros(1_250));
        Check { name: "dns", standing: Standing::Failed { fix: "f" }, detail: "d", took }.write_json(&mut out, 7);
        Check { name: "tls", standing: Standing::Skipped, detail: "", took: None }.write_json(&mut out, 8);
        let expected = concat!(
            r#"{"at_ms":7,"event":"check","name":"dns","status":"failed","detail":"d","advice":"f","took_ms":1.250}"#,
            "\n",
            r#"{"at_ms":8,"event":"check","name":"tls","status":"skipped"}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
