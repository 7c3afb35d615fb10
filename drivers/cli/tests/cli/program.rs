//! Running `rejoin`, reading its lines with a deadline, and ending it whatever happens.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// How a program that ended by itself ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    Program::start(arguments).ended()
}

/// A running program; dropping it kills it.
pub(crate) struct Program {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with these variables, and none of the tests' own that would matter.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        for variable in ["SUPABASE_KEY", "SUPABASE_TOKEN", "REJOIN_JWT_SECRET"] {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr, seen: Vec::new() }
    }

    /// A server, and the address it listens at.
    pub(crate) fn serve(address: &str, runtime: &str) -> (Self, String) {
        Self::serve_with(address, &["--runtime", runtime], &[])
    }

    /// The same with these options and variables.
    pub(crate) fn serve_with(address: &str, options: &[&str], variables: &[(&str, &str)]) -> (Self, String) {
        let mut server = Self::start_with(&[&["serve", "--listen", address], options].concat(), variables);
        let line = server.line();
        let address = line.strip_prefix("listening on ws://").and_then(|rest| rest.strip_suffix("/socket"));
        let address = address.unwrap_or_else(|| panic!("not the promised line: {line}")).to_owned();
        (server, address)
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> String {
        match self.stdout.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?} after {:#?}", self.seen),
            Err(RecvTimeoutError::Disconnected) => {
                let errors: Vec<_> = self.stderr.iter().collect();
                panic!("the program ended after {:#?} with {errors:#?}", self.seen)
            }
        }
    }

    /// The next line of what it says on stderr.
    pub(crate) fn note(&mut self) -> String {
        self.stderr.recv_timeout(DEADLINE).expect("a line on stderr")
    }

    /// Reads on to the next JSON line of this event.
    pub(crate) fn event(&mut self, event: &str) -> Value {
        loop {
            let line = self.line();
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if value["event"] == event {
                return value;
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let (stdout, stderr) = (self.rest(&self.stdout), self.rest(&self.stderr));
        // Its outputs are closed: it is gone or about to be.
        let status = self.child.wait().expect("it can be waited for");
        Ended { code: status.code(), stdout, stderr }
    }

    /// Everything until the output ends.
    fn rest(&self, output: &Receiver<String>) -> String {
        let start = Instant::now();
        let mut text = String::new();
        loop {
            match output.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) => text = text + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => return text,
                Err(RecvTimeoutError::Timeout) => panic!("still running after {:#?} and {text}", self.seen),
            }
        }
    }

    /// As `kill -SIGNAL` does.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it without a chance to say goodbye.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
