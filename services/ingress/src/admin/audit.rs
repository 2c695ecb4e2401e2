//! What was changed, by whom; and what holds now.

use super::{Caller, not_found};
use crate::{
    Gateway,
    http::{Failure, Query},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_runtime::control::{HISTORY_MAX, Past, Verdict};
use tollgate_schemas::ApiError;

#[derive(Deserialize)]
pub(super) struct Which {
    limit: Option<usize>,
    kind: Option<String>,
    name: Option<String>,
}

fn sees_everything(caller: &Caller) -> Result<(), ApiError> {
    if caller.actor.reads_everything() { Ok(()) } else { Err(not_found()) }
}

/// `GET /admin/v1/audit`: the newest changes first, refused ones among them.
pub(super) async fn changes(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Response, Failure> {
    sees_everything(&caller)?;
    let wanted = |past: &Past| {
        which.kind.as_deref().is_none_or(|kind| kind == past.change.kind.as_str() || kind == past.change.kind.section())
            && which.name.as_deref().is_none_or(|name| name == past.change.name)
    };
    let limit = which.limit.unwrap_or(100).clamp(1, HISTORY_MAX);
    let data: Vec<Value> =
        gateway.control.history().iter().rev().filter(|past| wanted(past)).take(limit).map(shown).collect();
    Ok(Json(json!({ "object": "list", "data": data })).into_response())
}

fn shown(past: &Past) -> Value {
    let change = &past.change;
    let at = DateTime::from_timestamp_micros(change.at_us).unwrap_or_default();
    let outcome = match past.verdict {
        Verdict::Applied(_) => "applied",
        Verdict::Stale(_) => "stale",
    };
    let mut value: Value =
        change.value.as_ref().and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default();
    if let Some(sealed) = value.get_mut("sealed") {
        *sealed = "***".into();
    }
    json!({
        "version": past.version,
        "at": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "by": change.by,
        "kind": change.kind,
        "name": change.name,
        "action": if change.value.is_none() { "delete" } else if change.replaces.is_none() { "create" } else { "update" },
        "replaces": change.replaces,
        "outcome": outcome,
        "value": value,
    })
}

/// `GET /admin/v1/config`: the configuration in effect, secrets as ***, and what of it could not be used.
pub(super) async fn config(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Failure> {
    sees_everything(&caller)?;
    let problems: Vec<String> = gateway.control.problems().iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "config": *gateway.control.config(), "problems": problems })).into_response())
}
