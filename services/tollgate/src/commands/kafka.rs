//! `tollgate kafka acls`.

use super::load;
use crate::cli::Kafka;
use std::process::ExitCode;
use tollgate_runtime::config::Role;
use tollgate_schemas::topic;

#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(command: &Kafka) -> anyhow::Result<ExitCode> {
    let Kafka::Acls { config, services } = command;
    let config = load(config, Role::Guardrail)?;
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
        let principal = config.kafka.users.iter().find(|u| u.team == team.name).map_or(&team.name, |user| &user.name);
        let principal = format!("User:{principal}");
        println!("\n# Team {}: writes its jobs, reads its answers, nothing else.", team.name);
        add(services, &format!("--operation Read --operation Create --operation Describe --topic '{requests}'"));
        add(services, &format!("--operation Write --operation Create --operation Describe --topic '{replies}'"));
        add(&principal, &format!("--operation Write --operation Describe --topic '{requests}'"));
        add(&principal, &format!("--operation Read --operation Describe --topic '{replies}'"));
        add(
            &principal,
            &format!("--operation Read --operation Describe --group '{}.' --resource-pattern-type prefixed", team.name),
        );
    }
    Ok(ExitCode::SUCCESS)
}
