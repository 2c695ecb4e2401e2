//! Single objects, wherever they stand, for those who look at them and change them.

use super::{Control, Objects};
use crate::config::Config;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use tollgate_schemas::ObjectKind;

/// An object as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Object {
    /// Its name, unique among its kind.
    pub name: String,
    /// Goes up with each change; 0 for an object of the configuration file.
    pub version: i64,
    /// Where it stands: the topic wins over the file.
    pub source: Source,
    /// As the configuration file would hold it. Secrets are `***`.
    pub value: Value,
}

/// Where an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Source {
    File,
    Control,
}

impl Control {
    /// One object.
    pub fn get(&self, kind: ObjectKind, name: &str) -> Option<Object> {
        get(self.base(), &self.objects(), kind, name)
    }

    /// At most `limit` objects of a kind whose names come after `after`, in the order of their names.
    pub fn list(&self, kind: ObjectKind, after: &str, limit: usize) -> Vec<Object> {
        let (base, objects) = (self.base(), self.objects());
        let mut names: BTreeSet<String> = names(base, kind).into_iter().collect();
        names.extend(objects.iter().filter(|(of, ..)| *of == kind).map(|(_, name, _)| name.to_owned()));
        let later = names.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        later.filter_map(|name| get(base, &objects, kind, name)).take(limit).collect()
    }
}

fn get(base: &Config, objects: &Objects, kind: ObjectKind, name: &str) -> Option<Object> {
    let (version, source, mut value) = match objects.get(kind, name) {
        Some(entry) => (entry.version, Source::Control, serde_json::from_str(entry.value.as_ref()?.get()).ok()?),
        None => (0, Source::File, in_file(base, kind, name)?),
    };
    if kind == ObjectKind::Credential {
        value["sealed"] = "***".into();
    }
    Some(Object { name: name.to_owned(), version, source, value })
}

fn names(base: &Config, kind: ObjectKind) -> Vec<String> {
    match kind {
        ObjectKind::Provider => base.providers.keys().cloned().collect(),
        ObjectKind::Credential => Vec::new(),
        ObjectKind::Guardrail => base.guardrails.keys().cloned().collect(),
        ObjectKind::Endpoint => base.endpoints.iter().map(|it| it.name.clone()).collect(),
        ObjectKind::Team => base.teams.iter().map(|it| it.name.clone()).collect(),
        ObjectKind::User => base.users.iter().map(|it| it.name.clone()).collect(),
        ObjectKind::Key => base.keys.iter().map(|it| it.name.clone()).collect(),
        ObjectKind::Budget => base.budgets.iter().filter_map(|it| it.name.clone()).collect(),
        ObjectKind::Price => base.prices.iter().map(|it| it.id()).collect(),
    }
}

/// An object as the file holds it.
pub(super) fn in_file(base: &Config, kind: ObjectKind, name: &str) -> Option<Value> {
    fn json(item: Option<&impl Serialize>) -> Option<Value> {
        item.and_then(|item| serde_json::to_value(item).ok())
    }
    match kind {
        ObjectKind::Provider => json(base.providers.get(name)),
        ObjectKind::Credential => None,
        ObjectKind::Guardrail => json(base.guardrails.get(name)),
        ObjectKind::Endpoint => json(base.endpoints.iter().find(|it| it.name == name)),
        ObjectKind::Team => json(base.teams.iter().find(|it| it.name == name)),
        ObjectKind::User => json(base.users.iter().find(|it| it.name == name)),
        ObjectKind::Key => json(base.keys.iter().find(|it| it.name == name)),
        ObjectKind::Budget => json(base.budgets.iter().find(|it| it.name.as_deref() == Some(name))),
        ObjectKind::Price => json(base.prices.iter().find(|it| it.id() == name)),
    }
}
