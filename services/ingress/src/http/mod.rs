//! The HTTP door: routes, and what is the same for all of them.

mod answer;
mod background;
mod body;
mod cors;
mod error;
mod extract;
mod google;
mod models;
mod named;
mod requests;
mod stream;

pub(crate) use body::json as json_body;
pub(crate) use error::Failure;
pub(crate) use extract::{Path, Query};

use crate::{
    Gateway,
    admit::{INVOCATIONS, MODELS, STABLE_MODELS},
    auth::GOOGLE_KEY,
};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, Version, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{sync::Arc, time::Instant};
use tollgate_schemas::{ApiError, ApiType, ErrorCode, RequestId, error::Shape};

/// The header that every answer and error carries.
const REQUEST_ID: &str = "x-request-id";

/// What Anthropic calls it.
const ANTHROPIC_REQUEST_ID: &str = "request-id";

/// All routes of the API.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    let in_body = ApiType::ALL.into_iter().filter(|api| !api.names_model_in_path());
    let apis = in_body.fold(Router::new(), |all, api| all.route(api.path(), answer::route(api)));
    let apis = apis
        .route("/v1/requests/{id}", get(requests::retrieve).delete(requests::cancel))
        .merge(named::routes())
        .merge(background::routes())
        .merge(google::routes())
        // Before the layer, which answers for methods that no route takes.
        .method_not_allowed_fallback(no_method);
    let apis = match cors::layer(gateway.config().cors.as_ref()) {
        Some(cors) => apis.layer(cors),
        None => apis,
    };
    apis.merge(crate::admin::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(gateway.clone(), every_request))
        .with_state(gateway)
}

async fn no_route() -> Failure {
    ApiError::new(
        ErrorCode::NotFound,
        "there is no such route; the API is under /v1 and /v1beta, the admin API under /admin/v1",
    )
    .into()
}

async fn no_method() -> Failure {
    ApiError::new(ErrorCode::MethodNotAllowed, "this route does not take that method").into()
}

/// Gives the request its id, counts it, and closes its connection if this replica is about to stop.
async fn every_request(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let (id, begun, version) = (RequestId::new(), Instant::now(), request.version());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let shape = shape_of(request.method(), &route, request.headers());
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await.into_response();
    if let (false, Ok(value)) = (response.headers().contains_key(REQUEST_ID), HeaderValue::from_str(&id.to_string())) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(id) = response.headers().get(REQUEST_ID).cloned() {
        response = error::shaped(response, shape, id.to_str().unwrap_or_default());
        if shape == Shape::Anthropic {
            response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id);
        }
    }
    if gateway.stops.asked.is_cancelled() && version <= Version::HTTP_11 {
        // So that a pooled connection goes to another replica while this one still answers.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!("tollgate_http_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("tollgate_http_response_head_seconds", "route" => route).record(begun.elapsed().as_secs_f64());
    response
}

/// How errors look to the callers of a route. Three APIs have the list of models under the same path: Anthropic's clients always say
/// which version of the API they mean, Google's have a header of their own for the key, and only Google's send anything to a model.
fn shape_of(method: &Method, route: &str, headers: &HeaderMap) -> Shape {
    let is_shared = route.starts_with(STABLE_MODELS);
    let is_call = is_shared && route != STABLE_MODELS && method == Method::POST;
    match route {
        INVOCATIONS => Shape::Databricks,
        _ if route.starts_with(MODELS) || is_call => Shape::Google,
        _ if is_shared && headers.contains_key("anthropic-version") => Shape::Anthropic,
        _ if is_shared && headers.contains_key(GOOGLE_KEY) => Shape::Google,
        _ => ApiType::of_path(route).map_or(Shape::OpenAi, ApiType::errors),
    }
}
