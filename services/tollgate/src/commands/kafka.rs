//! `tollgate kafka acls`.

use super::load;
use crate::cli::Kafka;
use std::process::ExitCode;
use tollgate_runtime::{
    Config,
    config::{Over, Role, Team},
};
use tollgate_schemas::topic;

#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(command: &Kafka) -> anyhow::Result<ExitCode> {
    let Kafka::Acls { config, services } = command;
    let config = load(config, Role::Guardrail, &Over::default())?;
    let prefix = &config.kafka.topic_prefix;
    println!(
        "# Least-privilege ACLs. Run them where kafka-acls.sh is, with $BOOTSTRAP set; deny is Kafka's default with an authoriser."
    );
    let add = |principal: &str, rest: &str| {
        println!("kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal '{principal}' {rest}");
    };
    println!("\n# The services: internal topics, their groups, idempotent producers, creating what is missing.");
    for spec in topic::all() {
        add(
            services,
            &format!(
                "--operation Read --operation Write --operation Create --operation Describe --topic '{prefix}{}'",
                spec.name
            ),
        );
    }
    add(
        services,
        &format!("--operation Read --operation Describe --group '{prefix}' --resource-pattern-type prefixed"),
    );
    add(services, "--operation IdempotentWrite --operation Describe --cluster");
    for team in &config.teams {
        let Some((requests, replies)) = config.team_topics(team) else { continue };
        println!("\n# Team {}: writes its jobs, reads its answers, nothing else.", team.name);
        add(services, &format!("--operation Read --operation Create --operation Describe --topic '{requests}'"));
        add(services, &format!("--operation Write --operation Create --operation Describe --topic '{replies}'"));
        for principal in principals(&config, team) {
            let principal = format!("User:{principal}");
            add(&principal, &format!("--operation Write --operation Describe --topic '{requests}'"));
            add(&principal, &format!("--operation Read --operation Describe --topic '{replies}'"));
            let group = format!("--group '{}.' --resource-pattern-type prefixed", team.name);
            add(&principal, &format!("--operation Read --operation Describe {group}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The team's users; one of the team's name if there are none.
fn principals<'a>(config: &'a Config, team: &'a Team) -> Vec<&'a str> {
    let users = config.kafka.users.iter().filter(|user| user.team == team.name);
    let names: Vec<&str> = users.map(|user| user.name.as_str()).collect();
    if names.is_empty() { vec![&team.name] } else { names }
}
