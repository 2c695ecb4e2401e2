//! What the Kafka sections mean in plain numbers and full names.

use super::{Config, Team};
use std::time::Duration;

impl Config {
    /// The full names of a team's topics: (jobs, answers).
    pub fn team_topics(&self, team: &Team) -> Option<(String, String)> {
        let prefix = &self.kafka.topic_prefix;
        team.kafka.as_ref().map(|k| (format!("{prefix}{}", k.requests), format!("{prefix}{}", k.replies)))
    }

    /// The longest time any request of this configuration may take.
    pub fn longest_deadline(&self) -> Duration {
        let total = self.endpoints.iter().map(|e| e.timeout.total.0).max().unwrap_or(0);
        Duration::from_millis(total)
    }
}
