//! `GET /v1/models` and `GET /v1/models/{id}`: the endpoints that the key may use, as OpenAI's models or as Anthropic's.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/models/object>, <https://platform.claude.com/docs/en/api/models-list>.
//! The list is whole: it has one page.

use super::{Path, error::Failure, speaks_anthropic};
use crate::{Gateway, config::IngressConfig};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::HeaderMap,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_schemas::{ApiError, ErrorCode};

/// A model; `created`: when this replica read its configuration.
fn model(config: &IngressConfig, id: &str, is_anthropic: bool) -> Value {
    if is_anthropic {
        let created = chrono::DateTime::from_timestamp(config.started_s, 0).unwrap_or_default();
        let created = created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        return json!({ "type": "model", "id": id, "display_name": id, "created_at": created });
    }
    json!({ "id": id, "object": "model", "created": config.started_s, "owned_by": config.gateway })
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let (config, is_anthropic) = (gateway.config(), speaks_anthropic(uri.path(), &headers));
    let caller = config.identify(&headers).await?.caller();
    let usable = config.endpoint_names.iter().filter(|name| config.endpoint(&caller, name).is_some());
    let models: Vec<Value> = usable.map(|name| model(&config, name, is_anthropic)).collect();
    if !is_anthropic {
        return Ok(Json(json!({ "object": "list", "data": models })));
    }
    let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    let (first, last) = (id(models.first()), id(models.last()));
    Ok(Json(json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })))
}

/// Answers to aliases too, which the list leaves out.
pub(super) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let config = gateway.config();
    let caller = config.identify(&headers).await?.caller();
    match config.endpoint(&caller, &id) {
        Some(_) => Ok(Json(model(&config, &id, speaks_anthropic(uri.path(), &headers)))),
        None => Err(ApiError::new(ErrorCode::ModelNotFound, "there is no such model, or you may not use it")
            .param("model")
            .into()),
    }
}
