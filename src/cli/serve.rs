//! Runs the relay.

use crate::config::Config;

/// Runs the relay until it is told to stop.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the relay is not assembled yet")
}
