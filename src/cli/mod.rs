//! The command line: its subcommands and their help.
//!
//! `serve` is where everything is put together, `token` signs tokens for people who try things
//! out. Only here may a command print. Start with [`run`].

mod listener;
pub mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::auth::KeyError;
use crate::config::{Config, ConfigError, Options};
use token::TokenOptions;

/// A Yjs collaboration relay and presence server.
#[derive(Debug, Parser)]
#[command(name = "copresence", version, propagate_version = true)]
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
}

#[derive(Debug, clap::Args)]
struct ServeOptions {
    /// TOML file with these options and the `[kind.NAME]` tables [default: none]
    #[arg(long, env = "COPRESENCE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

/// Carries out what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(serve) => serve::run(Config::load(serve.options, serve.config.as_deref())?),
        Command::Token(options) => {
            println!("{}", options.sign(crate::clock::SystemClock::new().now())?);
            Ok(())
        }
    }
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
            if matches!(name, "help" | "version") {
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
    fn mistakes_in_options_exit_with_2_and_all_else_with_1() {
        let cli = Cli::try_parse_from(["copresence", "serve", "--jwt-secret="]).unwrap();
        let error = run(cli).unwrap_err().context("starting");
        assert_eq!(exit_code(&error), ExitCode::from(2));
        let error = anyhow::Error::from(KeyError::EmptySecret).context("starting");
        assert_eq!(exit_code(&error), ExitCode::from(2));
        assert_eq!(exit_code(&anyhow::anyhow!("no")), ExitCode::from(1));
    }
}
