//! Measurements against bare runs and installed peers.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

/// What to measure, and where the numbers go.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the measurement with this name.
    pub(crate) name: Option<String>,
    /// Write the numbers as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// Measures.
pub(crate) fn bench(_options: &Options) -> Result<()> {
    anyhow::bail!("no measurement is ready")
}
