//! Logs: to stderr, `--log` says how much, else `RUST_LOG`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// Starts logging as the options of `serve` say; where they say nothing, as `RUST_LOG` does.
pub(super) fn start_as_told(wanted: Option<&str>, format: LogFormat) -> Result<(), ConfigError> {
    let filter = match wanted {
        Some(directives) => EnvFilter::try_new(directives).map_err(|why| {
            ConfigError::new(format!(
                "--log: `{directives}` is no level (error, warn, info, debug, trace) nor a list of \
                 directives: {why}"
            ))
        })?,
        None => filter_of_environment("info"),
    };
    start_with(filter, format);
    Ok(())
}

/// Starts logging for a tool, as `RUST_LOG` says or by `default`. `COPRESENCE_LOG_FORMAT=json` makes
/// every event a line of JSON.
pub(super) fn start(default: &str) {
    let is_json = std::env::var_os("COPRESENCE_LOG_FORMAT").is_some_and(|format| format == "json");
    let format = match is_json {
        true => LogFormat::Json,
        false => LogFormat::Text,
    };
    start_with(filter_of_environment(default), format);
}

fn filter_of_environment(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

fn start_with(filter: EnvFilter, format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Json => lines.json().try_init(),
        LogFormat::Text => lines.try_init(),
    };
    if started.is_err() {
        tracing::debug!("somebody else has set up logging already");
    }
}
