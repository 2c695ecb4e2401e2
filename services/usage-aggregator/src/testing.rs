//! Rows, footers and stores for tests.

pub(crate) mod faulty;

use crate::{Error, epoch::Starts};
use std::{
    collections::BTreeMap,
    future::{Ready, ready},
};
use tollgate_schemas::{
    Attempt, AttemptAction, ExecutionId, GuardrailCheck, PriceStatus, RequestId, TokenDetails, TokenSource, UsageRow,
    usage::SCHEMA_VERSION,
};
use uuid::Uuid;

/// 2026-11-23T00:00:00Z.
pub(crate) const DAY_MS: i64 = 1_795_392_000_000;

/// A stable id whose time is `ms`.
pub(crate) fn id_at(n: u64, ms: i64) -> RequestId {
    RequestId::of_record("test", "usage", 0, i64::try_from(n).unwrap(), ms)
}

/// A stable execution id.
pub(crate) fn execution(n: u64) -> ExecutionId {
    ExecutionId(id_at(n + (1 << 40), DAY_MS).0)
}

/// The smallest row: nothing optional is set.
pub(crate) fn row(n: u64) -> UsageRow {
    UsageRow {
        schema_version: SCHEMA_VERSION,
        gateway: "main".into(),
        region: "local".into(),
        account_id: None,
        workspace_id: None,
        request_id: id_at(n, DAY_MS),
        invocation_id: Uuid::from_u128(u128::from(n)),
        execution_id: execution(n),
        parent_request_id: None,
        batch_id: None,
        trace_id: None,
        event_time_us: DAY_MS * 1000,
        endpoint_id: "chat".into(),
        endpoint_name: "chat".into(),
        endpoint_tags: BTreeMap::new(),
        destination_type: None,
        destination_name: None,
        destination_id: None,
        destination_provider: None,
        destination_model: None,
        requester: None,
        requester_type: None,
        team: "search".into(),
        key_id: None,
        key_name: None,
        user_id: None,
        end_user: None,
        ip_address: None,
        user_agent: None,
        url: None,
        api_type: "openai/chat".into(),
        lane: "interactive".into(),
        stream: false,
        status_code: 200,
        error_code: None,
        finish_reason: None,
        response_content_type: None,
        latency_ms: 12,
        time_to_first_byte_ms: None,
        queue_ms: None,
        input_tokens: None,
        output_tokens: None,
        total_tokens: None,
        token_details: TokenDetails::default(),
        token_source: None,
        provider_usage: None,
        request_tags: BTreeMap::new(),
        attempts: Vec::new(),
        cost_usd: None,
        price_status: None,
        price_version: None,
        cache_hit: false,
        saved_usd: None,
        guardrail_outcome: None,
        policy_version: None,
        guardrails: Vec::new(),
    }
}

/// One attempt of a provider.
pub(crate) fn attempt(priority: i32, model: &str, cost: Option<&str>) -> Attempt {
    Attempt {
        priority,
        action: if priority == 1 { AttemptAction::InitialAttempt } else { AttemptAction::Fallback },
        destination: format!("{model}-dest"),
        provider: "openai".into(),
        model: model.into(),
        service_tier: None,
        status_code: Some(200),
        error_code: None,
        latency_ms: 10,
        start_time_us: DAY_MS * 1000,
        end_time_us: DAY_MS * 1000 + 10_000,
        input_tokens: Some(100),
        output_tokens: Some(20),
        cache_read_input_tokens: Some(40),
        cache_creation_input_tokens: None,
        output_reasoning_tokens: Some(5),
        cost_usd: cost.map(|c| c.parse().unwrap()),
        price_version: cost.map(|_| "2026-11-01".into()),
        provider_request_id: Some("chatcmpl-1".into()),
    }
}

/// A row as a priced, answered request leaves it.
pub(crate) fn full_row(n: u64) -> UsageRow {
    UsageRow {
        trace_id: Some(format!("{n:032x}")),
        destination_type: Some("EXTERNAL_MODEL".into()),
        destination_name: Some("gpt".into()),
        destination_provider: Some("openai".into()),
        destination_model: Some("gpt-4o".into()),
        requester: Some("search-web".into()),
        requester_type: Some("SERVICE_PRINCIPAL".into()),
        key_id: Some("key-1".into()),
        key_name: Some("search-web".into()),
        ip_address: Some("192.0.2.7".into()),
        user_agent: Some("openai-python/2.8.0".into()),
        url: Some("/v1/chat/completions".into()),
        finish_reason: Some("stop".into()),
        response_content_type: Some("application/json".into()),
        time_to_first_byte_ms: Some(9),
        queue_ms: Some(1),
        input_tokens: Some(100),
        output_tokens: Some(20),
        total_tokens: Some(120),
        token_details: TokenDetails {
            cache_read_input_tokens: Some(40),
            cache_creation_input_tokens: None,
            output_reasoning_tokens: Some(5),
        },
        token_source: Some(TokenSource::Provider),
        provider_usage: Some(r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}"#.into()),
        request_tags: BTreeMap::from([("cost_center".to_owned(), "1234".to_owned())]),
        attempts: vec![attempt(1, "gpt-4o", Some("0.0004375"))],
        cost_usd: Some("0.0004375".parse().unwrap()),
        price_status: Some(PriceStatus::Priced),
        price_version: Some("2026-11-01".into()),
        guardrail_outcome: Some("passed".into()),
        guardrails: vec![GuardrailCheck {
            check: "input.safety".into(),
            outcome: "passed".into(),
            category: None,
            judge: Some("moderator".into()),
            latency_ms: Some(12),
        }],
        ..row(n)
    }
}

/// The starts of a log that still has all it ever had.
pub(crate) fn from_the_start() -> Ready<Result<Starts, Error>> {
    ready(Ok(Starts::new()))
}

/// A footer that covers `first..=last`.
pub(crate) fn footer(first: i64, last: i64) -> crate::file::Footer {
    crate::file::Footer {
        cluster_id: "test-cluster".into(),
        topic_id: Some("topic-id".into()),
        epoch: 1,
        partition: 0,
        first_offset: first,
        last_offset: last,
        first_append_ms: DAY_MS,
        last_append_ms: DAY_MS + 5,
        rows: 100,
        dropped_duplicates: 2,
        malformed: 1,
        superseded_file: Some(bytes::Bytes::from_static(b"PAR1")),
    }
}
