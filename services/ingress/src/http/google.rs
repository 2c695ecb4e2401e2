//! Google's API as a door: `POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`, the same below `/v1`, and the
//! lists of models, which share a path with OpenAI's and Anthropic's there.
//!
//! Source: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/models>. Model and method stand in the path, so
//! the body has neither `model` nor `stream`. A stream comes as server-sent events, which Google's SDKs ask for by `alt=sse`, or else as
//! one JSON array that grows.

use super::{Failure, Query, answer, models, stream::Form};
use crate::{
    Called, Gateway,
    admit::{MODELS, Path, STABLE_MODELS},
    auth::GOOGLE_KEY,
};
use axum::{
    Router,
    extract::{Path as Captured, Query as Parsed, Request, State},
    http::HeaderValue,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use serde::Deserialize;
use std::sync::Arc;
use tollgate_schemas::{ApiError, ErrorCode};

/// How a stream is asked for; the second is its other name in Google's REST APIs.
#[derive(Deserialize)]
struct Asked {
    #[serde(alias = "$alt")]
    alt: Option<String>,
}

/// A key in the address.
#[derive(Deserialize)]
struct Key {
    key: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    let of = |all: Router<Arc<Gateway>>, models: &str| {
        let one = get(models::retrieve).post(generate);
        all.route(models, get(models::list)).route(&format!("{models}/{{*call}}"), one)
    };
    [MODELS, STABLE_MODELS].into_iter().fold(Router::new(), of).route_layer(middleware::from_fn(key_in_header))
}

/// Puts a key that stands in the address, as Google's API allows it, where all others stand, so that nothing behind this reads an
/// address for it. What is kept of one is its path.
async fn key_in_header(mut request: Request, next: Next) -> Response {
    let found = Parsed::<Key>::try_from_uri(request.uri()).ok().and_then(|Parsed(found)| found.key);
    if let Some(mut value) = found.and_then(|key| HeaderValue::from_str(&key).ok())
        && !request.headers().contains_key(GOOGLE_KEY)
    {
        value.set_sensitive(true);
        request.headers_mut().insert(GOOGLE_KEY, value);
    }
    next.run(request).await
}

async fn generate(
    State(gateway): State<Arc<Gateway>>,
    Captured(rest): Captured<String>,
    Query(asked): Query<Asked>,
    mut request: Request,
) -> Result<Response, Failure> {
    let Some(called) = Called::of_rest(&rest) else {
        let message = "of the methods of a model there are generateContent and streamGenerateContent here";
        return Err(ApiError::new(ErrorCode::NotFound, message).into());
    };
    if asked.alt.as_deref() != Some("sse") {
        request.extensions_mut().insert(Form::Array { begun: false });
    }
    answer::traced(gateway, Path::Called(called), request).await
}
