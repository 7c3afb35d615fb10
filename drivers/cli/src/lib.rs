//! The command line of Rejoin: `rejoin demo | serve | listen | send | doctor | explain`.
//!
//! Names, outputs and exit codes are a contract: 0 for what went as asked, 1 for what went wrong on
//! the way, 2 for input that could never have worked, with one line on stderr that says what it was.
#![forbid(unsafe_code)]

mod args;
mod demo;
mod doctor;
mod explain;
mod failure;
mod host;
mod input;
mod interrupt;
mod listen;
mod output;
mod record;
mod secret;
mod send;
mod serve;
mod supabase;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::{ContextKind, ErrorKind};

use args::{Args, Command, RuntimeName};
use failure::Failure;
use interrupt::Interrupts;

/// Parses the arguments (the program's name first), does what they say, and reports how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Args::try_parse_from(arguments) {
        Ok(args) => carry_out(args.command),
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            Err(Failure::usage("arguments", "one of them is not UTF-8"))
        }
        Err(error) if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(misuse(&error))
        }
        Err(error) => error.exit(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What clap would say in several lines, in one.
fn misuse(error: &clap::Error) -> Failure {
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    let parts =
        (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue), context(ContextKind::ValidValue));
    if let (Some(argument), Some(value), Some(valid)) = parts {
        let argument = argument.split(' ').next().unwrap_or_default();
        return Failure::usage(argument, format!("`{value}` is not known; write one of {valid}"));
    }
    let text = error.to_string();
    let words = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = words.map(str::trim).filter(|line| !line.is_empty()).collect();
    let what = words.join(" ").replace(" tip: ", "; ");
    Failure::Usage(format!("{}; --help shows what there is", what.trim_start_matches("error: ")))
}

/// Everything is checked before the first byte is sent.
fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo => host::run(RuntimeName::Smol, demo::Demo { interrupts: Interrupts::install(1)? }),
        Command::Serve(args) => {
            let (settings, runtime) = (serve::Settings::check(&args)?, args.runtime);
            let interrupts = Interrupts::install_within(settings.last_resort(), 0)?;
            host::run(runtime, serve::Serve { settings, interrupts })
        }
        Command::Listen(args) => {
            let (plan, runtime) = (listen::Plan::check(&args)?, args.connection.runtime);
            host::run(runtime, listen::Listen { plan, interrupts: Interrupts::install(0)? })
        }
        Command::Send(args) => {
            let (plan, runtime) = (send::Plan::check(&args)?, args.connection.runtime);
            host::run(runtime, send::Sending { plan, interrupts: Interrupts::install(1)? })
        }
        Command::Doctor(args) => {
            let (plan, runtime) = (doctor::Plan::check(&args)?, args.connection.runtime);
            host::run(runtime, doctor::Examination { plan, interrupts: Interrupts::install(1)? })
        }
        Command::Explain(args) => explain::explain(&args.file),
    }
}
