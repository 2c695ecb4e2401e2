//! `tollgate kafka acls`: a shell script of `kafka-acls.sh` commands, the least that lets everything work on an Apache Kafka that denies
//! by default. `tests/e2e/test_kafka_access.py` runs it against one.
//!
//! Whoever may read or write a topic may describe it, and whoever may write one may do so idempotently (since Apache Kafka 2.8), so no
//! cluster-wide right is needed.

use super::load;
use crate::cli::Kafka;
use std::process::ExitCode;
use tollgate_runtime::{
    Config,
    config::{Over, Role, Team},
};
use tollgate_schemas::topic;

const HEAD: &str = "\
# Least-privilege ACLs for a cluster that denies by default (allow.everyone.if.no.acl.found=false, as Apache Kafka has it).
# Run them where kafka-acls.sh is, with BOOTSTRAP set to the brokers and ADMIN_CONFIG to a file of an administrator's client properties.
# What is there already stays as it is; what the configuration no longer names is not removed.
";

#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(command: &Kafka) -> anyhow::Result<ExitCode> {
    let Kafka::Acls { config, services } = command;
    print!("{}", script(&load(config, Role::UsageAggregator, &Over::default())?, services));
    Ok(ExitCode::SUCCESS)
}

/// All commands, with words on what they are for.
fn script(config: &Config, services: &str) -> String {
    let prefix = &config.kafka.topic_prefix;
    let mut script = HEAD.to_owned();
    script.push_str("\n# The services: internal topics, created where they are missing, and their own groups.\n");
    let internal: Vec<String> = topic::all().iter().map(|spec| format!("{prefix}{}", spec.name)).collect();
    allow(&mut script, services, "Read Write Create", &internal.iter().map(|t| on("topic", t)).collect::<String>());
    allow(&mut script, services, "Read", &groups(prefix));
    for team in &config.teams {
        let Some((requests, replies)) = config.team_topics(team) else { continue };
        script.push_str(&format!(
            "\n# Team {}: writes its jobs, reads its answers, nothing else.\n",
            one_line(&team.name)
        ));
        let (requests, replies) = (on("topic", &requests), on("topic", &replies));
        allow(&mut script, services, "Read Create", &requests);
        allow(&mut script, services, "Write Create", &replies);
        for name in principals(config, team) {
            let principal = format!("User:{name}");
            allow(&mut script, &principal, "Write", &requests);
            allow(&mut script, &principal, "Read", &replies);
            allow(&mut script, &principal, "Read", &groups(&team.groups()));
        }
    }
    script
}

/// One command.
fn allow(script: &mut String, principal: &str, operations: &str, resources: &str) {
    script.push_str("kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --command-config \"$ADMIN_CONFIG\" --add");
    script.push_str(&format!(" --allow-principal {}", quoted(principal)));
    operations.split(' ').for_each(|operation| script.push_str(&format!(" --operation {operation}")));
    script.push_str(resources);
    script.push('\n');
}

fn on(kind: &str, name: &str) -> String {
    format!(" --{kind} {}", quoted(name))
}

/// Groups whose names begin so.
fn groups(prefix: &str) -> String {
    // Kafka has no empty name, but a name for all.
    if prefix.is_empty() { on("group", "*") } else { on("group", prefix) + " --resource-pattern-type prefixed" }
}

/// One word of a shell, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Fit for a comment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The team's users; one of the team's name if there are none.
fn principals<'a>(config: &'a Config, team: &'a Team) -> Vec<&'a str> {
    let users = config.kafka.users.iter().filter(|user| user.team == team.name);
    let names: Vec<&str> = users.map(|user| user.name.as_str()).collect();
    if names.is_empty() { vec![&team.name] } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_runtime::config::parse;

    fn of(kafka: &str, teams: &str) -> Vec<String> {
        let text = format!("kafka: {{ brokers: 'k:9092', {kafka} }}\nteams: [ {teams} ]");
        let config = parse(&text, Role::Guardrail, &|_| Ok(None)).expect("valid").config;
        script(&config, "User:tollgate")
            .lines()
            .map(str::to_owned)
            .filter(|line| line.starts_with("kafka-acls"))
            .collect()
    }

    const SEARCH: &str = "{ name: search, kafka: { requests: in.search, replies: out.search } }";

    #[test]
    fn a_teams_principals_reach_its_own_topics_and_groups_and_nothing_else() {
        let users = "users: [ { name: app, password: p, team: search }, { name: ci, password: p, team: search } ]";
        for (kafka, names) in [("", &["search"][..]), (users, &["app", "ci"])] {
            let lines = of(kafka, &format!("{SEARCH}, {{ name: silent }}"));
            for name in names {
                let start = "kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --command-config \"$ADMIN_CONFIG\" --add --allow-principal";
                let own: Vec<_> =
                    lines.iter().filter_map(|l| l.strip_prefix(&format!("{start} 'User:{name}' "))).collect();
                assert_eq!(
                    own,
                    [
                        "--operation Write --topic 'tollgate.in.search'",
                        "--operation Read --topic 'tollgate.out.search'",
                        "--operation Read --group 'search.' --resource-pattern-type prefixed",
                    ]
                );
            }
            let others = lines.iter().filter(|line| !names.iter().any(|name| line.contains(&format!("'User:{name}'"))));
            assert!(others.clone().all(|line| line.contains("'User:tollgate'")) && others.count() == 4, "{lines:#?}");
            assert!(!lines.iter().any(|line| line.contains("--cluster") || line.contains("'*'")), "{lines:#?}");
        }
    }

    #[test]
    fn every_internal_topic_is_the_services() {
        let internal = &of("", SEARCH)[0];
        for spec in topic::all() {
            assert!(internal.contains(&format!("--topic 'tollgate.{}'", spec.name)), "{}: {internal}", spec.name);
        }
    }

    #[test]
    fn without_a_prefix_the_services_have_all_groups() {
        assert!(of("topic_prefix: ''", SEARCH)[1].ends_with("--operation Read --group '*'"));
    }

    #[test]
    fn names_are_words_to_a_shell() {
        let lines = of("", r#"{ name: "it's; $$(x) `y`", kafka: { requests: in.search, replies: out.search } }"#);
        assert!(lines.iter().any(|line| line.contains(r"'User:it'\''s; $(x) `y`' ")), "{lines:#?}");
    }
}
