//! What can be wrong with limits and budgets: figures, periods, time zones, whom they are for, whom they tell.

use super::Checker;
use crate::config::{Budget, Dimension, Limit, Per, Subject};
use rust_decimal::Decimal;
use std::collections::HashSet;

/// The most that a limit can allow; counters are exact up to there in every store.
const LIMIT_MAX: u64 = 1_000_000_000_000;
/// The most that a budget can allow, US dollars.
const BUDGET_MAX_USD: u32 = 1_000_000_000;
/// Each team's or user's limits, an endpoint's, and so on: a request looks at all that match.
const LIMITS_MAX: usize = 100;
/// Parts of one budget at which somebody is told.
const ALERTS_MAX: usize = 10;

/// Where a limit or a budget stands, and so whom it can be for.
#[derive(Clone, Copy)]
enum Place {
    Endpoint,
    Team,
    /// A user, a key, a destination: itself.
    One,
    TeamBudget,
    Budgets,
}

impl Place {
    fn takes(self, subject: Option<&Subject>) -> bool {
        use Dimension::{Endpoint, Key, Tag, Team, User};
        match (self, subject) {
            (Self::Budgets, subject) => {
                matches!(
                    subject,
                    Some(Subject::Each(Key | User | Team) | Subject::One(Key | User | Team | Endpoint | Tag, _))
                )
            }
            (_, None) => true,
            (Self::One, Some(_)) => false,
            (Self::Endpoint, Some(Subject::Whole(dimension))) => *dimension == Endpoint,
            (Self::Endpoint, Some(Subject::Each(dimension) | Subject::One(dimension, _))) => {
                matches!(dimension, Key | User | Team)
            }
            (Self::Team | Self::TeamBudget, Some(Subject::Whole(dimension))) => *dimension == Team,
            (Self::Team, Some(Subject::Each(dimension) | Subject::One(dimension, _))) => {
                matches!(dimension, Key | User)
            }
            (Self::TeamBudget, Some(Subject::Each(dimension))) => matches!(dimension, Key | User),
            (Self::TeamBudget, Some(Subject::One(dimension, _))) => matches!(dimension, Key | User | Endpoint | Tag),
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint, each_key, each_user, each_team, key:NAME, user:NAME or team:NAME",
            Self::Team => "team, each_key, each_user, key:NAME or user:NAME",
            Self::One => "nothing: it is for what it stands at",
            Self::TeamBudget => "team, each_key, each_user, key:NAME, user:NAME, endpoint:NAME or tag:NAME=VALUE",
            Self::Budgets => {
                "each_key, each_user, each_team, key:NAME, user:NAME, team:NAME, endpoint:NAME or tag:NAME=VALUE"
            }
        }
    }
}

/// What can be named. Users only if there are any: else every name is one.
struct Names<'a> {
    keys: HashSet<&'a str>,
    teams: HashSet<&'a str>,
    endpoints: HashSet<&'a str>,
    users: HashSet<&'a str>,
}

impl Names<'_> {
    fn has(&self, dimension: Dimension, name: &str) -> bool {
        match dimension {
            Dimension::Key => self.keys.contains(name),
            Dimension::Team => self.teams.contains(name),
            Dimension::Endpoint => self.endpoints.contains(name),
            Dimension::User => self.users.is_empty() || self.users.contains(name),
            Dimension::Destination | Dimension::Tag => true,
        }
    }
}

