//! What a provider call costs.
//!
//! The built-in list (`data/model_prices.csv`, dollars per million tokens) with the configuration's `prices` over it. A
//! row is found by the exact model name, first under the provider's configured name, then under its kind: nothing is
//! guessed from similar names. A component that was used and has no price gives no cost, never a wrong one; but what a row prices by the
//! call alone has no components.
//!
//! Not used yet: `batch_input` and `batch_output`. They are the prices of providers' own batch APIs, which the router
//! does not call so far; work on the batch lane is made of ordinary calls at ordinary prices.

use rust_decimal::Decimal;
use std::collections::HashMap;
use tollgate_runtime::config::Price as Configured;
use tollgate_schemas::PriceStatus;

mod bound;
mod tokens;

pub use bound::Callable;
pub use tokens::Tokens;

const BUILT_IN: &str = include_str!("../data/model_prices.csv");
const PER: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
/// Decimals of money in the usage table.
const SCALE: u32 = 12;
/// Service tiers that cost what the list says; others (`flex`, `priority`, `batch`, …) need a row of their own.
const STANDARD_TIERS: [&str; 4] = ["default", "standard", "auto", "on_demand"];

/// Dollars per million tokens, and when they apply.
#[derive(Debug, Clone, Default, PartialEq)]
struct Price {
    input: Option<Decimal>,
    output: Option<Decimal>,
    cache_read: Option<Decimal>,
    cache_write: Option<Decimal>,
    cache_write_1h: Option<Decimal>,
    per_call: Option<Decimal>,
    above_tokens: Option<u64>,
    service_tier: Option<String>,
    region: Option<String>,
    valid_from: Option<String>,
    version: String,
}

/// A row's cost for one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// US dollars; `None` if something used has no price.
    pub usd: Option<Decimal>,
    /// How far it can be trusted.
    pub status: PriceStatus,
    /// Which row priced it: `builtin-` or `config-` and a short hash of the row.
    pub version: Option<String>,
}

/// One provider call, as pricing sees it.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// The provider's name in the configuration.
    pub provider: &'a str,
    /// The provider's name in the built-in list.
    pub kind: &'a str,
    /// The model at the provider.
    pub model: &'a str,
    /// The kind costs nothing.
    pub free: bool,
    /// The tier that served it, in the provider's words.
    pub service_tier: Option<&'a str>,
    /// `YYYY-MM-DD` of the call, UTC.
    pub date: &'a str,
}

/// By provider, then model.
type Rows = HashMap<String, HashMap<String, Vec<Price>>>;

/// Every price.
#[derive(Debug)]
pub struct PriceBook {
    configured: Rows,
    built_in: Rows,
    region: String,
}

impl PriceBook {
    /// The built-in list with the configuration's rows over it. `region` is the gateway's.
    pub fn new(configured: &[Configured], region: &str) -> Self {
        let mut rows = Rows::new();
        for price in configured {
            let models = rows.entry(price.provider.clone()).or_default();
            models.entry(price.model.clone()).or_default().push(Price::configured(price));
        }
        Self { configured: rows, built_in: built_in(), region: region.to_owned() }
    }

    /// What a call cost.
    pub fn cost(&self, call: &Called<'_>, tokens: &Tokens) -> Cost {
        if let Some(price) = self.find(call, tokens) {
            let (usd, status) = price.cost(tokens);
            return Cost { usd, status, version: Some(price.version.clone()) };
        }
        if call.free {
            return Cost { usd: Some(Decimal::ZERO), status: PriceStatus::Free, version: None };
        }
        Cost { usd: None, status: PriceStatus::Unpriced, version: None }
    }

    /// Where a row is looked for, in this order.
    fn tables<'p>(&self, provider: &'p str, kind: &'p str) -> [(&Rows, &'p str); 4] {
        [(&self.configured, provider), (&self.configured, kind), (&self.built_in, provider), (&self.built_in, kind)]
    }

    fn find(&self, call: &Called<'_>, tokens: &Tokens) -> Option<&Price> {
        self.tables(call.provider, call.kind).iter().find_map(|(rows, provider)| {
            let rows = rows.get(*provider)?.get(call.model)?;
            let applicable = rows.iter().filter(|price| price.applies(call, tokens, &self.region));
            // The most particular row wins; among those the latest.
            applicable
                .max_by_key(|p| (p.above_tokens, p.service_tier.is_some(), p.region.is_some(), p.valid_from.clone()))
        })
    }
}

