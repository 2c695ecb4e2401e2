//! The columns of `usage`, one per line: name, kind, null or not, and where the value comes from.
//!
//! Names follow Databricks' `system.ai_gateway.usage` where it has them. Their meaning is in `docs/usage-table.md`; a
//! test holds that document and this list together. A column is only ever added, at the end, and nullable: readers of
//! old files see null.

mod kinds;
pub mod money;

use arrow_array::{
    ArrayRef, RecordBatch, StructArray,
    builder::{ArrayBuilder, ListBuilder},
    cast::AsArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use kinds::{Bigint, Bool, Column, Id, Int, Kind, Money, NullKind, Opt, Req, Tags, Text, Time, record};
use rust_decimal::Decimal;
use std::{any::Any, sync::Arc};
use tollgate_schemas::{
    Attempt, AttemptAction, ExecutionId, GuardrailCheck, PriceStatus, RequestId, TokenDetails, TokenSource, UsageRow,
};

/// A row and its place on the `usage` topic.
pub(crate) struct Placed {
    row: UsageRow,
    partition: i32,
    offset: i64,
}

record! {
    /// `token_details`.
    TokenDetailsColumn of TokenDetails, details:
    cache_read_input_tokens: Opt<Bigint> = details.cache_read_input_tokens;
    cache_creation_input_tokens: Opt<Bigint> = details.cache_creation_input_tokens;
    output_reasoning_tokens: Opt<Bigint> = details.output_reasoning_tokens;
}

record! {
    /// One element of `routing_information.attempts`.
    AttemptColumn of Attempt, attempt:
    priority: Req<Int> = attempt.priority;
    action: Req<Text> = action(attempt.action);
    destination: Req<Text> = &attempt.destination;
    provider: Req<Text> = &attempt.provider;
    model: Req<Text> = &attempt.model;
    service_tier: Opt<Text> = attempt.service_tier.as_deref();
    status_code: Opt<Int> = attempt.status_code;
    error_code: Opt<Text> = attempt.error_code.as_deref();
    latency_ms: Req<Bigint> = attempt.latency_ms;
    start_time: Req<Time> = attempt.start_time_us;
    end_time: Req<Time> = attempt.end_time_us;
    input_tokens: Opt<Bigint> = attempt.input_tokens;
    output_tokens: Opt<Bigint> = attempt.output_tokens;
    cache_read_input_tokens: Opt<Bigint> = attempt.cache_read_input_tokens;
    cache_creation_input_tokens: Opt<Bigint> = attempt.cache_creation_input_tokens;
    output_reasoning_tokens: Opt<Bigint> = attempt.output_reasoning_tokens;
    cost_usd: Opt<Money> = attempt.cost_usd.and_then(money::to_units);
    price_version: Opt<Text> = attempt.price_version.as_deref();
    provider_request_id: Opt<Text> = attempt.provider_request_id.as_deref();
}

/// `routing_information.attempts`.
struct Attempts;

impl Kind for Attempts {
    type Value<'a> = &'a [Attempt];
    type Builder = ListBuilder<AttemptColumn>;
    fn data_type() -> DataType {
        DataType::List(Field::new("element", AttemptColumn::data_type(), false).into())
    }
    fn builder() -> Self::Builder {
        ListBuilder::with_capacity(AttemptColumn::builder(), kinds::ROOM).with_field(Field::new(
            "element",
            AttemptColumn::data_type(),
            false,
        ))
    }
    fn append(builder: &mut Self::Builder, attempts: &[Attempt]) {
        for attempt in attempts {
            AttemptColumn::append(builder.values(), attempt);
        }
        builder.append(true);
    }
}

record! {
    /// `routing_information`.
    RoutingColumn of [Attempt], attempts:
    attempts: Req<Attempts> = attempts;
}

record! {
    /// One element of `guardrails`.
    GuardrailColumn of GuardrailCheck, checked:
    check: Req<Text> = &checked.check;
    outcome: Req<Text> = &checked.outcome;
    category: Opt<Text> = checked.category.as_deref();
    judge: Opt<Text> = checked.judge.as_deref();
    latency_ms: Opt<Bigint> = checked.latency_ms;
}

/// `guardrails`.
struct Guardrails;

impl Kind for Guardrails {
    type Value<'a> = &'a [GuardrailCheck];
    type Builder = ListBuilder<GuardrailColumn>;
    fn data_type() -> DataType {
        DataType::List(Field::new("element", GuardrailColumn::data_type(), false).into())
    }
    fn builder() -> Self::Builder {
        let element = Field::new("element", GuardrailColumn::data_type(), false);
        ListBuilder::with_capacity(GuardrailColumn::builder(), kinds::ROOM).with_field(element)
    }
    fn append(builder: &mut Self::Builder, checks: &[GuardrailCheck]) {
        for checked in checks {
            GuardrailColumn::append(builder.values(), checked);
        }
        builder.append(true);
    }
}

impl NullKind for Guardrails {
    fn append_null(builder: &mut Self::Builder) {
        builder.append(false);
    }
}

record! {
    /// The table's columns.
    UsageColumns of Placed, at:
    schema_version: Req<Int> = at.row.schema_version;
    gateway: Req<Text> = &at.row.gateway;
    region: Req<Text> = &at.row.region;
    account_id: Opt<Text> = at.row.account_id.as_deref();
    workspace_id: Opt<Text> = at.row.workspace_id.as_deref();
    request_id: Req<Id> = at.row.request_id.0;
    invocation_id: Req<Id> = at.row.invocation_id;
    execution_id: Req<Id> = at.row.execution_id.0;
    parent_request_id: Opt<Id> = at.row.parent_request_id.map(|id| id.0);
    batch_id: Opt<Text> = at.row.batch_id.as_deref();
    trace_id: Opt<Text> = at.row.trace_id.as_deref();
    event_time: Req<Time> = at.row.event_time_us;
    endpoint_id: Req<Text> = &at.row.endpoint_id;
    endpoint_name: Req<Text> = &at.row.endpoint_name;
    endpoint_tags: Req<Tags> = &at.row.endpoint_tags;
    destination_type: Opt<Text> = at.row.destination_type.as_deref();
    destination_name: Opt<Text> = at.row.destination_name.as_deref();
    destination_id: Opt<Text> = at.row.destination_id.as_deref();
    destination_provider: Opt<Text> = at.row.destination_provider.as_deref();
    destination_model: Opt<Text> = at.row.destination_model.as_deref();
    requester: Opt<Text> = at.row.requester.as_deref();
    requester_type: Opt<Text> = at.row.requester_type.as_deref();
    team: Req<Text> = &at.row.team;
    key_id: Opt<Text> = at.row.key_id.as_deref();
    key_name: Opt<Text> = at.row.key_name.as_deref();
    user_id: Opt<Text> = at.row.user_id.as_deref();
    end_user: Opt<Text> = at.row.end_user.as_deref();
    ip_address: Opt<Text> = at.row.ip_address.as_deref();
    user_agent: Opt<Text> = at.row.user_agent.as_deref();
    url: Opt<Text> = at.row.url.as_deref();
    api_type: Req<Text> = &at.row.api_type;
    lane: Req<Text> = &at.row.lane;
    stream: Req<Bool> = at.row.stream;
    status_code: Req<Int> = at.row.status_code;
    error_code: Opt<Text> = at.row.error_code.as_deref();
    finish_reason: Opt<Text> = at.row.finish_reason.as_deref();
    response_content_type: Opt<Text> = at.row.response_content_type.as_deref();
    latency_ms: Req<Bigint> = at.row.latency_ms;
    time_to_first_byte_ms: Opt<Bigint> = at.row.time_to_first_byte_ms;
    queue_ms: Opt<Bigint> = at.row.queue_ms;
    input_tokens: Opt<Bigint> = at.row.input_tokens;
    output_tokens: Opt<Bigint> = at.row.output_tokens;
    total_tokens: Opt<Bigint> = at.row.total_tokens;
    token_details: Req<TokenDetailsColumn> = &at.row.token_details;
    token_source: Opt<Text> = at.row.token_source.map(token_source);
    provider_usage: Opt<Text> = at.row.provider_usage.as_deref();
    request_tags: Req<Tags> = &at.row.request_tags;
    routing_information: Req<RoutingColumn> = at.row.attempts.as_slice();
    cost_usd: Opt<Money> = at.row.cost_usd.and_then(money::to_units);
    price_status: Opt<Text> = at.row.price_status.map(price_status);
    price_version: Opt<Text> = at.row.price_version.as_deref();
    cache_hit: Req<Bool> = at.row.cache_hit;
    saved_usd: Opt<Money> = at.row.saved_usd.and_then(money::to_units);
    guardrail_outcome: Opt<Text> = at.row.guardrail_outcome.as_deref();
    policy_version: Opt<Text> = at.row.policy_version.as_deref();
    source_partition: Req<Int> = at.partition;
    source_offset: Req<Bigint> = at.offset;
    guardrails: Opt<Guardrails> = (!at.row.guardrails.is_empty()).then_some(at.row.guardrails.as_slice());
}

fn action(action: AttemptAction) -> &'static str {
    match action {
        AttemptAction::InitialAttempt => "INITIAL_ATTEMPT",
        AttemptAction::Retry => "RETRY",
        AttemptAction::Fallback => "FALLBACK",
        AttemptAction::Hedge => "HEDGE",
        AttemptAction::Resume => "RESUME",
    }
}

