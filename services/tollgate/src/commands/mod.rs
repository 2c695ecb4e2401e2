//! One file a command.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod init;
pub(crate) mod kafka;
pub(crate) mod keys;
pub(crate) mod service;
pub(crate) mod submit;
pub(crate) mod up;
pub(crate) mod usage;

use anyhow::bail;
use std::path::Path;
use tollgate_runtime::{
    Config,
    config::{self as file, Role},
};

/// Reads a configuration; warnings go to standard error, problems become the error.
fn load(path: &Path, role: Role) -> anyhow::Result<Config> {
    match file::load(path, role) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{}: {warning}", path.display());
            }
            Ok(loaded.config)
        }
        Err(problems) => bail!("{}: {problems}", path.display()),
    }
}
