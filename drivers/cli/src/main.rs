//! The `rejoin` binary; everything is in the library, where it can be tested.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rejoin_cli::run(std::env::args_os())
}
