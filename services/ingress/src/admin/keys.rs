//! Keys are made here, shown once, and stored as hashes; a rotation leaves the old secret its time.

use super::{Caller, body, change, objects, told, visible};
use crate::{
    Gateway,
    http::{Failure, Path},
};
use axum::{extract::State, http::StatusCode, response::Response};
use change::Wanted;
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tollgate_runtime::{config::Millis, control::Object, secret::new_key};
use tollgate_schemas::{ApiError, ErrorCode, ObjectKind};

/// Secrets of one key that work at the same time: the newest, and those on their way out.
const RETIRING_MAX: usize = 8;

/// Fills in what the caller of the API leaves out: the id and the hash, those there are or new ones. Returns the key of a new hash.
pub(super) fn complete(fields: &mut Map<String, Value>, current: Option<&Object>) -> Option<String> {
    let mut secret = None;
    if !fields.contains_key("sha256") {
        let hash = match current {
            Some(current) => current.value["sha256"].clone(),
            None => {
                let (key, hash) = new_key();
                secret = Some(key);
                hash.into()
            }
        };
        fields.insert("sha256".to_owned(), hash);
    }
    if let Some(current) = current {
        for field in ["id", "retiring"] {
            if !fields.contains_key(field) && !current.value[field].is_null() {
                fields.insert(field.to_owned(), current.value[field].clone());
            }
        }
    }
    if fields.get("id").is_none_or(Value::is_null) {
        let first = fields.get("sha256").and_then(Value::as_str).and_then(|hash| hash.get(..16)).unwrap_or_default();
        fields.insert("id".to_owned(), first.into());
    }
    secret
}

/// `POST /admin/v1/keys/{name}/rotate`, body `{"grace": "24h"}`: a new secret, while the old one works for so long.
pub(super) async fn rotate(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(name): Path<String>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let asked = body(&gateway, request).await?;
    let grace: Millis = serde_json::from_value(asked["grace"].clone()).map_err(|_| {
        let message = "`grace` is required: how long the old secret still works, as in 24h (0s: it ends now)";
        ApiError::new(ErrorCode::InvalidRequest, message).param("grace")
    })?;
    let current = visible(&gateway, &caller, ObjectKind::Key, &name)?;
    let replaces = caller.expected()?.version(Some(&current))?;
    let (secret, hash) = new_key();
    let mut value = current.value.clone();
    // An id that was derived from the secret must not change with it.
    if value["id"].is_null() {
        value["id"] = value["sha256"].as_str().and_then(|hash| hash.get(..16)).unwrap_or_default().into();
    }
    let now = Utc::now();
    let until = now + grace.duration();
    let mut retiring: Vec<Value> = value["retiring"].as_array().cloned().unwrap_or_default();
    retiring.retain(|old| {
        old["until"]
            .as_str()
            .and_then(|until| until.parse::<chrono::DateTime<Utc>>().ok())
            .is_some_and(|until| until > now)
    });
    if grace.0 > 0 {
        retiring
            .push(json!({ "sha256": value["sha256"], "until": until.to_rfc3339_opts(SecondsFormat::Millis, true) }));
    }
    if retiring.len() > RETIRING_MAX {
        let message = format!(
            "{RETIRING_MAX} earlier secrets of this key still work; let some run out, or update it with `retiring: []`"
        );
        return Err(ApiError::new(ErrorCode::InvalidRequest, message).into());
    }
    value["retiring"] = retiring.into();
    value["sha256"] = hash.into();
    objects::check_may(&caller.actor, ObjectKind::Key, Some(&current), Some(&value))?;
    let object =
        change::make(&gateway, &caller, Wanted { kind: ObjectKind::Key, name, replaces, value: Some(value) }).await?;
    Ok(told(StatusCode::OK, &object, Some(&secret)))
}
