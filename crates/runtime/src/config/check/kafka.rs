//! What can be wrong with `kafka`: the embedded broker's door and users, and what Tollgate sets for every client itself.

use super::{Checker, RESERVED, is_topic_char};
use crate::config::{EMBEDDED, Kafka, OPERATOR, Team, host_and_port};
use std::net::SocketAddr;

/// A principal that stands for all.
const EVERYBODY: &str = "*";

impl Checker<'_> {
    pub(super) fn kafka(&mut self) {
        let kafka = &self.config.kafka;
        if kafka.brokers.trim().is_empty() {
            self.fatal("kafka.brokers", format!("must be host:port of a cluster, or {EMBEDDED}"));
        }
        for (name, count) in [("default", kafka.partitions.default), ("usage", kafka.partitions.usage)] {
            if !(1..=1000).contains(&count) {
                self.fatal(format!("kafka.partitions.{name}"), "must be from 1 to 1000");
            }
        }
        if !kafka.topic_prefix.chars().all(is_topic_char) || kafka.topic_prefix.len() > 100 {
            self.fatal("kafka.topic_prefix", "may hold letters, digits, `.`, `_` and `-`, at most 100 of them");
        }
        for name in kafka.properties.keys().filter(|name| RESERVED.contains(&name.as_str())) {
            self.fatal(
                format!("kafka.properties.{name}"),
                "is set by Tollgate, because its guarantees rest on it; remove it",
            );
        }
        self.users(kafka);
        self.groups(kafka);
        if kafka.is_embedded() {
            self.embedded(kafka);
        } else if !(1..=7).contains(&kafka.replication) {
            self.fatal("kafka.replication", "must be from 1 to 7, and not above the number of brokers");
        }
    }

    /// Whoever uses Apache Kafka needs them too: `tollgate kafka acls` prints their rights.
    fn users(&mut self, kafka: &Kafka) {
        let names = kafka.users.iter().enumerate();
        self.unique("user", names.map(|(i, user)| (format!("kafka.users[{i}].name"), user.name.as_str())));
        for (i, user) in kafka.users.iter().enumerate() {
            let path = format!("kafka.users[{i}]");
            if user.name == OPERATOR {
                self.fatal(
                    format!("{path}.name"),
                    format!("`{OPERATOR}` is the services' own user; take another name"),
                );
            } else if user.name == EVERYBODY {
                self.fatal(format!("{path}.name"), "`*` is everybody in Apache Kafka's ACLs; take another name");
            } else if user.name.is_empty() || user.name.len() > 255 || user.name.contains(char::is_control) {
                self.fatal(format!("{path}.name"), "must have 1 to 255 characters and no control characters");
            }
            let password = user.password.expose();
            if password.is_empty() || password.len() > 1024 || password.contains('\0') {
                self.fatal(format!("{path}.password"), "must have 1 to 1024 characters and no zero character");
            }
            match self.config.team(&user.team) {
                None => self.fatal(format!("{path}.team"), format!("there is no team `{}`", user.team)),
                Some(team) if team.kafka.is_none() => self.fatal(
                    format!("{path}.team"),
                    format!(
                        "team `{0}` has no topics; add `kafka: {{ requests: in.{0}, replies: out.{0} }}` to it",
                        user.team
                    ),
                ),
                Some(_) => {}
            }
        }
    }

    /// A team's groups are told from those of others by how their names begin, so no beginning may hold another.
    fn groups(&mut self, kafka: &Kafka) {
        let with_door = |(_, team): &(usize, &Team)| team.kafka.is_some();
        let teams: Vec<_> = self.config.teams.iter().enumerate().filter(with_door).collect();
        let overlap = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        for (i, team) in &teams {
            let (path, groups, prefix) = (format!("teams[{i}].name"), team.groups(), &kafka.topic_prefix);
            if team.name == EVERYBODY || team.name.is_empty() || team.name.contains(char::is_control) {
                let message = "of a team with topics must not be empty or `*`, nor hold control characters";
                self.fatal(path, message);
            } else if !prefix.is_empty() && overlap(&groups, prefix) {
                self.fatal(
                    path,
                    format!(
                        "its consumer groups begin with `{groups}`, the services' with `{prefix}`: one could use the other's; \
                         take another name, or another kafka.topic_prefix"
                    ),
                );
            } else if let Some((_, other)) = teams.iter().find(|(j, other)| j < i && overlap(&groups, &other.groups()))
            {
                self.fatal(
                    path,
                    format!(
                        "its consumer groups begin with `{groups}`, those of team `{}` with `{}`: one could use the other's; take another name",
                        other.name,
                        other.groups()
                    ),
                );
            }
        }
    }

    fn embedded(&mut self, kafka: &Kafka) {
        if kafka.replication != 1 {
            self.fatal(
                "kafka.replication",
                "must be 1: the embedded broker is one node; for copies set kafka.brokers to a cluster",
            );
        }
        for name in kafka.properties.keys().filter(|name| is_security(name)) {
            self.fatal(
                format!("kafka.properties.{name}"),
                "means nothing to the embedded broker, whose login the services make themselves; remove it, or set kafka.brokers to the cluster it is for",
            );
        }
        if kafka.topic_prefix.is_empty() {
            self.fatal(
                "kafka.topic_prefix",
                "must not be empty: by it the embedded broker tells the services' own groups from a client's",
            );
        }
        let advertised = kafka.advertised.as_deref();
        if advertised.is_some_and(|text| host_and_port(text).is_none()) {
            self.fatal("kafka.advertised", "must be host:port, as clients can reach it: broker.example.com:9092");
        }
        let Ok(listen) = kafka.listen.parse::<SocketAddr>() else {
            let given = &kafka.listen;
            self.fatal(
                "kafka.listen",
                format!("`{given}` is not an address; write host:port with a numeric host, as in 127.0.0.1:9092"),
            );
            return;
        };
        if listen.port() != 0 && self.config.listen.parse() == Ok(listen) {
            self.fatal("kafka.listen", "is the address of `listen` too; the API and Kafka clients need one each");
        }
        if listen.ip().is_loopback() {
            return;
        }
        if kafka.users.is_empty() {
            self.fatal(
                "kafka.listen",
                format!(
                    "{listen} is open to other machines: add kafka.users, who must then log in, or listen on 127.0.0.1"
                ),
            );
        } else {
            self.warn(
                "kafka.listen",
                "the embedded broker has no TLS: passwords and records cross the network as they are; keep it private",
            );
        }
        if listen.ip().is_unspecified() && advertised.is_none() {
            self.fatal(
                "kafka.advertised",
                format!("must be set: clients are told where to connect, and {} is no such place", listen.ip()),
            );
        }
    }
}

