//! What a request's provider calls come to: the attempts and sums of its usage row.

use crate::{
    attempt::{Broken, Call, Ended},
    config::{Destination, Router},
    failure::Class,
    prices::{Called, Cost},
    providers::prompt_estimate,
    tokens::{Tokens, Usage},
};
use rust_decimal::Decimal;
use tollgate_schemas::{Attempt, AttemptAction, PriceStatus, TokenDetails, TokenSource, UsageRow};

/// The calls of one request so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    attempts: Vec<Attempt>,
    tokens: Option<Tokens>,
    source: Option<TokenSource>,
    raw: Option<String>,
    cost: Option<Cost>,
    first_call_us: Option<i64>,
    last: Option<Served>,
}

/// A destination, its provider and the model there.
type Served = (String, String, String);

/// A provider's usage document longer than this is not kept.
const RAW_MAX_BYTES: usize = 64 * 1024;
/// Words from a provider, such as a finish reason, are cut at this many characters.
const WORD_MAX_CHARS: usize = 128;

fn word(text: String) -> String {
    if text.len() <= WORD_MAX_CHARS { text } else { text.chars().take(WORD_MAX_CHARS).collect() }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Ledger {
    /// Goes on from the calls of earlier executions of a request that was parked. Those were refused, as a rule; of one that
    /// used tokens, what its attempt tells counts, as an estimate.
    pub(crate) fn resumed(attempts: Vec<Attempt>) -> Self {
        let mut ledger = Self::default();
        for attempt in &attempts {
            ledger.first_call_us.get_or_insert(attempt.start_time_us);
            ledger.last = Some((attempt.destination.clone(), attempt.provider.clone(), attempt.model.clone()));
            let (Some(input), Some(output)) = (attempt.input_tokens, attempt.output_tokens) else { continue };
            let count = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
            let tokens = Tokens {
                input: count(input),
                output: count(output),
                cache_read: attempt.cache_read_input_tokens.map(count),
                cache_write: attempt.cache_creation_input_tokens.map(count),
                cache_write_1h: None,
                reasoning: attempt.output_reasoning_tokens.map(count),
            };
            let status = match attempt.cost_usd {
                Some(usd) if usd.is_zero() => PriceStatus::Free,
                Some(_) => PriceStatus::Priced,
                None => PriceStatus::Unpriced,
            };
            let cost = Cost { usd: attempt.cost_usd, status, version: attempt.price_version.clone() };
            ledger.add(Usage { tokens, source: TokenSource::Estimated, raw: None }, cost);
        }
        ledger.attempts = attempts;
        ledger
    }

    /// The calls, for a request that is parked.
    pub(crate) fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> usize {
        self.attempts.len()
    }

    /// The calls, in order.
    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Enters a call that left for its provider.
    pub(crate) fn enter(&mut self, router: &Router, call: &Call<'_>, action: AttemptAction, ended: &Ended) {
        let (destination, model) = (call.destination, call.asked.upstream_model);
        let Some(start_us) = ended.sent_us else { return };
        let end_us = ended.ended_us.unwrap_or(start_us);
        let usage = match &ended.answer {
            Some(answer) => Some(answer.usage_or_estimate(&call.asked)),
            None => was_left_at_work(ended).then(|| prompt_estimate(&call.asked)),
        };
        let tier = ended.answer.as_ref().and_then(|answer| answer.service_tier.clone()).map(word);
        let cost = usage.as_ref().map(|usage| match is_nothing(usage) {
            true => Cost { usd: Some(Decimal::ZERO), status: PriceStatus::Free, version: None },
            false => cost(router, (destination, model), tier.as_deref(), start_us, &usage.tokens),
        });
        let error_code = ended.broken.as_ref().map(Broken::error_code);
        let tokens = usage.as_ref().map(|usage| usage.tokens);
        let provider_request_id = match &ended.broken {
            Some(Broken::Failed(failure)) => failure.request_id.clone(),
            _ => None,
        };
        self.attempts.push(Attempt {
            priority: i32::try_from(self.attempts.len() + 1).unwrap_or(i32::MAX),
            action,
            destination: destination.name.clone(),
            provider: destination.provider.name.clone(),
            model: model.to_owned(),
            service_tier: tier,
            status_code: (ended.head.status != 0).then(|| i32::from(ended.head.status)),
            error_code,
            latency_ms: (end_us - start_us) / 1000,
            start_time_us: start_us,
            end_time_us: end_us,
            input_tokens: tokens.map(|t| signed(t.input)),
            output_tokens: tokens.map(|t| signed(t.output)),
            cache_read_input_tokens: tokens.and_then(|t| t.cache_read).map(signed),
            cache_creation_input_tokens: tokens.and_then(|t| t.cache_write).map(signed),
            output_reasoning_tokens: tokens.and_then(|t| t.reasoning).map(signed),
            cost_usd: cost.as_ref().and_then(|cost| cost.usd),
            price_version: cost.as_ref().and_then(|cost| cost.version.clone()),
            provider_request_id: ended.head.request_id.clone().or(provider_request_id).map(word),
        });
        self.first_call_us.get_or_insert(start_us);
        self.served_by(destination, model);
        if let (Some(usage), Some(cost)) = (usage, cost) {
            self.add(usage, cost);
        }
    }

    /// The request's destination is this one: the last that was called, unless said otherwise.
    pub(crate) fn served_by(&mut self, destination: &Destination, model: &str) {
        self.last = Some((destination.name.clone(), destination.provider.name.clone(), model.to_owned()));
    }

    /// The name of the request's destination.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.last.as_ref().map(|(destination, _, _)| destination.as_str())
    }

    /// Puts calls that were made at the same time into the order in which they left.
    pub(crate) fn sort(&mut self) {
        self.attempts.sort_by_key(|attempt| attempt.start_time_us);
        for (index, attempt) in self.attempts.iter_mut().enumerate() {
            attempt.priority = i32::try_from(index + 1).unwrap_or(i32::MAX);
        }
    }

    fn add(&mut self, usage: Usage, cost: Cost) {
        self.tokens = Some(self.tokens.unwrap_or_default().plus(usage.tokens));
        // One estimate among counts makes the sum an estimate.
        if self.source != Some(TokenSource::Estimated) {
            self.source = Some(usage.source);
        }
        self.raw = usage.raw.filter(|raw| raw.len() <= RAW_MAX_BYTES).or(self.raw.take());
        self.cost = Some(match self.cost.take() {
            None => cost,
            Some(before) => join(before, cost),
        });
    }

    /// Fills the row. Status, error and latency are set where the request is ended.
    pub(crate) fn fill(self, row: &mut UsageRow, first_content_us: Option<i64>, finish_reason: Option<String>) {
        let since_accepted = |us: i64| (us.saturating_sub(row.event_time_us) / 1000).max(0);
        row.queue_ms = self.first_call_us.map(since_accepted);
        row.time_to_first_byte_ms = first_content_us.map(since_accepted);
        row.finish_reason = finish_reason.map(word);
        if let Some((destination, provider, model)) = self.last {
            row.destination_type = Some("EXTERNAL_MODEL".to_owned());
            row.destination_id = Some(destination.clone());
            row.destination_name = Some(destination);
            row.destination_provider = Some(provider);
            row.destination_model = Some(model);
        }
        if let Some(tokens) = self.tokens {
            row.input_tokens = Some(signed(tokens.input));
            row.output_tokens = Some(signed(tokens.output));
            row.total_tokens = Some(signed(tokens.input.saturating_add(tokens.output)));
            row.token_details = TokenDetails {
                cache_read_input_tokens: tokens.cache_read.map(signed),
                cache_creation_input_tokens: tokens.cache_write.map(signed),
                output_reasoning_tokens: tokens.reasoning.map(signed),
            };
        }
        row.token_source = self.source;
        row.provider_usage = self.raw;
        match self.cost {
            Some(cost) => {
                row.cost_usd = cost.usd;
                row.price_status = Some(cost.status);
                row.price_version = cost.version;
            }
            // Called, and every provider said no: nothing was used. Where one said nothing, nobody knows.
            None if !self.attempts.is_empty() && self.attempts.iter().all(is_refused) => {
                row.cost_usd = Some(Decimal::ZERO);
                row.price_status = Some(PriceStatus::Free);
            }
            None => {}
        }
        row.attempts = self.attempts;
    }
}

