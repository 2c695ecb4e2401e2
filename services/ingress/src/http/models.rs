//! `GET /v1/models` and `GET /v1/models/{id}`: the endpoints that the key may use, as OpenAI's models, Anthropic's or Google's; under
//! `/v1beta` as Google's.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/models/object>, <https://platform.claude.com/docs/en/api/models-list>,
//! <https://ai.google.dev/api/models>. The list is whole: it has one page.

use super::{Path, error::Failure, shape_of};
use crate::{Gateway, config::IngressConfig};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{HeaderMap, Method},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_runtime::config::{Endpoint, Task};
use tollgate_schemas::{ApiError, ErrorCode, error::Shape};

/// A model; `created`: when this replica read its configuration.
fn model(config: &IngressConfig, id: &str, endpoint: &Endpoint, shape: Shape) -> Value {
    match shape {
        Shape::Anthropic => {
            let created = chrono::DateTime::from_timestamp(config.started_s, 0).unwrap_or_default();
            let created = created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            json!({ "type": "model", "id": id, "display_name": id, "created_at": created })
        }
        Shape::Google => {
            let methods: &[&str] = match endpoint.task {
                Task::Chat => &["generateContent", "streamGenerateContent"],
                _ => &[],
            };
            json!({ "name": format!("models/{id}"), "displayName": id, "supportedGenerationMethods": methods })
        }
        Shape::OpenAi | Shape::Databricks => {
            json!({ "id": id, "object": "model", "created": config.started_s, "owned_by": config.gateway })
        }
    }
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let (config, shape) = (gateway.config(), shape_of(&Method::GET, uri.path(), &headers));
    let caller = config.identify(&headers).await?.caller();
    let usable = config.endpoint_names.iter().filter_map(|name| Some((name, config.endpoint(&caller, name)?)));
    let models: Vec<Value> = usable.map(|(name, endpoint)| model(&config, name, endpoint, shape)).collect();
    Ok(Json(match shape {
        Shape::Anthropic => {
            let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
            let (first, last) = (id(models.first()), id(models.last()));
            json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
        }
        Shape::Google => json!({ "models": models }),
        Shape::OpenAi | Shape::Databricks => json!({ "object": "list", "data": models }),
    }))
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
        Some(endpoint) => Ok(Json(model(&config, &id, endpoint, shape_of(&Method::GET, uri.path(), &headers)))),
        None => Err(ApiError::new(ErrorCode::ModelNotFound, "there is no such model, or you may not use it")
            .param("model")
            .into()),
    }
}
