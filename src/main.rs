//! The binary: parses the command line, runs the command, turns an error into a message and an
//! exit code.

use std::process::ExitCode;

use copresence::cli::{Cli, exit_code, run};

fn main() -> ExitCode {
    match Cli::read().map_err(Into::into).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("copresence: {error:#}");
            exit_code(&error)
        }
    }
}
