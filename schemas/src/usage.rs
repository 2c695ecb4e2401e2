//! The usage row: one per ended request, attempts nested. Its fields are the columns of the `usage` table.
//!
//! Names follow Databricks' `system.ai_gateway.usage` where it has them. `input_tokens` includes cache reads and
//! writes, `output_tokens` includes reasoning, whatever the provider's own convention. Money is US dollars with twelve
//! decimals; a missing price gives `null`, never zero. `source_partition` and `source_offset` are not here: they are the
//! record's own place on the `usage` topic, which only its reader knows.

use crate::{ExecutionId, Request, RequestId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the row's shape.
pub const SCHEMA_VERSION: i32 = 1;

/// The value of `usage`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "fields are the columns documented in docs/usage-table.md, one by one")]
pub struct UsageRow {
    pub schema_version: i32,
    pub gateway: String,
    pub region: String,
    pub account_id: Option<String>,
    pub workspace_id: Option<String>,
    pub request_id: RequestId,
    /// One row's id.
    pub invocation_id: uuid::Uuid,
    pub execution_id: ExecutionId,
    pub parent_request_id: Option<RequestId>,
    pub batch_id: Option<String>,
    /// 32 hex digits.
    pub trace_id: Option<String>,
    /// When the request was accepted, microseconds since the Unix epoch.
    pub event_time_us: i64,
    pub endpoint_id: String,
    pub endpoint_name: String,
    #[serde(default)]
    pub endpoint_tags: BTreeMap<String, String>,
    /// `EXTERNAL_MODEL`, in Databricks' words.
    pub destination_type: Option<String>,
    pub destination_name: Option<String>,
    pub destination_id: Option<String>,
    pub destination_provider: Option<String>,
    pub destination_model: Option<String>,
    pub requester: Option<String>,
    pub requester_type: Option<String>,
    pub team: String,
    pub key_id: Option<String>,
    pub key_name: Option<String>,
    pub user_id: Option<String>,
    pub end_user: Option<String>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub url: Option<String>,
    pub api_type: String,
    pub lane: String,
    pub stream: bool,
    pub status_code: i32,
    pub error_code: Option<String>,
    pub finish_reason: Option<String>,
    pub response_content_type: Option<String>,
    /// Accepted to ended.
    pub latency_ms: i64,
    /// Accepted to first content; null if nothing came.
    pub time_to_first_byte_ms: Option<i64>,
    /// Accepted to the first provider call.
    pub queue_ms: Option<i64>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub total_tokens: Option<i64>,
    #[serde(default)]
    pub token_details: TokenDetails,
    pub token_source: Option<TokenSource>,
    /// The provider's own usage document, as JSON text.
    pub provider_usage: Option<String>,
    #[serde(default)]
    pub request_tags: BTreeMap<String, String>,
    /// `routing_information.attempts`.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Sum over attempts; null if any attempt that used tokens has no price.
    #[schemars(with = "Option<String>")]
    pub cost_usd: Option<Decimal>,
    pub price_status: Option<PriceStatus>,
    pub price_version: Option<String>,
    pub cache_hit: bool,
    #[schemars(with = "Option<String>")]
    pub saved_usd: Option<Decimal>,
    /// `none`, `passed`, `flagged`, `masked`, `failed`, `not_run` or `blocked`: the gravest that happened.
    pub guardrail_outcome: Option<String>,
    pub policy_version: Option<String>,
    /// What each check did, those of the input first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<GuardrailCheck>,
}

/// What one check of a guardrail policy did. Never what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "fields are columns documented in docs/usage-table.md")]
pub struct GuardrailCheck {
    /// Stage and name: `input.pii`.
    pub check: String,
    /// `passed`, `flagged`, `masked`, `failed`, `not_run` or `blocked`.
    pub outcome: String,
    /// What kind of thing was found, in the words of whoever found it; several are separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The judge that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// How long the judge took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
}

/// Parts of the token counts; null where the provider says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "names are Databricks'")]
pub struct TokenDetails {
    pub cache_read_input_tokens: Option<i64>,
    pub cache_creation_input_tokens: Option<i64>,
    pub output_reasoning_tokens: Option<i64>,
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// The provider's usage document.
    Provider,
    /// (characters + 1) / 4, as Databricks documents.
    Estimated,
}

/// How far a cost can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceStatus {
    /// Every token that was used has a price.
    Priced,
    /// A price component is missing; cost is null.
    Partial,
    /// The model has no price; cost is null.
    Unpriced,
    /// Priced at zero on purpose, or nothing was used.
    Free,
}

