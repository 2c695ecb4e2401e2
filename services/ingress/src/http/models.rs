//! `GET /v1/models` and `GET /v1/models/{id}`: the endpoints that the key may use, as OpenAI's models.
//!
//! Shape: <https://platform.openai.com/docs/api-reference/models/object>.

use super::{Path, error::Failure};
use crate::{Gateway, config::IngressConfig};
use axum::{Json, extract::State, http::HeaderMap};
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

fn model(config: &IngressConfig, id: &str) -> Model {
    Model { id: id.to_owned(), object: "model", created: config.started_s, owned_by: config.gateway.clone() }
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Models>, Failure> {
    let config = gateway.config();
    let caller = config.identify(&headers).await?.caller();
    let usable = config.endpoint_names.iter().filter(|name| config.endpoint(&caller, name).is_some());
    Ok(Json(Models { object: "list", data: usable.map(|name| model(&config, name)).collect() }))
}

/// Answers to aliases too, which the list leaves out.
pub(super) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Model>, Failure> {
    let config = gateway.config();
    let caller = config.identify(&headers).await?.caller();
    match config.endpoint(&caller, &id) {
        Some(_) => Ok(Json(model(&config, &id))),
        None => Err(ApiError::new(ErrorCode::ModelNotFound, "there is no such model, or you may not use it")
            .param("model")
            .into()),
    }
}
