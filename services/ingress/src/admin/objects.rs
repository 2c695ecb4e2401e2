//! What an object may be: its name, its shape, and who may make it what.

use super::{Caller, keys, not_found};
use crate::{
    Gateway,
    auth::roles::{Action, Actor, Owner, may, may_write_key, may_write_user},
};
use serde_json::{Map, Value};
use tollgate_runtime::{
    Secret,
    config::{self, Dimension, Problems, Subject},
    control::{self, Object},
    seal::Sealer,
};
use tollgate_schemas::{ApiError, ErrorCode, ObjectKind};

const NAME_MAX_CHARS: usize = 256;

/// An object as it will stand on the topic, and the key it is the hash of, if that was made here.
pub(super) struct Made {
    pub(super) value: Value,
    pub(super) secret: Option<String>,
}

/// Refuses what cannot be a name.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    if (1..=NAME_MAX_CHARS).contains(&name.chars().count()) && !name.contains(char::is_control) {
        return Ok(());
    }
    let message = format!("a name must have 1 to {NAME_MAX_CHARS} characters and no control characters");
    Err(ApiError::new(ErrorCode::InvalidRequest, message).param("name"))
}

/// The name that a new object's body says.
pub(super) fn name_in(kind: ObjectKind, value: &Value) -> Result<String, ApiError> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let name = match (text("name"), kind) {
        (None, ObjectKind::Price) => {
            text("provider").zip(text("model")).map(|(provider, model)| format!("{provider}/{model}"))
        }
        (name, _) => name,
    };
    let name = name.ok_or_else(|| ApiError::new(ErrorCode::InvalidRequest, "`name` is required").param("name"))?;
    check_name(&name).map(|()| name)
}

/// What a body makes of an object. `current` is what it is now.
pub(super) fn made(
    gateway: &Gateway,
    caller: &Caller,
    kind: ObjectKind,
    name: &str,
    mut value: Value,
    current: Option<&Object>,
) -> Result<Made, ApiError> {
    let fields = value.as_object_mut().ok_or_else(not_found)?;
    if fields.get("name").is_some_and(|given| given.as_str() != Some(name)) {
        let message = "an object keeps its name: `name` must be the one in the path, or left out";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message).param("name"));
    }
    let has_name = !matches!(kind, ObjectKind::Provider | ObjectKind::Guardrail | ObjectKind::Credential);
    fields.remove("name");
    if has_name {
        fields.insert("name".to_owned(), name.into());
    }
    let mut secret = None;
    match kind {
        ObjectKind::Provider => without_credentials(fields)?,
        ObjectKind::Credential => sealed(gateway, name, fields)?,
        ObjectKind::Key => secret = keys::complete(fields, current),
        _ => {}
    }
    check_shape(kind, name, &value)?;
    check_may(&caller.actor, kind, current, Some(&value))?;
    Ok(Made { value, secret })
}

fn check_shape(kind: ObjectKind, name: &str, value: &Value) -> Result<(), ApiError> {
    let path = format!("{}[{name}]", kind.section());
    control::check_shape(kind, &path, value.clone()).map_err(|Problems(problems)| {
        let all: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        ApiError::new(ErrorCode::InvalidRequest, all.join("; "))
    })
}

/// Nothing that is a secret goes to the topic as it is.
fn without_credentials(fields: &Map<String, Value>) -> Result<(), ApiError> {
    match ["api_key", "api_keys"].iter().find(|name| fields.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            format!(
                "`{name}` is not taken here, where it could be read again; put credentials under /admin/v1/credentials"
            ),
        )
        .param(*name)),
    }
}

/// Takes `api_key` out and puts it in again, sealed.
fn sealed(gateway: &Gateway, name: &str, fields: &mut Map<String, Value>) -> Result<(), ApiError> {
    let invalid = |message: &str| ApiError::new(ErrorCode::InvalidRequest, message);
    let secret = match fields.remove("api_key") {
        Some(Value::String(secret)) if !secret.is_empty() => Secret::new(secret),
        _ => return Err(invalid("`api_key` is required: what the provider takes as its key").param("api_key")),
    };
    if fields.remove("sealed").is_some() {
        return Err(invalid("`sealed` is made here; send `api_key`").param("sealed"));
    }
    let provider = fields.get("provider").and_then(Value::as_str).unwrap_or_default();
    let sealed = Sealer::of(&gateway.control.base().admin)
        .and_then(|sealer| sealer.seal(&config::Credential::purpose(provider, name), &secret))
        .map_err(|error| invalid(&error.to_string()))?;
    fields.insert("sealed".to_owned(), sealed.into());
    Ok(())
}

/// Whether somebody may look at an object.
pub(super) fn may_read(actor: &Actor, kind: ObjectKind, object: &Object) -> bool {
    let text = |field: &str| object.value.get(field).and_then(Value::as_str);
    let reads = |team: Option<&str>, user: Option<&str>| may(actor, Action::Read, kind, Owner { team, user });
    match kind {
        ObjectKind::Team => reads(Some(&object.name), None),
        ObjectKind::Key => reads(text("team"), text("user")),
        ObjectKind::User => {
            let teams = object.value["teams"].as_array().map(Vec::as_slice).unwrap_or_default();
            reads(None, Some(&object.name)) || teams.iter().any(|team| reads(team["name"].as_str(), Some(&object.name)))
        }
        ObjectKind::Budget => match text("for").map(str::parse) {
            Some(Ok(Subject::One(Dimension::Team, team))) => reads(Some(&team), None),
            _ => reads(None, None),
        },
        _ => reads(None, None),
    }
}

/// Refuses a change that the caller may not make. Something of another team looks like something that does not exist.
pub(super) fn check_may(
    actor: &Actor,
    kind: ObjectKind,
    before: Option<&Object>,
    after: Option<&Value>,
) -> Result<(), ApiError> {
    let allowed = match kind {
        ObjectKind::Key => {
            let (before, after) = (before.and_then(|object| typed(&object.value)), after.and_then(typed));
            may_write_key(actor, before.as_ref(), after.as_ref())
        }
        ObjectKind::User => {
            let (before, after) = (before.and_then(|object| typed(&object.value)), after.and_then(typed));
            may_write_user(actor, before.as_ref(), after.as_ref())
        }
        _ => {
            let action = match (before, after) {
                (_, None) => Action::Delete,
                (None, Some(_)) => Action::Create,
                (Some(_), Some(_)) => Action::Update,
            };
            let name = before.map(|object| object.name.as_str()).or_else(|| after?.get("name")?.as_str());
            let team = name.filter(|_| kind == ObjectKind::Team);
            may(actor, action, kind, Owner { team, user: None })
        }
    };
    if allowed {
        return Ok(());
    }
    if before.is_some_and(|object| !may_read(actor, kind, object)) {
        return Err(not_found());
    }
    let message = format!("this role may not change {} so; ask an administrator", kind.section());
    Err(ApiError::new(ErrorCode::PermissionDenied, message))
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}
