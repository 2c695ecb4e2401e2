//! LiteLLM's costs, dollars per token, as rows of `prices`, dollars per million tokens.
//!
//! Source: <https://docs.litellm.ai/docs/proxy/custom_pricing>.

use super::{
    reading::{Notes, Section},
    yaml::{Fields, Yaml},
};
use rust_decimal::Decimal;

/// LiteLLM's names and Tollgate's, in the order of the outcome.
const COSTS: [(&str, &str); 7] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cache_read"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("cache_creation_input_token_cost_above_1hr", "cache_write_1h"),
    ("input_cost_per_token_batches", "batch_input"),
    ("output_cost_per_token_batches", "batch_output"),
];

/// A row.
struct Price {
    provider: String,
    model: String,
    costs: Vec<(&'static str, Decimal)>,
}

/// All rows.
#[derive(Default)]
pub(super) struct Prices(Vec<Price>);

impl Prices {
    /// Takes what an entry says of costs: those of `litellm_params` are stronger than those of `model_info`, as in LiteLLM.
    pub(super) fn take(
        &mut self,
        provider: &str,
        model: &str,
        params: &mut Section,
        info: &mut Section,
        notes: &mut Notes,
    ) {
        let mut costs = Vec::new();
        for (from, to) in COSTS {
            let (first, second) = (params.number(from, notes), info.number(from, notes));
            let per_million = first.or(second).and_then(|cost| cost.checked_mul(Decimal::from(1_000_000)));
            costs.extend(per_million.map(|cost| (to, cost.normalize())));
        }
        if costs.is_empty() {
            return;
        }
        if model.contains('*') {
            let why =
                "and other costs of a name with a * are of no model in particular: write a row of `prices` for each";
            notes.add(params.at("input_cost_per_token"), why);
            return;
        }
        match self.0.iter().find(|price| price.provider == provider && price.model == model) {
            None => self.0.push(Price { provider: provider.to_owned(), model: model.to_owned(), costs }),
            Some(first) if first.costs == costs => {}
            Some(_) => notes.add(
                params.at("input_cost_per_token"),
                format!(
                    "and other costs are not those of an earlier entry for {provider}'s {model}: the earlier ones hold"
                ),
            ),
        }
    }

    /// The section; `None` if there are no rows.
    pub(super) fn yaml(&self) -> Option<Yaml> {
        let row = |price: &Price| {
            let row = Fields::default()
                .with("provider", Yaml::plain(&price.provider))
                .with("model", Yaml::plain(&price.model));
            Yaml::from(price.costs.iter().fold(row, |row, (name, cost)| row.with(name, Yaml::bare(cost))))
        };
        (!self.0.is_empty()).then(|| Yaml::List(self.0.iter().map(row).collect()))
    }
}
