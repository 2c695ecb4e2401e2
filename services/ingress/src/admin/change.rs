//! From a wish to a record on the control topic, and back.

use super::{Caller, not_found};
use crate::{Gateway, auth::roles::Actor};
use axum::http::{HeaderMap, header};
use serde_json::{Value, value::to_raw_value};
use std::time::Duration;
use tollgate_bus::Outgoing;
use tollgate_runtime::{
    config::AdminRole,
    control::{Object, Source, Verdict},
};
use tollgate_schemas::{Actor as By, ApiError, Change, ErrorCode, ObjectKind, TraceContext, now_us, topic};

/// How long a change may take to be written and read back.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Problems told at once.
const PROBLEMS_MAX: usize = 20;

/// What an object is to become.
pub(super) struct Wanted {
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    pub(super) replaces: Option<i64>,
    pub(super) value: Option<Value>,
}

/// Which version the caller believes to be current.
pub(super) enum Expected {
    /// Whichever there is when the request comes in.
    Any,
    /// `If-None-Match: *`.
    None,
    /// `If-Match: "N"`.
    Version(i64),
}

impl Expected {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let bad = || {
            let message =
                "If-Match takes the version of one object, as its ETag or `version` says; If-None-Match takes *";
            ApiError::new(ErrorCode::InvalidRequest, message)
        };
        let text = |name| headers.get(name).map(|value| value.to_str().map(str::trim).map_err(|_| bad())).transpose();
        match (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?) {
            (None, None) | (Some("*"), None) => Ok(Self::Any),
            (None, Some("*")) => Ok(Self::None),
            (Some(tag), None) => tag.trim_matches('"').parse().map(Self::Version).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }

    /// What the change is to replace.
    pub(super) fn version(&self, current: Option<&Object>) -> Result<Option<i64>, ApiError> {
        let now = current.map(|object| object.version);
        match self {
            Self::Any => Ok(now),
            Self::None if now.is_none() => Ok(None),
            Self::Version(version) if now == Some(*version) => Ok(now),
            _ => Err(conflict(now)),
        }
    }
}

fn conflict(now: Option<i64>) -> ApiError {
    let now = now.map_or_else(|| "does not exist".to_owned(), |version| format!("is at version {version}"));
    ApiError::new(ErrorCode::VersionConflict, format!("the object {now} by now; look at it, then try again"))
}

/// Makes a change, if nothing speaks against it: the object as it is then. Of a removed one, as it was not.
pub(super) async fn make(gateway: &Gateway, caller: &Caller, wanted: Wanted) -> Result<Object, ApiError> {
    let Wanted { kind, name, replaces, value } = wanted;
    let unwritable = |_| ApiError::new(ErrorCode::Internal, "the change could not be written");
    let removed = value.is_none();
    let change = Change {
        change_id: uuid::Uuid::now_v7(),
        kind,
        name,
        replaces,
        value: value.map(|value| to_raw_value(&value)).transpose().map_err(unwritable)?,
        by: By { name: caller.actor.name.clone(), role: roles(&caller.actor), ip_address: caller.ip_address.clone() },
        at_us: now_us(),
    };
    preview(gateway, &change)?;
    let busy = || ApiError::new(ErrorCode::Overloaded, "too many changes are on their way; try again in a moment");
    let verdict = gateway.control.expect(change.change_id).ok_or_else(busy)?;
    let (key, id) = (format!("{}/{}", kind.section(), change.name), change.change_id.to_string());
    let record = Outgoing::keyed(&topic::CONTROL, (&key, &id), &change, &TraceContext::new());
    let record = record.map_err(|_| ApiError::new(ErrorCode::Internal, "the change could not be written"))?;
    let unsure = || {
        let message = "the log did not confirm the change in time, and it may still come to hold; look at the object";
        ApiError::new(ErrorCode::Overloaded, message)
    };
    let settled = async {
        gateway.producer.send_acked(record).await.ok()?;
        verdict.await.ok()
    };
    match tokio::time::timeout(TIMEOUT, settled).await.ok().flatten().ok_or_else(unsure)? {
        Verdict::Applied(version) if removed => {
            Ok(Object { name: change.name, version, source: Source::Control, value: Value::Null })
        }
        // Somebody may have changed it again meanwhile; what it became then is the truth.
        Verdict::Applied(_) => gateway.control.get(kind, &change.name).ok_or_else(not_found),
        Verdict::Stale(now) => Err(conflict(now)),
    }
}

/// Refuses what would be stale, or would break something that is whole now.
fn preview(gateway: &Gateway, change: &Change) -> Result<(), ApiError> {
    let (verdict, problems) = gateway.control.preview(change);
    if let Verdict::Stale(now) = verdict {
        return Err(conflict(now));
    }
    let known = gateway.control.problems();
    let new: Vec<String> =
        problems.iter().filter(|problem| !known.contains(problem)).map(ToString::to_string).collect();
    if new.is_empty() {
        return Ok(());
    }
    let shown = new.iter().take(PROBLEMS_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    Err(ApiError::new(
        ErrorCode::InvalidRequest,
        format!("the change is refused, because of {} problem(s): {shown}", new.len()),
    ))
}

/// `admin`, or `team_admin of search, member of ads`.
fn roles(actor: &Actor) -> String {
    let name = |role: AdminRole| {
        serde_json::to_value(role).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let teams = actor.teams.iter().map(|(team, role)| format!("{} of {team}", name(*role)));
    actor.role.map(name).into_iter().chain(teams).collect::<Vec<_>>().join(", ")
}
