//! `/admin/v1/*`: what administrators see and change while the gateway runs.
//!
//! ```text
//! caller ─► actor, may ─► objects (parse, preview) ─► change ─► control topic ─► read back ─► answer
//! ```
//!
//! A change is a record on the control topic that names the version it replaces; of two that replace the same one the first in
//! the log wins, and the other's maker gets 412. The answer comes once this replica has read its own record back, so whoever
//! asks it next sees the change; other services follow within milliseconds.
//!
//! Deliberately absent: sessions and browsers' cross-origin rules (callers are tools and the CLI), and any state of its own.

mod audit;
mod change;
mod keys;
mod objects;
mod openapi;

use crate::{
    Gateway,
    auth::roles::Actor,
    http::{Failure, Path, Query, json_body},
};
use axum::{
    Json, Router,
    extract::{ConnectInfo, FromRequestParts, OriginalUri, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use change::{Expected, Wanted};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tollgate_runtime::control::Object;
use tollgate_schemas::{ApiError, ErrorCode, ObjectKind};

/// Larger bodies are refused: an object of the configuration is small.
const BODY_MAX_BYTES: usize = 1 << 20;
/// Objects a page, and at the most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// All routes of the admin API.
pub(crate) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/admin/v1/openapi.json", get(openapi::document))
        .route("/admin/v1/config", get(audit::config))
        .route("/admin/v1/audit", get(audit::changes))
        .route("/admin/v1/keys/{name}/rotate", post(keys::rotate))
        .route("/admin/v1/{section}", get(list).post(create))
        .route("/admin/v1/{section}/{name}", get(retrieve).put(replace).delete(remove))
}

/// Whoever calls, once it is known who that is.
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) ip_address: Option<String>,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Failure> {
        let actor = Actor::identify(&parts.headers, &gateway.config()).await?;
        let ip_address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
        Ok(Self { actor, ip_address, headers: parts.headers.clone() })
    }
}

impl Caller {
    fn expected(&self) -> Result<Expected, ApiError> {
        Expected::of(&self.headers)
    }
}

/// The kind that a path names.
struct Section(ObjectKind);

impl<S: Sync> FromRequestParts<S> for Section {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let path = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.0.path());
        let name = path.split('/').nth(3).unwrap_or_default();
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.section() == name);
        kind.map(Self).ok_or_else(|| ApiError::new(ErrorCode::NotFound, no_section()).into())
    }
}

fn no_section() -> String {
    let all: Vec<&str> = ObjectKind::ALL.into_iter().map(ObjectKind::section).collect();
    format!("there is no such part of the admin API; there are {}, audit, config and openapi.json", all.join(", "))
}

pub(crate) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::ObjectNotFound, "there is no such object, or you may not see it")
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Section(kind): Section,
    Query(page): Query<Page>,
) -> Result<Response, Failure> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let (mut data, mut after, mut more) = (Vec::new(), page.after, true);
    // A caller who sees few of them has its page filled all the same.
    while more && data.len() < limit {
        let found = gateway.control.list(kind, &after, PAGE_MAX);
        more = found.len() == PAGE_MAX;
        after = found.last().map_or(after, |last| last.name.clone());
        data.extend(found.into_iter().filter(|object| objects::may_read(&caller.actor, kind, object)));
    }
    let has_more = more || data.len() > limit;
    data.truncate(limit);
    Ok(Json(json!({ "object": "list", "data": data, "has_more": has_more })).into_response())
}

async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Section(kind): Section,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    Ok(told(StatusCode::OK, &visible(&gateway, &caller, kind, &name)?, None))
}

/// An object that the caller may see.
fn visible(gateway: &Gateway, caller: &Caller, kind: ObjectKind, name: &str) -> Result<Object, ApiError> {
    let object = gateway.control.get(kind, name).ok_or_else(not_found)?;
    if objects::may_read(&caller.actor, kind, &object) { Ok(object) } else { Err(not_found()) }
}

async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Section(kind): Section,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let value = body(&gateway, request).await?;
    let name = objects::name_in(kind, &value)?;
    let made = objects::made(&gateway, &caller, kind, &name, value, None)?;
    let wanted = Wanted { kind, name, replaces: None, value: Some(made.value) };
    let object = change::make(&gateway, &caller, wanted).await?;
    Ok(told(StatusCode::CREATED, &object, made.secret.as_deref()))
}

async fn replace(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Section(kind): Section,
    Path((_, name)): Path<(String, String)>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let value = body(&gateway, request).await?;
    objects::check_name(&name)?;
    let current = gateway.control.get(kind, &name);
    if current.as_ref().is_some_and(|current| !objects::may_read(&caller.actor, kind, current)) {
        return Err(not_found().into());
    }
    let replaces = caller.expected()?.version(current.as_ref())?;
    let status = if current.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let made = objects::made(&gateway, &caller, kind, &name, value, current.as_ref())?;
    let object = change::make(&gateway, &caller, Wanted { kind, name, replaces, value: Some(made.value) }).await?;
    Ok(told(status, &object, made.secret.as_deref()))
}

async fn remove(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Section(kind): Section,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let current = visible(&gateway, &caller, kind, &name)?;
    objects::check_may(&caller.actor, kind, Some(&current), None)?;
    let replaces = caller.expected()?.version(Some(&current))?;
    change::make(&gateway, &caller, Wanted { kind, name, replaces, value: None }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn body(gateway: &Gateway, request: axum::extract::Request) -> Result<Value, Failure> {
    let (parts, body) = request.into_parts();
    let (json, _held) = json_body(&parts.headers, body, (&gateway.bodies, BODY_MAX_BYTES)).await?;
    let value: Value = serde_json::from_str(json.get()).map_err(|error| crate::admit::invalid(&error))?;
    if !value.is_object() {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object").into());
    }
    Ok(value)
}

/// An object, with its version as the entity tag; with a new key, which is shown this once.
fn told(status: StatusCode, object: &Object, secret: Option<&str>) -> Response {
    let mut shown = json!(object);
    if let Some(secret) = secret {
        shown["key"] = secret.into();
    }
    let mut response = (status, Json(shown)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", object.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