/// Whether the provider says that nothing was used, as when it counts tokens.
fn is_nothing(usage: &Usage) -> bool {
    usage.source == TokenSource::Provider && usage.tokens == Tokens::default()
}

/// What so many tokens of a destination cost. `start_us`: microseconds since the Unix epoch.
pub(crate) fn cost(
    router: &Router,
    (destination, model): (&Destination, &str),
    tier: Option<&str>,
    start_us: i64,
    tokens: &Tokens,
) -> Cost {
    let date = chrono::DateTime::from_timestamp_micros(start_us).unwrap_or_default().format("%Y-%m-%d").to_string();
    let provider = &destination.provider;
    let call = Called {
        provider: &provider.name,
        kind: provider.kind.price_name,
        model,
        free: provider.kind.free,
        service_tier: tier,
        date: &date,
    };
    router.prices.cost(&call, tokens)
}

/// The gateway hung up while the provider had the prompt and had not refused it, so it may bill for that. (A connection that was
/// still being made is taken for one too: the client does not tell.)
fn was_left_at_work(ended: &Ended) -> bool {
    let is_refused = ended.head.status >= 300;
    match &ended.broken {
        Some(Broken::Cancelled | Broken::HandedOver | Broken::Outrun) => !is_refused,
        Some(Broken::Failed(failure)) => matches!(failure.class, Class::Timeout | Class::Deadline) && !is_refused,
        None => false,
    }
}

/// The provider answered with an error, or was never reached.
fn is_refused(attempt: &Attempt) -> bool {
    attempt.status_code.is_some_and(|status| status >= 300)
        || attempt.error_code.as_deref() == Some("connection_failed")
}

/// The cost of two calls: null if either is, and as doubtful as the more doubtful.
fn join(a: Cost, b: Cost) -> Cost {
    let doubt = |status: PriceStatus| match status {
        PriceStatus::Free => 0,
        PriceStatus::Priced => 1,
        PriceStatus::Partial => 2,
        PriceStatus::Unpriced => 3,
    };
    let status = if doubt(a.status) > doubt(b.status) { a.status } else { b.status };
    Cost { usd: a.usd.zip(b.usd).map(|(a, b)| a + b), status, version: b.version.or(a.version) }
}
