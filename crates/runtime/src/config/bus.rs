//! What the Kafka sections mean in plain numbers and full names.

use super::{Config, Kafka, Team};
use std::time::Duration;

/// `kafka.brokers` of a gateway that brings its own.
pub const EMBEDDED: &str = "embedded";
/// The user that the services log in as at the embedded broker.
pub const OPERATOR: &str = "tollgate";

/// How long a job that came by topic may take when it names no expiry, and at the most; and an answer in the background.
pub const JOB_DEADLINE: Duration = Duration::from_secs(24 * 3600);

impl Kafka {
    /// Whether the broker runs in the gateway's own process.
    pub fn is_embedded(&self) -> bool {
        self.brokers == EMBEDDED
    }
}

impl Team {
    /// What the names of the team's consumer groups begin with.
    pub fn groups(&self) -> String {
        format!("{}.", self.name)
    }
}

impl Config {
    /// The full names of a team's topics: (jobs, answers).
    pub fn team_topics(&self, team: &Team) -> Option<(String, String)> {
        let prefix = &self.kafka.topic_prefix;
        team.kafka.as_ref().map(|k| (format!("{prefix}{}", k.requests), format!("{prefix}{}", k.replies)))
    }

    /// How long ingress goes on taking callers after it was asked to stop, so that whoever sends them hears of it: not at all
    /// where the broker is inside, because then there is no other replica to send them to.
    pub fn unready(&self) -> Duration {
        if self.kafka.is_embedded() { Duration::ZERO } else { self.shutdown.unready.duration() }
    }

    /// The longest time any request of this configuration may take: what was asked to end may come up again for so long.
    pub fn longest_deadline(&self) -> Duration {
        let total = self.endpoints.iter().map(|e| e.timeout.total.duration()).max().unwrap_or_default();
        let has_jobs = self.teams.iter().any(|team| team.kafka.is_some());
        let has_jobs = has_jobs || self.endpoints.iter().any(|endpoint| self.runs_in_background(endpoint));
        if has_jobs { total.max(JOB_DEADLINE) } else { total }
    }
}

/// `host:port` taken apart; an IPv6 address stands in brackets, which are taken off.
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fine = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    (fine && !host.is_empty() && host.len() <= 255).then(|| (address.unwrap_or(host).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn a_host_and_its_port() {
        let some = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host_and_port("broker.example.com:9092"), some("broker.example.com", 9092));
        assert_eq!(host_and_port("[2001:db8::1]:9092"), some("2001:db8::1", 9092));
        for bad in ["", "host", ":9092", "host:", "host:0", "host:70000", "a b:1", "2001:db8::1:9092", "[x]:1", "a/b:1"]
        {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_in_the_background_has_as_long_as_a_job() {
        let longest = |destinations: &str, more: &str| {
            let text = format!(
                "
providers: {{ openai: {{ kind: openai }}, claude: {{ kind: anthropic }}, own: {{ kind: openai, base_url: http://127.0.0.1:8000/v1 }} }}
endpoints: [ {{ name: e, destinations: [ {destinations} ]{more} }} ]"
            );
            let config = crate::config::parse(&text, Role::Ingress, &|_| Ok(None)).expect("a configuration").config;
            (config.runs_in_background(&config.endpoints[0]), config.longest_deadline() == JOB_DEADLINE)
        };
        let (native, other) = ("{ name: d, provider: openai, model: m }", "{ name: f, provider: claude, model: m }");
        assert_eq!(longest(native, ""), (true, true));
        for (destinations, more) in [
            (other.to_owned(), String::new()),
            (native.replace("openai", "own"), String::new()),
            (format!("{native}, {other}"), String::new()),
            (native.to_owned(), format!(", fallbacks: [ {other} ]")),
            (native.to_owned(), ", task: embeddings".to_owned()),
        ] {
            assert_eq!(longest(&destinations, &more), (false, false), "{destinations}{more}");
        }
    }
}
