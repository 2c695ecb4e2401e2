//! Budgets, compiled: which a request must fit into, and which counters its cost adds to.
//!
//! Spend is counted per dimension (a team, a key, a user, an endpoint; a user or an endpoint within a team; a tag that a budget
//! names) and calendar period, whether a budget looks at it or not, so that a new or changed budget sees what was spent before it. In UTC
//! and in every time zone that a budget names; in a zone that is new, from then on.

use super::who::{Table, Who, escaped};
use crate::{
    money,
    period::{self, KEEP_MS, PERIODS, Period, TOTAL_KEEP_MS},
    plan::{Add, Alert, BudgetText, Fund, Watch},
};
use chrono_tz::Tz;
use rust_decimal::{Decimal, prelude::FromPrimitive};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tollgate_runtime::config::{Budget, BudgetAction, Config, Dimension, Enforcement, Per};

#[derive(Debug)]
struct Rule {
    text: Arc<BudgetText>,
    zone: Tz,
    ceiling_nano: u64,
    blocks: bool,
    strict: bool,
    /// Part of the budget, and that in nano-dollars.
    alert_at: Vec<(f64, u64)>,
}

/// Every budget.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    all: Table<Rule>,
    teams: HashMap<String, Table<Rule>>,
    zones: BTreeSet<String>,
}

impl Budgets {
    /// `keys`: name → id.
    pub(super) fn compile(config: &Config, keys: &HashMap<&str, &str>) -> Self {
        let mut budgets = Self::default();
        for budget in &config.budgets {
            budgets.zone(budget);
            if let Some(list) = budgets.all.list(budget.subject.as_ref(), keys) {
                list.push(rule("budgets", budget));
            }
        }
        for team in config.teams.iter().filter(|team| !team.budgets.is_empty()) {
            let mut table = Table::default();
            for budget in &team.budgets {
                budgets.zone(budget);
                if let Some(list) = table.list(budget.subject.as_ref(), keys) {
                    list.push(rule(&format!("teams/{}", team.name), budget));
                }
            }
            budgets.teams.insert(team.name.clone(), table);
        }
        budgets
    }

    fn zone(&mut self, budget: &Budget) {
        let zone = period::zone(budget.time_zone.as_deref());
        if zone != Tz::UTC {
            self.zones.insert(zone.name().to_owned());
        }
    }

    /// The blocking budgets that apply at `now_ms`.
    pub(super) fn funds(&self, who: &Who<'_>, now_ms: i64) -> Vec<Fund> {
        let mut funds = Vec::new();
        self.matching(who, |rule, dimension| {
            if rule.blocks {
                let Period { label, end_ms } = period::period(rule.text.per, rule.zone, now_ms);
                funds.push(Fund {
                    counter: counter(&dimension, &label),
                    dimension,
                    ceiling_nano: rule.ceiling_nano,
                    strict: rule.strict,
                    budget: Some(rule.text.clone()),
                    end_ms,
                });
            }
        });
        funds
    }

    /// The counters that a cost at `at_ms` adds to.
    pub(super) fn adds(&self, who: &Who<'_>, at_ms: i64) -> Vec<Add> {
        let utc = PERIODS.iter().map(|per| period::period(*per, Tz::UTC, at_ms));
        let zones = self.zones.iter().flat_map(|zone| {
            let zone = period::zone(Some(zone));
            PERIODS[..3].iter().map(move |per| period::period(*per, zone, at_ms))
        });
        let periods: Vec<Period> = utc.chain(zones).collect();
        let mut adds = Vec::with_capacity(periods.len() * 6);
        for dimension in self.dimensions(who) {
            adds.extend(periods.iter().map(|period| Add {
                counter: counter(&dimension, &period.label),
                drop_ms: drop_ms(period.end_ms, at_ms),
            }));
        }
        adds
    }

