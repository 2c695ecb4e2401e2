//! `tollgate config check` and `config show`.

use super::objects;
use crate::cli::{Api, Config as Command};
use anyhow::Context;
use std::{collections::BTreeMap, path::Path, process::ExitCode};
use tollgate_runtime::config::{Over, Role, yaml};

pub(crate) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { config, service } => Ok(check(config, (*service).into())),
        Command::Show { effective: true, url, admin_key: Some(admin_key), .. } => {
            objects::config(&Api { url: url.clone(), admin_key: admin_key.clone() }).await
        }
        Command::Show { config, effective, .. } => show(config, *effective),
    }
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn check(path: &Path, role: Role) -> ExitCode {
    match super::read(path, role, &Over::default()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("{warning}");
            }
            println!("{}: no errors, {} warning(s)", path.display(), loaded.warnings.len());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in &problems.0 {
                println!("{problem}");
            }
            println!("{}: {} error(s)", path.display(), problems.0.len());
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn show(path: &Path, effective: bool) -> anyhow::Result<ExitCode> {
    // Secrets need not be there to show the rest: as the role that uses none of them.
    let config = super::load(path, Role::UsageAggregator, &Over::default())?;
    let mut all = serde_json::to_value(&config)?;
    if !effective {
        let text = std::fs::read_to_string(path)?;
        let written: BTreeMap<String, serde_json::Value> = yaml(&text).map_err(anyhow::Error::msg)?;
        if let Some(sections) = all.as_object_mut() {
            sections.retain(|name, _| written.contains_key(name));
        }
    }
    print!("{}", serde_saphyr::to_string(&all).context("the configuration cannot be written as YAML")?);
    Ok(ExitCode::SUCCESS)
}
