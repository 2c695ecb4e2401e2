//! `tollgate ingress | guardrail | router-worker | usage-aggregator`: one service alone.

use super::load;
use crate::{
    cli::Run,
    stack::{self, Service},
};
use anyhow::Context;
use std::process::ExitCode;
use tollgate_runtime::{config::Role, stop_signal, telemetry};

pub(crate) async fn run(service: Service, arguments: &Run) -> anyhow::Result<ExitCode> {
    let path = arguments.config.as_deref().context("pass --config FILE; `tollgate init` writes one")?;
    let role = match service {
        Service::Ingress => Role::Ingress,
        Service::Guardrail => Role::Guardrail,
        Service::RouterWorker => Role::RouterWorker,
        Service::UsageAggregator => Role::UsageAggregator,
    };
    let config = load(path, role, &arguments.over())?;
    let settings = stack::settings(&config, service.name())?;
    let _telemetry = telemetry::init(&format!("tollgate-{}", service.name()));
    // Before the broker is asked, which may be away for a minute: a start can be stopped too.
    let stop = stop_signal();
    let Some(bus) = stack::connect_until(&stop, &config, settings).await? else { return Ok(ExitCode::SUCCESS) };
    let listener = stack::bind(&config).await?;
    stack::run_one(service, config, bus, listener, stop).await?;
    Ok(ExitCode::SUCCESS)
}
