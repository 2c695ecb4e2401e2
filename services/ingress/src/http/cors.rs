//! Pages in browsers: which of them may call the API, and what of an answer they may read.
//!
//! Off unless the configuration lists origins. A key is shown in a header, never in a cookie, so credentials of the browser's are not
//! allowed for. Source: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use axum::http::{HeaderName, HeaderValue, Method};
use std::time::Duration;
use tollgate_runtime::config::Cors;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember what it was told.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What an answer tells beside its body.
const EXPOSED: [&str; 23] = [
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-tollgate-destination",
    "x-tollgate-attempts",
    "x-tollgate-cost-usd",
    "x-tollgate-cache",
    "x-tollgate-dropped",
    "x-tollgate-idempotent-replay",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];

/// `None`: no page may.
pub(super) fn layer(cors: Option<&Cors>) -> Option<CorsLayer> {
    let origins = &cors.filter(|cors| !cors.origins.is_empty())?.origins;
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(MAX_AGE);
    Some(layer)
}
