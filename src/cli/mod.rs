//! The command line: its subcommands and their help.
//!
//! `serve` is where everything is put together, `token` signs tokens for people who try things
//! out, `export`, `import`, `check`, `copy` and `migrate` work on a store. Only here
//! may a command print, and only here are the stores told apart. Start with [`run`].

mod arguments;
mod check;
mod copy;
mod idle;
mod listener;
mod logging;
mod migrate;
mod open_files;
mod people;
mod reading;
pub mod serve;
mod stores;
mod token;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::auth::KeyError;
use crate::config::{Config, ConfigError, Options};
use crate::limits::WORKER_STACK_BYTES;
use check::CheckOptions;
use copy::CopyOptions;
use migrate::MigrateOptions;
use token::TokenOptions;
use transfer::{ExportOptions, ImportOptions};

/// The version, and the commit that it was built from where that is known.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

/// A Yjs collaboration relay and presence server.
#[derive(Debug, Parser)]
#[command(name = "copresence", version = VERSION, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay
    ///
    /// Every option is a flag, an environment variable and a key of the file given by --config
    /// (with `_` for `-`), in that order of precedence.
    Serve(Box<ServeOptions>),
    /// Sign a token and print it
    Token(Box<TokenOptions>),
    /// Write the document of a room as one Yjs update (v1)
    ///
    /// For a relay that is running, use `GET /v1/rooms/ROOM/document` instead.
    Export(Box<ExportOptions>),
    /// Add a Yjs update (v1) to the document of a room
    ///
    /// What is there stays: the two are merged, as editors would. For a relay that is running, use
    /// `POST /v1/rooms/ROOM/document` instead.
    Import(Box<ImportOptions>),
    /// Read everything that is kept, and report what is damaged
    ///
    /// Prints a line for each damage, with its room and its place in the log, and one with the
    /// sums. Exits with 1 if there is damage. Changes nothing.
    Check(Box<CheckOptions>),
    /// Copy all documents from one store to another
    ///
    /// Every document is compared after it was copied. Interrupted, it can be run again and goes
    /// on. What the target has beside the source's rooms stays; a room in which the target has
    /// content that the source lacks is left as it is, and the exit code is 1.
    Copy(Box<CopyOptions>),
    /// Undo migrations of a store, for an older version that does not know them
    ///
    /// The newest first, until the given one is the last. What a migration made goes with it,
    /// contents included: make a backup first. The next start of this version does them again.
    Migrate(Box<MigrateOptions>),
}

#[derive(Debug, clap::Args)]
struct ServeOptions {
    /// TOML file with these options and the `[kind.NAME]` tables [default: none]
    #[arg(long, env = "COPRESENCE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration, read the keys and bind the address, then end: nothing is made or
    /// opened
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    options: Options,
}

/// Carries out what the command line says. The code is that of a command that did its work, which
/// may have been to find something wrong.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(serve) => {
            let config = Config::load(serve.options, serve.config.as_deref())?;
            logging::start_as_told(config.log.as_deref(), config.log_format)?;
            if serve.check_config {
                serve::check(&config)?;
                println!("the configuration can work");
            } else {
                serve::run(config)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Token(options) => {
            println!("{}", options.sign(crate::clock::SystemClock::new().now())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Export(options) => tool(move || options.run()),
        Command::Import(options) => tool(move || options.run()),
        Command::Check(options) => tool(move || options.run()),
        Command::Copy(options) => tool(move || options.run()),
        Command::Migrate(options) => tool(move || options.run()),
    }
}

/// Runs a command that reads documents: on a thread with the stack that they need.
fn tool(
    command: impl FnOnce() -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    logging::start("warn");
    let thread = thread::Builder::new()
        .name("tool".to_owned())
        .stack_size(WORKER_STACK_BYTES)
        .spawn(command)
        .context("cannot start a thread")?;
    // A panic has said on stderr what happened.
    thread
        .join()
        .unwrap_or_else(|_| anyhow::bail!("the command failed; this is a bug"))
}

/// 2 for what a change of options mends, as for a flag that does not exist; else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_about_options = error.is::<ConfigError>() || error.is::<KeyError>();
    ExitCode::from(if is_about_options { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_option_of_serve_says_its_default_and_its_variable() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        let mut options = 0;
        for option in serve.get_arguments() {
            let Some(name) = option.get_long() else {
                continue;
            };
            if matches!(name, "help" | "version" | "check-config") {
                continue;
            }
            options += 1;
            let help = option.get_help().unwrap().to_string();
            assert!(help.contains("[default: "), "--{name}: {help}");
            let variable = format!("COPRESENCE_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(option.get_env().unwrap(), variable.as_str());
        }
        assert!(options > 15);
    }

    #[test]
    fn the_version_says_what_it_was_built_from() {
        let (version, commit) = VERSION.split_once(" (").unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(commit.ends_with(')') && 1 < commit.len(), "{VERSION}");
    }

    #[test]
    fn mistakes_in_options_exit_with_2_and_all_else_with_1() {
        let cli = Cli::try_parse_from(["copresence", "serve", "--jwt-secret="]).unwrap();
        let error = run(cli).unwrap_err().context("starting");
        assert_eq!(exit_code(&error), ExitCode::from(2));
        let error = anyhow::Error::from(KeyError::EmptySecret).context("starting");
        assert_eq!(exit_code(&error), ExitCode::from(2));
        assert_eq!(exit_code(&anyhow::anyhow!("no")), ExitCode::from(1));
    }
}
