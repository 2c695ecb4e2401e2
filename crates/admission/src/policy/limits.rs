//! Limits, compiled: which meters a request takes from.
//!
//! A meter's name is where the limit stands, whom it counts and what it counts (`endpoint:chat/each_key:4f2a…/requests/minute`). The figure
//! is not part of it, so that what was taken stays taken when an administrator changes the figure.

use super::GRACE_MS;
use super::who::{Table, Who, escaped};
use crate::plan::{AMOUNT_MAX, Hold, Reservation, Take, Unit};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use tollgate_runtime::config::{Config, Destination, Dimension, Limit, Per};
use uuid::Uuid;

/// One limit at one place.
#[derive(Debug)]
struct Rule {
    /// `None`: concurrent requests.
    rate: Option<(Unit, i64)>,
    limit: u64,
    /// `requests/minute`.
    suffix: String,
}

/// The limits of one place.
#[derive(Debug, Default)]
struct Place {
    /// `endpoint:chat`.
    name: String,
    table: Table<Rule>,
}

/// What a request takes of meters.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) rates: Vec<Take>,
    pub(super) holds: Vec<Hold>,
}

/// Every limit.
#[derive(Debug, Default)]
pub(super) struct Limits {
    endpoints: HashMap<String, Place>,
    teams: HashMap<String, Place>,
    users: HashMap<String, Place>,
    keys: HashMap<String, Place>,
}

/// The limits of destinations, which only a router can keep: nobody else knows which one a call goes to.
#[derive(Debug, Default)]
pub struct DestinationLimits(HashMap<String, HashMap<String, Place>>);

impl Limits {
    /// `keys`: name → id.
    pub(super) fn compile(config: &Config, keys: &HashMap<&str, &str>) -> Self {
        let place = |dimension: Dimension, name: &str, limits: &[Limit]| {
            Place::compile(format!("{}:{}", dimension.as_str(), escaped(name)), limits, keys)
                .map(|place| (name.to_owned(), place))
        };
        Self {
            endpoints: config.endpoints.iter().filter_map(|e| place(Dimension::Endpoint, &e.name, &e.limits)).collect(),
            teams: config.teams.iter().filter_map(|t| place(Dimension::Team, &t.name, &t.limits)).collect(),
            users: config.users.iter().filter_map(|u| place(Dimension::User, &u.name, &u.limits)).collect(),
            keys: config.keys.iter().filter_map(|k| place(Dimension::Key, k.id(), &k.limits)).collect(),
        }
    }

    /// What a request of `who` with so many tokens takes, destinations aside.
    pub(super) fn of_request(&self, who: &Who<'_>, tokens: u64) -> Taken {
        let places = [
            self.endpoints.get(who.endpoint),
            self.teams.get(who.team),
            who.user.and_then(|user| self.users.get(user)),
            who.key_id.and_then(|key| self.keys.get(key)),
        ];
        let mut taken = Taken::default();
        for place in places.into_iter().flatten() {
            place.take(who, tokens, &mut taken);
        }
        taken
    }
}

impl DestinationLimits {
    /// Those of a configuration.
    pub fn compile(config: &Config) -> Self {
        let endpoints = config.endpoints.iter().filter_map(|endpoint| {
            let at = |name: &str| format!("endpoint:{}/destination:{}", escaped(&endpoint.name), escaped(name));
            let place = |(_, destination): (String, Cow<'_, Destination>)| {
                let compiled = Place::compile(at(&destination.name), &destination.limits, &HashMap::new())?;
                Some((destination.name.clone(), compiled))
            };
            let places: HashMap<_, _> = endpoint.every_destination().filter_map(place).collect();
            (!places.is_empty()).then(|| (endpoint.name.clone(), places))
        });
        Self(endpoints.collect())
    }

    /// What a provider call must be granted; `None` if the destination has no limits, and then nobody is asked for its `tokens`. Its
    /// id is the call's own. Settle it with [`crate::Settlement::of_attempt`].
    pub fn reservation(
        &self,
        endpoint: &str,
        destination: &str,
        deadline_ms: i64,
        tokens: impl FnOnce() -> u64,
    ) -> Option<Reservation> {
        let place = self.0.get(endpoint)?.get(destination)?;
        let tags = BTreeMap::new();
        let nobody = Who { team: "", key_id: None, user: None, endpoint, tags: &tags };
        let mut taken = Taken::default();
        place.take(&nobody, tokens(), &mut taken);
        Some(Reservation {
            id: Uuid::now_v7(),
            expires_ms: deadline_ms.saturating_add(GRACE_MS),
            rates: taken.rates,
            holds: taken.holds,
            funds: Vec::new(),
            dimensions: Vec::new(),
            nano: 0,
        })
    }
}

impl Place {
    fn compile(name: String, limits: &[Limit], keys: &HashMap<&str, &str>) -> Option<Self> {
        if limits.is_empty() {
            return None;
        }
        let mut table = Table::default();
        for limit in limits {
            // A key that is not there: the configuration check refuses it, and nobody can match it.
            let (Some(list), Some(rule)) = (table.list(limit.subject.as_ref(), keys), rule(limit)) else { continue };
            // Two figures for one meter would take twice; the lower one holds.
            match list.iter_mut().find(|other: &&mut Rule| other.suffix == rule.suffix) {
                Some(other) => other.limit = other.limit.min(rule.limit),
                None => list.push(rule),
            }
        }
        Some(Self { name, table })
    }

    fn take(&self, who: &Who<'_>, tokens: u64, taken: &mut Taken) {
        self.table.matching(who, |rule, each, subject| {
            let each = if each { "each_" } else { "" };
            let meter = match subject {
                Some((dimension, value)) => {
                    format!("{}/{each}{}:{}/{}", self.name, dimension.as_str(), escaped(value), rule.suffix)
                }
                None => format!("{}/all/{}", self.name, rule.suffix),
            };
            let limit = rule.limit;
            match rule.rate {
                None => taken.holds.push(Hold { meter, limit }),
                Some((unit, window_ms)) => {
                    let amount = if unit == Unit::Requests { 1 } else { tokens.min(AMOUNT_MAX) };
                    taken.rates.push(Take { meter, unit, window_ms, limit, amount });
                }
            }
        });
    }
}

fn rule(limit: &Limit) -> Option<Rule> {
    if let Some(limit) = limit.concurrent {
        return Some(Rule { rate: None, limit, suffix: "concurrent".to_owned() });
    }
    let (unit, name, figure) = match (limit.requests, limit.tokens) {
        (Some(requests), _) => (Unit::Requests, "requests", requests),
        (_, Some(tokens)) if limit.count_cached => (Unit::Tokens, "tokens", tokens),
        (_, Some(tokens)) => (Unit::UncachedTokens, "uncached_tokens", tokens),
        (None, None) => return None,
    };
    let per = limit.per?;
    let window_ms = match per {
        Per::Second => 1_000,
        Per::Minute => 60_000,
        Per::Hour => 3_600_000,
        Per::Day => 86_400_000,
        Per::Week | Per::Month | Per::Total => return None,
    };
    let suffix = format!("{name}/{}", crate::period::name(per));
    Some(Rule { rate: Some((unit, window_ms)), limit: figure, suffix })
}
