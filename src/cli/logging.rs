//! Logs: to stderr, `RUST_LOG` says how much.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging as `RUST_LOG` says, or by `default`. `COPRESENCE_LOG_FORMAT=json` makes every
/// event a line of JSON.
pub(super) fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let is_json = std::env::var_os("COPRESENCE_LOG_FORMAT").is_some_and(|format| format == "json");
    let started = if is_json {
        lines.json().try_init()
    } else {
        lines.try_init()
    };
    if started.is_err() {
        tracing::debug!("somebody else has set up logging already");
    }
}