impl Price {
    fn configured(row: &Configured) -> Self {
        let fields = (
            (&row.provider, &row.model, row.input, row.output, row.cache_read, row.cache_write, row.cache_write_1h),
            (row.per_call, row.above_tokens, &row.service_tier, &row.region, &row.valid_from),
        );
        Self {
            input: row.input,
            output: row.output,
            cache_read: row.cache_read,
            cache_write: row.cache_write,
            cache_write_1h: row.cache_write_1h,
            per_call: row.per_call,
            above_tokens: row.above_tokens,
            service_tier: row.service_tier.clone(),
            region: row.region.clone(),
            valid_from: row.valid_from.clone(),
            version: format!("config-{:08x}", fnv1a(format!("{fields:?}").as_bytes())),
        }
    }

    fn applies(&self, call: &Called<'_>, tokens: &Tokens, region: &str) -> bool {
        let tier = call.service_tier.filter(|tier| !STANDARD_TIERS.contains(tier));
        let own_tier = self.service_tier.as_deref();
        (own_tier == tier || (own_tier.is_some() && own_tier == call.service_tier))
            && self.region.as_deref().is_none_or(|own| own == region)
            && self.above_tokens.is_none_or(|above| tokens.input > above)
            // ISO dates compare as text.
            && self.valid_from.as_deref().is_none_or(|from| from <= call.date)
    }

    /// Whether a call costs the same whatever is in it: there is a price for it, and none for tokens.
    fn is_by_call(&self) -> bool {
        let of_tokens = [self.input, self.output, self.cache_read, self.cache_write, self.cache_write_1h];
        self.per_call.is_some() && of_tokens.iter().all(Option::is_none)
    }

    fn cost(&self, tokens: &Tokens) -> (Option<Decimal>, PriceStatus) {
        let read = tokens.cache_read.unwrap_or(0);
        let write = tokens.cache_write.unwrap_or(0);
        let write_1h = tokens.cache_write_1h.unwrap_or(0).min(write);
        let parts = [
            (tokens.input.saturating_sub(read + write), self.input),
            (read, self.cache_read),
            (write - write_1h, self.cache_write),
            (write_1h, self.cache_write_1h),
            (tokens.output, self.output),
        ];
        let mut usd = self.per_call.unwrap_or_default();
        let is_by_token = !self.is_by_call();
        for (count, price) in parts.into_iter().filter(|(count, _)| is_by_token && *count > 0) {
            match price {
                Some(price) => usd += Decimal::from(count) * price / PER,
                None => return (None, PriceStatus::Partial),
            }
        }
        let status = if usd.is_zero() { PriceStatus::Free } else { PriceStatus::Priced };
        (Some(usd.round_dp(SCALE).normalize()), status)
    }
}

fn built_in() -> Rows {
    let mut rows = Rows::new();
    let mut reader = csv::ReaderBuilder::new().from_reader(BUILT_IN.as_bytes());
    for record in reader.records().flatten() {
        // The file is part of the program; a test checks that every line of it parses.
        let decimal = |at: usize| record.get(at).and_then(|text| text.parse::<Decimal>().ok());
        let (Some(provider), Some(model)) = (record.get(0), record.get(1)) else { continue };
        let price = Price {
            input: decimal(3),
            output: decimal(4),
            cache_read: decimal(5),
            cache_write: decimal(6),
            version: format!("builtin-{:08x}", fnv1a(record.iter().collect::<Vec<_>>().join(",").as_bytes())),
            ..Price::default()
        };
        rows.entry(provider.to_owned()).or_default().entry(model.to_owned()).or_default().push(price);
    }
    rows
}

/// FNV-1a, 32 bits: a name for a row, not a secret.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