/// Properties that say how to log in or whom to trust.
fn is_security(name: &str) -> bool {
    name == "security.protocol"
        || name == "metadata.broker.list"
        || ["sasl.", "ssl.", "enable.ssl", "enable.sasl", "https."].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use crate::config::{Role, parse};

    const TEAMS: &str = "
providers: { demo: { kind: mock } }
endpoints: [ { name: chat, destinations: [ { name: mock, provider: demo, model: mock-1 } ] } ]
teams:
  - { name: search, endpoints: [ chat ], kafka: { requests: in.search, replies: out.search } }
  - { name: silent, endpoints: [ chat ] }
";

    /// What is said about `kafka: { … }`.
    fn said(kafka: &str) -> Vec<String> {
        let text = format!("kafka: {{ {kafka} }}\n{TEAMS}");
        match parse(&text, Role::All, &|_| Ok(None)) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    fn refused(kafka: &str, path: &str) {
        let said = said(kafka);
        let found = said.iter().any(|line| line.starts_with(&format!("error: {path}:")));
        assert!(found, "`{kafka}`: no error at {path} in {said:#?}");
    }

    #[test]
    fn the_default_and_loopback_need_nothing() {
        for fine in ["", "brokers: embedded", "listen: '[::1]:9092'", "listen: 127.0.0.1:0", "fsync: always"] {
            assert_eq!(said(fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn beyond_loopback_it_takes_users_and_an_address_for_them() {
        let users = "users: [ { name: app, password: secret, team: search } ]";
        refused("listen: 0.0.0.0:9092", "kafka.listen");
        refused("listen: 192.0.2.1:9092", "kafka.listen");
        refused(&format!("listen: 0.0.0.0:9092, {users}"), "kafka.advertised");
        refused(&format!("listen: '[::]:9092', {users}"), "kafka.advertised");
        for fine in [
            format!("listen: 192.0.2.1:9092, {users}"),
            format!("listen: 0.0.0.0:9092, advertised: broker.example.com:9092, {users}"),
        ] {
            let said = said(&fine);
            assert!(said.len() == 1 && said[0].starts_with("warning: kafka.listen:"), "{said:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_at_its_path() {
        for (kafka, path) in [
            ("listen: localhost:9092", "kafka.listen"),
            ("listen: 127.0.0.1:8080", "kafka.listen"),
            ("advertised: nowhere", "kafka.advertised"),
            ("advertised: 'host:0'", "kafka.advertised"),
            ("advertised: 'a b:9092'", "kafka.advertised"),
            ("replication: 3", "kafka.replication"),
            ("topic_prefix: ''", "kafka.topic_prefix"),
            ("properties: { security.protocol: SASL_SSL }", "kafka.properties.security.protocol"),
            ("properties: { sasl.password: x }", "kafka.properties.sasl.password"),
            ("properties: { ssl.ca.location: x }", "kafka.properties.ssl.ca.location"),
            ("users: [ { name: tollgate, password: x, team: search } ]", "kafka.users[0].name"),
            ("users: [ { name: '*', password: x, team: search } ]", "kafka.users[0].name"),
            ("users: [ { name: '', password: x, team: search } ]", "kafka.users[0].name"),
            ("users: [ { name: a, password: '', team: search } ]", "kafka.users[0].password"),
            ("users: [ { name: a, password: x, team: nobody } ]", "kafka.users[0].team"),
            ("users: [ { name: a, password: x, team: silent } ]", "kafka.users[0].team"),
            (
                "users: [ { name: a, password: x, team: search }, { name: a, password: z, team: search } ]",
                "kafka.users[1].name",
            ),
        ] {
            refused(kafka, path);
        }
    }

    #[test]
    fn no_teams_groups_hold_those_of_others() {
        let said = |prefix: &str, names: &[&str]| {
            let team = |name: &&str| {
                format!("{{ name: '{name}', kafka: {{ requests: in.{}, replies: out.{} }} }}", name.len(), name.len())
            };
            let teams: Vec<_> = names.iter().map(team).collect();
            let text = format!(
                "kafka: {{ brokers: 'k:9092', topic_prefix: '{prefix}' }}\nteams: [ {}, {{ name: ab.z }} ]",
                teams.join(", ")
            );
            match parse(&text, Role::All, &|_| Ok(None)) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.0.iter().map(|problem| problem.path.clone()).collect::<Vec<_>>(),
            }
        };
        assert_eq!(said("tollgate.", &["ab", "abc", "a-b1", "team.x"]), Vec::<String>::new());
        assert_eq!(said("", &["ab"]), Vec::<String>::new());
        for (prefix, names, wrong) in [
            ("tollgate.", &["tollgate"][..], "teams[0].name"),
            ("tollgate.", &["tollgate.x"], "teams[0].name"),
            ("a.b.", &["a"], "teams[0].name"),
            ("a", &["ab"], "teams[0].name"),
            ("t.", &["ab", "ab.c"], "teams[1].name"),
            ("t.", &["ab.c", "ab"], "teams[1].name"),
            ("t.", &["*"], "teams[0].name"),
        ] {
            assert_eq!(said(prefix, names), [wrong], "{prefix} {names:?}");
        }
    }

    #[test]
    fn a_cluster_has_other_rules() {
        let cluster =
            "brokers: 'kafka:9092', listen: nowhere, replication: 3, properties: { security.protocol: SASL_SSL }";
        assert_eq!(said(cluster), Vec::<String>::new());
        refused("brokers: 'kafka:9092', replication: 8", "kafka.replication");
        refused("brokers: ''", "kafka.brokers");
        assert_eq!(said("brokers: 'kafka:9092', topic_prefix: ''"), Vec::<String>::new());
    }
}
