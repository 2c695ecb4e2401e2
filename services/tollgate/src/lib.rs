//! The one binary: all services in one process or one of them, and the commands around a running gateway.
//!
//! ```text
//! cli ─► commands/{up, service, config, import, keys, guardrails, init, submit, usage, kafka, demo}
//!              └─► stack: Config ─► Bus ─► live ─► the four services, started and stopped in order
//!                    └─► embedded: the broker inside, if no cluster is named
//! ```
//!
//! Deliberately absent: the work itself; that is in the services, which never see each other.

pub mod cli;
mod commands;
pub mod embedded;
mod live;
pub mod stack;

use cli::{Cli, Command};
use std::process::ExitCode;
use tollgate_schemas::ObjectKind;

/// Runs a command. An `Err` is printed and exits with 1.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(arguments) => commands::up::run(&arguments).await,
        Command::Ingress(arguments) => commands::service::run(stack::Service::Ingress, &arguments).await,
        Command::Guardrail(arguments) => commands::service::run(stack::Service::Guardrail, &arguments).await,
        Command::RouterWorker(arguments) => commands::service::run(stack::Service::RouterWorker, &arguments).await,
        Command::UsageAggregator(arguments) => {
            commands::service::run(stack::Service::UsageAggregator, &arguments).await
        }
        Command::Init(arguments) => commands::init::run(&arguments),
        Command::Config(command) => commands::config::run(&command).await,
        Command::Import(command) => commands::import::run(&command),
        Command::Keys(command) => commands::keys::run(&command).await,
        Command::Teams(verb) => commands::objects::run(ObjectKind::Team, &verb).await,
        Command::Users(verb) => commands::objects::run(ObjectKind::User, &verb).await,
        Command::Endpoints(verb) => commands::objects::run(ObjectKind::Endpoint, &verb).await,
        Command::Providers(verb) => commands::objects::run(ObjectKind::Provider, &verb).await,
        Command::Credentials(verb) => commands::objects::run(ObjectKind::Credential, &verb).await,
        Command::Guardrails(command) => commands::guardrails::run(&command).await,
        Command::Budgets(verb) => commands::objects::run(ObjectKind::Budget, &verb).await,
        Command::Prices(verb) => commands::objects::run(ObjectKind::Price, &verb).await,
        Command::Audit(arguments) => commands::objects::audit(&arguments).await,
        Command::Submit(arguments) => commands::submit::run(&arguments).await,
        Command::DeadLetters(command) => commands::dead_letters::run(&command).await,
        Command::Usage(arguments) => commands::usage::run(&arguments).await,
        Command::Kafka(command) => commands::kafka::run(&command),
        Command::Demo(arguments) => commands::demo::run(&arguments).await,
    }
}