fn token_source(source: TokenSource) -> &'static str {
    match source {
        TokenSource::Provider => "provider",
        TokenSource::Estimated => "estimated",
    }
}

fn price_status(status: PriceStatus) -> &'static str {
    match status {
        PriceStatus::Priced => "priced",
        PriceStatus::Partial => "partial",
        PriceStatus::Unpriced => "unpriced",
        PriceStatus::Free => "free",
    }
}

/// The table's Arrow schema.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(UsageColumns::fields()))
}

/// Parses the value of a `usage` record. An error says what is wrong, without the value.
pub fn parse(value: &[u8]) -> Result<UsageRow, String> {
    let row: UsageRow = serde_json::from_slice(value).map_err(|e| format!("not a usage row: {e}"))?;
    let fits = |amount: &Option<Decimal>| amount.is_none_or(|a| money::to_units(a).is_some());
    if !(fits(&row.cost_usd) && fits(&row.saved_usd) && row.attempts.iter().all(|a| fits(&a.cost_usd))) {
        return Err("not a usage row: an amount of money has more than 38 digits".to_owned());
    }
    Ok(row)
}

/// Rows in columnar form, growing.
pub struct Rows(UsageColumns);

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self(UsageColumns::new())
    }

    /// Adds the row that was read at (`partition`, `offset`) of the `usage` topic.
    pub fn push(&mut self, row: UsageRow, partition: i32, offset: i64) {
        self.0.append_row(&Placed { row, partition, offset });
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// No rows?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the rows out.
    pub fn take(&mut self) -> RecordBatch {
        RecordBatch::from(self.0.finish().as_struct().clone())
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({})", self.len())
    }
}