impl<'a> Checker<'a> {
    fn names(&self) -> Names<'a> {
        let config = self.config;
        Names {
            keys: config.keys.iter().map(|key| key.name.as_str()).collect(),
            teams: config.teams.iter().map(|team| team.name.as_str()).collect(),
            endpoints: config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect(),
            users: config.users.iter().map(|user| user.name.as_str()).collect(),
        }
    }

    pub(super) fn limits(&mut self) {
        let (config, names) = (self.config, self.names());
        for (i, endpoint) in config.endpoints.iter().enumerate() {
            self.limits_at(&format!("endpoints[{i}]"), Place::Endpoint, &endpoint.limits, &names);
            for (place, destination) in endpoint.every_destination() {
                self.limits_at(&format!("endpoints[{i}].{place}"), Place::One, &destination.limits, &names);
            }
        }
        for (i, team) in config.teams.iter().enumerate() {
            self.limits_at(&format!("teams[{i}]"), Place::Team, &team.limits, &names);
        }
        for (i, user) in config.users.iter().enumerate() {
            self.limits_at(&format!("users[{i}]"), Place::One, &user.limits, &names);
        }
        for (i, key) in config.keys.iter().enumerate() {
            self.limits_at(&format!("keys[{i}]"), Place::One, &key.limits, &names);
        }
    }

    fn limits_at(&mut self, path: &str, place: Place, limits: &[Limit], names: &Names<'_>) {
        if limits.len() > LIMITS_MAX {
            self.fatal(format!("{path}.limits"), format!("at most {LIMITS_MAX}"));
        }
        for (j, limit) in limits.iter().enumerate() {
            let path = format!("{path}.limits[{j}]");
            let figures: Vec<u64> = [limit.requests, limit.tokens, limit.concurrent].into_iter().flatten().collect();
            if figures.len() != 1 {
                self.fatal(&path, "set exactly one of requests, tokens and concurrent");
            } else if limit.concurrent.is_none() == limit.per.is_none() {
                self.fatal(&path, "requests and tokens need `per`; concurrent takes none");
            }
            if figures.iter().any(|figure| !(1..=LIMIT_MAX).contains(figure)) {
                self.fatal(
                    &path,
                    format!("must be from 1 to {LIMIT_MAX}; to refuse everything, take the permission away"),
                );
            }
            if matches!(limit.per, Some(Per::Week | Per::Month | Per::Total)) {
                self.fatal(
                    format!("{path}.per"),
                    "must be second, minute, hour or day; longer periods are for budgets",
                );
            }
            self.subject(&path, place, limit.subject.as_ref(), names);
        }
    }

    pub(super) fn budgets(&mut self) {
        let (config, names) = (self.config, self.names());
        let named = config.budgets.iter().enumerate();
        let named = named.filter_map(|(i, b)| Some((format!("budgets[{i}].name"), b.name.as_deref()?)));
        self.unique("budget", named.collect::<Vec<_>>().into_iter());
        for (i, budget) in config.budgets.iter().enumerate() {
            if budget.name.as_ref().is_none_or(String::is_empty) {
                self.fatal(format!("budgets[{i}].name"), "needs a name, which alerts and refusals show");
            }
            self.budget(&format!("budgets[{i}]"), Place::Budgets, budget, &names);
        }
        for (i, team) in config.teams.iter().enumerate() {
            for (j, budget) in team.budgets.iter().enumerate() {
                self.budget(&format!("teams[{i}].budgets[{j}]"), Place::TeamBudget, budget, &names);
            }
        }
    }

    fn budget(&mut self, path: &str, place: Place, budget: &Budget, names: &Names<'_>) {
        if budget.usd <= Decimal::ZERO || budget.usd > Decimal::from(BUDGET_MAX_USD) {
            self.fatal(format!("{path}.usd"), format!("must be above 0 and at most {BUDGET_MAX_USD}"));
        }
        if matches!(budget.per, Per::Second | Per::Minute | Per::Hour) {
            self.fatal(format!("{path}.per"), "must be day, week, month or total; shorter periods are for limits");
        }
        if let Some(zone) = budget.time_zone.as_ref().filter(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            self.fatal(
                format!("{path}.time_zone"),
                format!("there is no time zone `{zone}`; write an IANA name, as in Europe/Berlin"),
            );
        }
        if budget.alert_at.len() > ALERTS_MAX || budget.alert_at.iter().any(|part| !(*part > 0.0 && *part <= 1.0)) {
            self.fatal(format!("{path}.alert_at"), format!("at most {ALERTS_MAX} parts, each above 0 and at most 1"));
        }
        if let Some(webhook) = budget.webhook.as_ref().filter(|name| !self.config.webhooks.contains_key(*name)) {
            self.fatal(format!("{path}.webhook"), format!("there is no webhook `{webhook}`"));
        }
        self.subject(path, place, budget.subject.as_ref(), names);
    }

    fn subject(&mut self, path: &str, place: Place, subject: Option<&Subject>, names: &Names<'_>) {
        let path = format!("{path}.for");
        if !place.takes(subject) {
            let what = subject.map_or("must be said".to_owned(), |subject| format!("`{subject}` makes no sense here"));
            self.fatal(path, format!("{what}; write {}", place.allowed()));
        } else if let Some(Subject::One(dimension, name)) = subject
            && !names.has(*dimension, name)
        {
            self.fatal(path, format!("there is no {} `{name}`", dimension.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Role, parse};

    fn fatal(text: &str) -> Vec<String> {
        let problems = match parse(text, Role::All, &|_| Ok(None)) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        problems.into_iter().filter(|p| p.fatal).map(|p| p.path).collect()
    }

    #[test]
    fn limits_and_budgets_are_for_somebody_who_is_there() {
        let text = "
providers: { p: { kind: mock } }
endpoints:
  - name: e
    destinations: [ { name: d, provider: p, model: m, limits: [ { requests: 1, per: second }, { requests: 1, per: second, for: each_key } ] } ]
    limits: [ { requests: 1, per: week }, { tokens: 0, per: day }, { concurrent: 1, for: each_user }, { concurrent: 1, for: 'key:no' }, { concurrent: 1, for: team } ]
teams:
  - name: t
    limits: [ { concurrent: 1, for: each_team }, { concurrent: 1, for: team } ]
    budgets:
      - { usd: 0, per: day, action: block }
      - { usd: 1, per: hour, action: block, time_zone: Nowhere/Land, alert_at: [ 1.5 ], webhook: none }
      - { usd: 1, per: total, action: alert, for: 'tag:a=b', time_zone: Europe/Berlin, alert_at: [ 0.5, 1 ] }
budgets:
  - { usd: 1, per: day, action: block }
  - { name: x, usd: 1, per: day, action: block, for: 'team:t' }
  - { name: x, usd: 1, per: day, action: block, for: 'endpoint:gone' }
";
        let mut found = fatal(text);
        found.sort();
        let mut expected = vec![
            "endpoints[0].destinations[0].limits[1].for",
            "endpoints[0].limits[0].per",
            "endpoints[0].limits[1]",
            "endpoints[0].limits[3].for",
            "endpoints[0].limits[4].for",
            "teams[0].limits[0].for",
            "teams[0].budgets[0].usd",
            "teams[0].budgets[1].per",
            "teams[0].budgets[1].time_zone",
            "teams[0].budgets[1].alert_at",
            "teams[0].budgets[1].webhook",
            "budgets[0].name",
            "budgets[0].for",
            "budgets[2].name",
            "budgets[2].for",
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
