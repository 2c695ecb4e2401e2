//! A configuration's limits and budgets, compiled once: from a request to what it takes, from a usage row to what it settles.
//!
//! Pure. What a request costs to look up depends on the limits that apply to it, not on how many keys and teams there are.

mod budgets;
mod limits;
mod who;

pub use limits::DestinationLimits;
pub use who::Who;

use crate::{
    money,
    plan::{Reservation, Settlement, Source, counted},
    prices::{Callable, PriceBook},
    verdict::{Figures, Reason, Refused},
};
use budgets::Budgets;
use chrono::DateTime;
use limits::Limits;
use rust_decimal::Decimal;
use std::collections::HashMap;
use tollgate_runtime::{
    MAX_CLOCK_SKEW_MS,
    config::{Config, OnFailure},
};
use tollgate_schemas::UsageRow;
use uuid::Uuid;

/// What a reservation outlives its request's deadline by: clocks that disagree, and a minute for the usage row to arrive.
pub const GRACE_MS: i64 = MAX_CLOCK_SKEW_MS + 60_000;

/// A request before it is admitted.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The request's id.
    pub id: Uuid,
    /// Who asks for what.
    pub who: Who<'a>,
    /// When nobody wants the answer any more, milliseconds since the Unix epoch.
    pub deadline_ms: i64,
    /// Estimate of the prompt.
    pub input_tokens: u64,
    /// The caller's `max_tokens`, else the endpoint's `reserve_output`.
    pub output_tokens: u64,
}

/// What to ask the store for, and what the answer stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// For [`crate::Store::admit`].
    pub reservation: Reservation,
    /// A strict budget applies: the provider's `max_tokens` must be no more than this, or the estimate was too low.
    pub output_tokens_max: Option<u64>,
}

/// A configuration's limits and budgets.
#[derive(Debug)]
pub struct Policy {
    limits: Limits,
    budgets: Budgets,
    prices: PriceBook,
    /// Where requests to an endpoint may be sent.
    callables: HashMap<String, Vec<Callable>>,
    /// The same by provider and model.
    kinds: HashMap<String, (String, bool)>,
    unpriced_allowed: HashMap<String, bool>,
}

impl Policy {
    /// Takes time in proportion to the configuration's size; do it once per configuration.
    pub fn compile(config: &Config) -> Self {
        let keys: HashMap<&str, &str> = config.keys.iter().map(|key| (key.name.as_str(), key.id())).collect();
        let kinds: HashMap<String, (String, bool)> = config
            .providers
            .iter()
            .map(|(name, provider)| (name.clone(), (provider.price_name().to_owned(), provider.kind.is_free())))
            .collect();
        let callables = config.endpoints.iter().map(|endpoint| {
            let all = endpoint.destinations.iter().chain(&endpoint.fallbacks);
            (endpoint.name.clone(), all.map(|d| callable(&kinds, &d.provider, &d.model)).collect())
        });
        let unpriced = config.teams.iter().map(|t| (t.name.clone(), t.on_unpriced == Some(OnFailure::Allow)));
        Self {
            limits: Limits::compile(config, &keys),
            budgets: Budgets::compile(config, &keys),
            prices: PriceBook::new(&config.prices, &config.region),
            callables: callables.collect(),
            unpriced_allowed: unpriced.collect(),
            kinds,
        }
    }

    /// US dollars that a request costs at most, at the dearest of the endpoint's destinations and fallbacks; `None` if one of
    /// them has no price. One call is meant: a retry after an answer that broke off, and was billed, comes on top.
    pub fn estimate(&self, endpoint: &str, input_tokens: u64, output_tokens: u64, now_ms: i64) -> Option<Decimal> {
        self.prices.bound(self.callables.get(endpoint)?, input_tokens, output_tokens, &date(now_ms))
    }

    /// What a request must be granted. Refused here only if it has no price and must have one.
    pub fn plan(&self, ask: &Ask<'_>, now_ms: i64) -> Result<Plan, Box<Refused>> {
        let Ask { id, who, deadline_ms, input_tokens, output_tokens } = ask;
        let taken = self.limits.of_request(who, input_tokens.saturating_add(*output_tokens));
        let funds = self.budgets.funds(who, now_ms);
        let estimate = if funds.is_empty() {
            None
        } else {
            let estimate = self.estimate(who.endpoint, *input_tokens, *output_tokens, now_ms);
            if estimate.is_none() && !self.unpriced_allowed.get(who.team).is_some_and(|allowed| *allowed) {
                return Err(Box::new(Refused { reason: Reason::Unpriced, figures: Figures::default() }));
            }
            estimate
        };
        let mut dimensions: Vec<String> = funds.iter().map(|fund| fund.dimension.clone()).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        let is_strict = estimate.is_some() && funds.iter().any(|fund| fund.strict);
        let reservation = Reservation {
            id: *id,
            expires_ms: deadline_ms.saturating_add(GRACE_MS),
            rates: taken.rates,
            holds: taken.holds,
            funds,
            dimensions,
            nano: estimate.map_or(0, money::call_nano),
        };
        Ok(Plan { reservation, output_tokens_max: is_strict.then_some(*output_tokens) })
    }

    /// What a usage row settles.
    pub fn settlement(&self, row: &UsageRow, source: Option<Source>) -> Settlement {
        let who = Who::of_row(row);
        let tokens = counted(row.input_tokens) + counted(row.output_tokens);
        // Refused at the door, it took nothing; a shadow's or a judge's call never came by the door.
        let took_nothing = row.is_internal() || (row.status_code == 429 && row.attempts.is_empty());
        // A request belongs to the period of its provider call.
        let at_ms = row.attempts.first().map_or(row.event_time_us, |attempt| attempt.start_time_us) / 1000;
        let nano = money::call_nano(row.cost_usd.unwrap_or_else(|| self.doubtful(row, at_ms)));
        Settlement {
            id: row.request_id.0,
            accepted_ms: row.event_time_us / 1000,
            source,
            tokens,
            cached_tokens: counted(row.token_details.cache_read_input_tokens),
            nano,
            adds: self.budgets.adds(&who, at_ms),
            watches: if nano == 0 { Vec::new() } else { self.budgets.watches(&who, at_ms) },
            rates: if took_nothing { Vec::new() } else { self.limits.of_request(&who, tokens).rates },
        }
    }

    /// Dollars of a row without a cost: its calls at the most they can have cost, so that one price that is missing (a cache's,
    /// say) does not make a budget blind. Calls without any price count nothing.
    fn doubtful(&self, row: &UsageRow, at_ms: i64) -> Decimal {
        let date = date(at_ms);
        let cost = |attempt: &tollgate_schemas::Attempt| {
            attempt.cost_usd.or_else(|| {
                let callable = callable(&self.kinds, &attempt.provider, &attempt.model);
                let (input, output) = (counted(attempt.input_tokens), counted(attempt.output_tokens));
                self.prices.bound(&[callable], input, output, &date)
            })
        };
        row.attempts.iter().filter_map(cost).sum()
    }
}

fn callable(kinds: &HashMap<String, (String, bool)>, provider: &str, model: &str) -> Callable {
    let (kind, free) = kinds.get(provider).cloned().unwrap_or_default();
    Callable { provider: provider.to_owned(), kind, model: model.to_owned(), free }
}

fn date(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms).unwrap_or_default().format("%Y-%m-%d").to_string()
}
#[cfg(test)]
mod tests;
