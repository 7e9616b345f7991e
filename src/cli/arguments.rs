//! Flags and variables: which of them counts, and which variables nobody knows.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::config::{ConfigError, EXCLUSIVE};

const PREFIX: &str = "COPRESENCE_";
/// What Kubernetes makes for a service called `copresence`, and what names the program to others.
const OF_OTHERS: [&str; 3] = ["COPRESENCE_PORT", "COPRESENCE_BIN", "COPRESENCE_CMD"];
const OF_OTHERS_BEGIN: [&str; 2] = ["COPRESENCE_SERVICE_", "COPRESENCE_PORT_"];

impl Cli {
    /// Reads the words that the program was started with, and its variables. Ends the process where
    /// help was asked for or a word is wrong.
    pub fn read() -> Result<Self, ConfigError> {
        let known = variables_of(&Self::command());
        let command = without_empty_variables(Self::command());
        let matches = command.clone().get_matches();
        check_variables(&known, env::vars_os())?;
        let overruled = overruled_variables(&matches);
        let matches = match matches.subcommand_name() {
            // Parsed again as if those variables were not there.
            Some(name) if !overruled.is_empty() => command
                .mut_subcommand(name, |command| without_variables(command, &overruled))
                .get_matches(),
            _ => matches,
        };
        Ok(Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
    }
}

/// An empty variable is one that somebody left out.
fn without_empty_variables(command: Command) -> Command {
    let empty: Vec<_> = command
        .get_arguments()
        .filter(|option| {
            let value = option.get_env().and_then(env::var_os);
            value.is_some_and(|value| value.is_empty())
        })
        .map(|option| option.get_id().clone())
        .collect();
    let command = empty.into_iter().fold(command, |command, id| {
        command.mut_arg(id, |option| {
            option.env(Resettable::<clap::builder::OsStr>::Reset)
        })
    });
    command.mut_subcommands(without_empty_variables)
}

/// The options that a variable sets while a flag sets another that excludes them.
fn overruled_variables(matches: &ArgMatches) -> Vec<&'static str> {
    let Some((_, matches)) = matches.subcommand() else {
        return Vec::new();
    };
    let comes_from = |id: &str, source| {
        // To ask for the source of what a subcommand does not have is a mistake.
        matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(source)
    };
    let by_flag = |id: &&str| comes_from(id, ValueSource::CommandLine);
    let by_variable = |id: &&str| comes_from(id, ValueSource::EnvVariable);
    EXCLUSIVE
        .into_iter()
        .filter(|group| group.iter().any(by_flag))
        .flat_map(|group| group.iter().copied().filter(by_variable))
        .collect()
}

fn without_variables(command: Command, ids: &[&'static str]) -> Command {
    ids.iter().fold(command, |command, id| {
        command.mut_arg(id, |option| {
            option.env(Resettable::<clap::builder::OsStr>::Reset)
        })
    })
}

/// A variable that no option has is one that somebody wrote wrong, or for another version.
fn check_variables(
    known: &[OsString],
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), ConfigError> {
    let is_of_others = |name: &str| {
        OF_OTHERS.contains(&name) || OF_OTHERS_BEGIN.iter().any(|begin| name.starts_with(begin))
    };
    let mut unknown: Vec<String> = variables
        .filter(|(name, value)| !value.is_empty() && !known.contains(name))
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !is_of_others(name))
        .collect();
    unknown.sort();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "no option has the variable {}; `copresence serve --help` names those there are (variables \
         of other services in Kubernetes are left out with `enableServiceLinks: false`)",
        unknown.join(", ")
    )))
}

/// The variables of all subcommands: one environment may serve several.
fn variables_of(command: &Command) -> Vec<OsString> {
    let own = command
        .get_arguments()
        .filter_map(|option| option.get_env());
    let own = own.map(OsStr::to_owned);
    own.chain(command.get_subcommands().flat_map(variables_of))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)]) -> Result<(), String> {
        let known = variables_of(&Cli::command());
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        check_variables(&known, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_that_no_option_has_are_named() {
        let error = check(&[
            ("COPRESENCE_RATE", "7"),
            ("COPRESENCE_REDDIS", "redis://x"),
            ("COPRESENCE_LISTNE", ":80"),
        ]);
        let error = error.unwrap_err();
        assert!(
            error.contains("COPRESENCE_LISTNE, COPRESENCE_REDDIS;") && !error.contains("redis://"),
            "{error}"
        );
        assert!(check(&[("COPRESENCE_REDIS_PORT", "tcp://10.0.0.1:6379")]).is_err());
    }

    #[test]
    fn variables_of_kubernetes_and_of_others_are_theirs() {
        let theirs = [
            ("COPRESENCE_SERVICE_HOST", "10.0.0.1"),
            ("COPRESENCE_SERVICE_PORT_HTTP", "80"),
            ("COPRESENCE_PORT", "tcp://10.0.0.1:80"),
            ("COPRESENCE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("COPRESENCE_BIN", "target/debug/copresence"),
            ("COPRESENCE_CMD", "copresence serve"),
            ("COPRESENCE_REDDIS", ""),
            ("TEST_COPRESENCE_SEED", "7"),
            ("PATH", "/bin"),
        ];
        assert_eq!(check(&theirs), Ok(()));
        // `COPRESENCE_PORTS` is nobody's.
        assert!(check(&[("COPRESENCE_PORTS", "80")]).is_err());
    }
}