    /// The thresholds that a cost at `at_ms` may reach.
    pub(super) fn watches(&self, who: &Who<'_>, at_ms: i64) -> Vec<Watch> {
        let mut watches = Vec::new();
        self.matching(who, |rule, dimension| {
            let Period { label, end_ms } = period::period(rule.text.per, rule.zone, at_ms);
            let counter = counter(&dimension, &label);
            for (threshold, at_nano) in &rule.alert_at {
                watches.push(Watch {
                    mark: format!("{}@{counter}@{at_nano}", escaped(&rule.text.name)),
                    counter: counter.clone(),
                    at_nano: *at_nano,
                    drop_ms: drop_ms(end_ms, at_ms),
                    alert: Some(Alert {
                        budget: rule.text.clone(),
                        subject: dimension.clone(),
                        period: label.clone(),
                        threshold: *threshold,
                        spent_usd: Decimal::ZERO,
                    }),
                });
            }
        });
        watches
    }

    fn matching(&self, who: &Who<'_>, mut found: impl FnMut(&Rule, String)) {
        self.all.matching(who, |rule, _, subject| {
            if let Some((dimension, value)) = subject {
                found(rule, named(dimension, value));
            }
        });
        if let Some(table) = self.teams.get(who.team) {
            let team = named(Dimension::Team, who.team);
            table.matching(who, |rule, _, subject| {
                found(
                    rule,
                    match subject {
                        None | Some((Dimension::Team, _)) => team.clone(),
                        // A key belongs to one team.
                        Some((Dimension::Key, value)) => named(Dimension::Key, value),
                        Some((dimension, value)) => format!("{team}/{}", named(dimension, value)),
                    },
                );
            });
        }
    }

    /// Every dimension whose spend is counted for `who`.
    fn dimensions(&self, who: &Who<'_>) -> Vec<String> {
        let team = who.team().map(|team| named(Dimension::Team, team));
        let in_team = |dimension: &str| team.as_ref().map(|team| format!("{team}/{dimension}"));
        let mut all: Vec<String> = team.iter().cloned().collect();
        if let Some(endpoint) = who.endpoint().map(|endpoint| named(Dimension::Endpoint, endpoint)) {
            all.extend(in_team(&endpoint));
            all.push(endpoint);
        }
        all.extend(who.key_id.map(|key| named(Dimension::Key, key)));
        if let Some(user) = who.user.map(|user| named(Dimension::User, user)) {
            all.extend(in_team(&user));
            all.push(user);
        }
        let own = self.teams.get(who.team);
        if self.all.names_tags() || own.is_some_and(Table::names_tags) {
            for tag in who.tags.iter().map(|(name, value)| format!("{name}={value}")) {
                if self.all.names_tag(&tag) {
                    all.push(named(Dimension::Tag, &tag));
                }
                if own.is_some_and(|own| own.names_tag(&tag)) {
                    all.extend(in_team(&named(Dimension::Tag, &tag)));
                }
            }
        }
        all
    }
}

fn named(dimension: Dimension, value: &str) -> String {
    format!("{}:{}", dimension.as_str(), escaped(value))
}

fn counter(dimension: &str, period: &str) -> String {
    format!("{dimension}@{period}")
}

fn drop_ms(end_ms: Option<i64>, at_ms: i64) -> i64 {
    end_ms.map_or(at_ms + TOTAL_KEEP_MS, |end| end + KEEP_MS)
}

fn rule(place: &str, budget: &Budget) -> Rule {
    let ceiling_nano = money::nano(budget.usd).min(money::BUDGET_MAX_NANO);
    let subject = budget.subject.as_ref().map_or("all".to_owned(), ToString::to_string);
    let name = budget.name.clone();
    let name = name.unwrap_or_else(|| format!("{place}/{subject}/{}", period::name(budget.per)));
    let thresholds = if budget.alert_at.is_empty() { &[1.0][..] } else { budget.alert_at.as_slice() };
    let nano_at = |part: f64| {
        let part = Decimal::from_f64(part).unwrap_or(Decimal::ONE);
        money::nano(money::usd(ceiling_nano).checked_mul(part).unwrap_or(budget.usd)).max(1)
    };
    Rule {
        zone: if budget.per == Per::Total { Tz::UTC } else { period::zone(budget.time_zone.as_deref()) },
        ceiling_nano,
        blocks: budget.action == BudgetAction::Block,
        strict: budget.enforcement == Enforcement::Strict,
        alert_at: thresholds.iter().map(|part| (*part, nano_at(*part))).collect(),
        text: Arc::new(BudgetText {
            name,
            per: budget.per,
            usd: budget.usd,
            action: budget.action,
            webhook: budget.webhook.clone(),
        }),
    }
}