/// The request and execution ids of rows that were read back; other columns may be absent.
pub fn row_ids(batch: &RecordBatch) -> Result<Vec<(RequestId, ExecutionId)>, String> {
    let column = |name: &str| {
        let texts = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        texts.ok_or_else(|| format!("it has no text column {name}"))
    };
    let ids = column("request_id")?.iter().zip(column("execution_id")?.iter());
    let parse = |text: Option<&str>| text.unwrap_or_default().parse().map_err(|e| format!("an id is not a uuid: {e}"));
    ids.map(|(request, execution)| Ok((RequestId(parse(request)?), ExecutionId(parse(execution)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_columns_are_the_documented_ones_in_order() {
        let documented = "schema_version, gateway, region, account_id, workspace_id, request_id, invocation_id, execution_id, \
            parent_request_id, batch_id, trace_id, event_time, endpoint_id, endpoint_name, endpoint_tags, destination_type, \
            destination_name, destination_id, destination_provider, destination_model, requester, requester_type, team, key_id, \
            key_name, user_id, end_user, ip_address, user_agent, url, api_type, lane, stream, status_code, error_code, \
            finish_reason, response_content_type, latency_ms, time_to_first_byte_ms, queue_ms, input_tokens, output_tokens, \
            total_tokens, token_details, token_source, provider_usage, request_tags, routing_information, cost_usd, \
            price_status, price_version, cache_hit, saved_usd, guardrail_outcome, policy_version, source_partition, source_offset, guardrails";
        let names: Vec<_> = schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names.join(", "), documented);
    }

    #[test]
    fn every_column_is_documented_in_order() {
        let document = include_str!("../../../docs/usage-table.md");
        let columns = document.split("## Columns").nth(1).unwrap().split("`token_details`: ").next().unwrap();
        let cells: Vec<_> = columns.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).collect();
        let names: Vec<_> = schema().fields().iter().map(|f| format!("{}`", f.name())).collect();
        assert_eq!(cells, names);
        let attempts = document.split("`routing_information.attempts`, an array").nth(1).unwrap();
        for field in AttemptColumn::fields().iter().chain(&TokenDetailsColumn::fields()) {
            assert!(attempts.contains(&format!("`{}`", field.name())), "{}", field.name());
        }
        let guardrails = document.split("`guardrails`, an array").nth(1).unwrap();
        for field in &GuardrailColumn::fields() {
            assert!(guardrails.contains(&format!("`{}`", field.name())), "{}", field.name());
        }
    }

    #[test]
    fn null_is_documented_where_it_can_be() {
        let document = include_str!("../../../docs/usage-table.md");
        for field in schema().fields() {
            let line = document.lines().find(|l| l.starts_with(&format!("| `{}` |", field.name()))).unwrap();
            let never = line.trim_end_matches(" |").rsplit(" | ").next().unwrap().starts_with("never");
            assert_eq!(never, !field.is_nullable(), "{line}");
        }
    }

    #[test]
    fn rows_become_a_batch_of_the_schema() {
        let mut rows = Rows::new();
        rows.push(testing::row(1), 0, 41);
        rows.push(testing::full_row(2), 0, 42);
        let batch = rows.take();
        assert_eq!(batch.schema(), schema());
        assert_eq!(batch.num_rows(), 2);
        assert!(rows.is_empty());
        let nulls = |name: &str| batch.column_by_name(name).unwrap().null_count();
        assert_eq!(nulls("cost_usd"), 1);
        assert_eq!(nulls("request_id"), 0);
        assert_eq!(nulls("guardrails"), 1);
        let ids = batch.column_by_name("request_id").unwrap().as_string::<i32>();
        assert_eq!(ids.value(0), testing::row(1).request_id.to_string());
    }

    #[test]
    fn a_row_that_does_not_fit_is_malformed() {
        let mut row = testing::row(1);
        assert!(parse(&serde_json::to_vec(&row).unwrap()).is_ok());
        row.cost_usd = Some(Decimal::MAX);
        assert!(parse(&serde_json::to_vec(&row).unwrap()).unwrap_err().contains("38 digits"));
        assert!(parse(b"{}").unwrap_err().starts_with("not a usage row: missing field"));
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn enum_texts_are_those_of_the_json_records() {
        for value in
            [AttemptAction::InitialAttempt, AttemptAction::Retry, AttemptAction::Fallback, AttemptAction::Hedge]
        {
            assert_eq!(serde_json::to_value(value).unwrap(), action(value));
        }
        for value in [TokenSource::Provider, TokenSource::Estimated] {
            assert_eq!(serde_json::to_value(value).unwrap(), token_source(value));
        }
        for value in [PriceStatus::Priced, PriceStatus::Partial, PriceStatus::Unpriced, PriceStatus::Free] {
            assert_eq!(serde_json::to_value(value).unwrap(), price_status(value));
        }
    }
}
