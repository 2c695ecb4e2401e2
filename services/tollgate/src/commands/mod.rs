//! One file a command.

pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod guardrails;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod kafka;
pub(crate) mod keys;
pub(crate) mod objects;
pub(crate) mod service;
pub(crate) mod submit;
pub(crate) mod up;
pub(crate) mod usage;

use crate::{embedded, stack};
use anyhow::bail;
use std::path::Path;
use tollgate_bus::Settings;
use tollgate_runtime::{
    Config,
    config::{self as file, Loaded, Over, Problems, Role},
};

/// Reads and checks a configuration, the services' own checks included.
fn read(path: &Path, role: Role, over: &Over) -> Result<Loaded, Problems> {
    let mut loaded = file::load(path, role, over)?;
    let mut problems = tollgate_guardrail::config::problems(&loaded.config);
    problems.extend(crate::embedded::problems(&loaded.config));
    let (fatal, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| problem.fatal);
    loaded.warnings.extend(warnings);
    if fatal.is_empty() { Ok(loaded) } else { Err(Problems(fatal)) }
}

/// As [`read`]; warnings go to standard error, problems become the error.
fn load(path: &Path, role: Role, over: &Over) -> anyhow::Result<Config> {
    match read(path, role, over) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{}: {warning}", path.display());
            }
            Ok(loaded.config)
        }
        Err(problems) => bail!("{}: {problems}", path.display()),
    }
}

/// How a command reaches the Kafka of a gateway that runs: the cluster that the configuration names, or the embedded broker of
/// the same user.
fn settings(config: &Config, client: &str) -> anyhow::Result<Settings> {
    let of = if config.kafka.is_embedded() { embedded::settings_of_running } else { stack::settings };
    of(config, client)
}