/// One provider call.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "fields are columns documented in docs/usage-table.md")]
pub struct Attempt {
    /// 1, 2, 3, … in the order tried.
    pub priority: i32,
    pub action: AttemptAction,
    pub destination: String,
    pub provider: String,
    pub model: String,
    pub service_tier: Option<String>,
    pub status_code: Option<i32>,
    pub error_code: Option<String>,
    pub latency_ms: i64,
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_input_tokens: Option<i64>,
    pub cache_creation_input_tokens: Option<i64>,
    pub output_reasoning_tokens: Option<i64>,
    #[schemars(with = "Option<String>")]
    pub cost_usd: Option<Decimal>,
    pub price_version: Option<String>,
    pub provider_request_id: Option<String>,
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AttemptAction {
    /// The first.
    InitialAttempt,
    /// The same destination again.
    Retry,
    /// Another destination.
    Fallback,
    /// Another destination, while the first call was still under way.
    Hedge,
    /// Any destination, to go on with an answer that broke off after the caller had seen its beginning.
    Resume,
}

impl UsageRow {
    /// The row of a request that has not reached a provider: who asked, what for, nothing used, ended now.
    pub fn of(
        request: &Request,
        execution_id: ExecutionId,
        gateway: &str,
        region: &str,
        trace_id: Option<String>,
    ) -> Self {
        let caller = request.caller.clone();
        Self {
            schema_version: SCHEMA_VERSION,
            gateway: gateway.to_owned(),
            region: region.to_owned(),
            account_id: None,
            workspace_id: None,
            request_id: request.request_id,
            invocation_id: uuid::Uuid::now_v7(),
            execution_id,
            parent_request_id: request.parent_request_id,
            batch_id: request.batch_id.clone(),
            trace_id,
            event_time_us: request.accepted_us,
            endpoint_id: request.endpoint.clone(),
            endpoint_name: request.endpoint.clone(),
            endpoint_tags: BTreeMap::new(),
            destination_type: None,
            destination_name: None,
            destination_id: None,
            destination_provider: None,
            destination_model: None,
            requester: caller.user_id.clone().or(caller.key_name.clone()).or(named(&caller.team)),
            requester_type: Some(if caller.user_id.is_some() { "USER" } else { "SERVICE_PRINCIPAL" }.to_owned()),
            team: caller.team,
            key_id: caller.key_id,
            key_name: caller.key_name,
            user_id: caller.user_id,
            end_user: caller.end_user,
            ip_address: caller.ip_address,
            user_agent: caller.user_agent,
            url: caller.url,
            api_type: request.api_type.as_str().to_owned(),
            lane: request.lane.as_str().to_owned(),
            stream: request.stream,
            status_code: 0,
            error_code: None,
            finish_reason: None,
            response_content_type: None,
            latency_ms: crate::now_us().saturating_sub(request.accepted_us) / 1000,
            time_to_first_byte_ms: None,
            queue_ms: None,
            input_tokens: None,
            output_tokens: None,
            total_tokens: None,
            token_details: TokenDetails::default(),
            token_source: None,
            provider_usage: None,
            request_tags: request.tags.clone(),
            attempts: Vec::new(),
            cost_usd: None,
            price_status: None,
            price_version: None,
            cache_hit: false,
            saved_usd: None,
            guardrail_outcome: request.guardrail_outcome.clone(),
            policy_version: request.policy_version.clone(),
            guardrails: request.guardrails.clone(),
        }
    }

    /// Whether another request has caused this one, a shadow's or a judge's: nobody has asked for it at a door.
    pub fn is_internal(&self) -> bool {
        self.parent_request_id.is_some()
    }

    /// Sets what the end of the request decides: status, error and latency. Call it last.
    pub fn end(&mut self, terminal: &crate::Terminal) {
        self.status_code = i32::from(terminal.status);
        self.error_code = terminal.error.as_ref().map(|e| e.code.as_str().to_owned());
        self.latency_ms = terminal.ended_us.saturating_sub(self.event_time_us) / 1000;
        let kind = if self.stream && terminal.error.is_none() { "text/event-stream" } else { "application/json" };
        self.response_content_type = Some(kind.to_owned());
    }
}

fn named(team: &str) -> Option<String> {
    (!team.is_empty()).then(|| team.to_owned())
}
