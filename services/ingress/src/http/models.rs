//! `GET /v1/models` and `GET /v1/models/{id}`: the endpoints that the key may use, as OpenAI's models.
//!
//! Shape: <https://platform.openai.com/docs/api-reference/models/object>.

use super::error::Failure;
use crate::Gateway;
use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Serialize;
use std::sync::Arc;
use tollgate_schemas::{ApiError, ErrorCode};

#[derive(Serialize)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    /// Seconds since the Unix epoch: when this replica read its configuration.
    created: i64,
    owned_by: String,
}

#[derive(Serialize)]
pub(super) struct Models {
    object: &'static str,
    data: Vec<Model>,
}

fn model(gateway: &Gateway, id: &str) -> Model {
    Model {
        id: id.to_owned(),
        object: "model",
        created: gateway.config.started_s,
        owned_by: gateway.config.gateway.clone(),
    }
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Models>, Failure> {
    let team = &gateway.config.keys.identify(&headers)?.team;
    let usable = gateway.config.endpoint_names.iter().filter(|name| gateway.config.endpoint(team, name).is_some());
    Ok(Json(Models { object: "list", data: usable.map(|name| model(&gateway, name)).collect() }))
}

/// Answers to aliases too, which the list leaves out.
pub(super) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Model>, Failure> {
    let team = &gateway.config.keys.identify(&headers)?.team;
    match gateway.config.endpoint(team, &id) {
        Some(_) => Ok(Json(model(&gateway, &id))),
        None => Err(ApiError::new(ErrorCode::ModelNotFound, "there is no such model, or you may not use it")
            .param("model")
            .into()),
    }
}
