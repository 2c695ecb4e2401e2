//! The file with the topic's objects over it. An object that cannot be used as it is stands in the problems, and never makes
//! anything allowed that was not: what refers to something that is gone goes too.

use super::Objects;
use crate::config::{
    self, Budget, Config, Credential, Endpoint, Guardrails, Key, Price, Problem, Problems, Provider, Team, User,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};
use tollgate_schemas::ObjectKind;

/// An element of a list that has a name.
trait Named: DeserializeOwned {
    fn named(&self) -> Cow<'_, str>;
}

macro_rules! named {
    ($($kind:ty => |$it:ident| $name:expr;)*) => {
        $(impl Named for $kind {
            fn named(&self) -> Cow<'_, str> {
                let $it = self;
                $name.into()
            }
        })*
    };
}

named! {
    Endpoint => |it| it.name.as_str();
    Team => |it| it.name.as_str();
    User => |it| it.name.as_str();
    Key => |it| it.name.as_str();
    Budget => |it| it.name.as_deref().unwrap_or_default();
    Price => |it| it.id();
}

/// Whether a value is an object of its kind, as a section of the file holds it, named `path` in problems.
///
/// Here rather than with who asks, because here the code that reads each kind is compiled anyway.
pub fn check_shape(kind: ObjectKind, path: &str, value: Value) -> Result<(), Problems> {
    match kind {
        ObjectKind::Provider => config::object::<Provider>(path, value).map(drop),
        ObjectKind::Credential => config::object::<Credential>(path, value).map(drop),
        ObjectKind::Endpoint => config::object::<Endpoint>(path, value).map(drop),
        ObjectKind::Guardrail => config::object::<Guardrails>(path, value).map(drop),
        ObjectKind::Team => config::object::<Team>(path, value).map(drop),
        ObjectKind::User => config::object::<User>(path, value).map(drop),
        ObjectKind::Key => config::object::<Key>(path, value).map(drop),
        ObjectKind::Budget => config::object::<Budget>(path, value).map(drop),
        ObjectKind::Price => config::object::<Price>(path, value).map(drop),
    }
}

/// The configuration, and what of it could not be used.
pub(super) fn lay(base: &Config, objects: &Objects) -> (Config, Vec<Problem>) {
    let mut laying = Laying { problems: Vec::new() };
    let mut config = base.clone();
    let mut by_kind: BTreeMap<ObjectKind, Vec<(&str, Option<Value>)>> = BTreeMap::new();
    for (kind, name, entry) in objects.iter() {
        let value = entry.value.as_ref().and_then(|value| serde_json::from_str(value.get()).ok());
        by_kind.entry(kind).or_default().push((name, value));
    }
    for (kind, objects) in by_kind {
        match kind {
            ObjectKind::Provider => laying.map::<Provider>(kind, &mut config.providers, objects),
            ObjectKind::Credential => laying.map::<Credential>(kind, &mut config.credentials, objects),
            ObjectKind::Guardrail => laying.map::<Guardrails>(kind, &mut config.guardrails, objects),
            ObjectKind::Endpoint => laying.list(kind, &mut config.endpoints, objects),
            ObjectKind::Team => laying.list(kind, &mut config.teams, objects),
            ObjectKind::User => laying.list(kind, &mut config.users, objects),
            ObjectKind::Key => laying.list(kind, &mut config.keys, objects),
            ObjectKind::Budget => laying.list(kind, &mut config.budgets, objects),
            ObjectKind::Price => laying.list(kind, &mut config.prices, objects),
        }
    }
    config.resolve_policies();
    laying.prune(&mut config);
    laying.problems.extend(config.problems().into_iter().filter(|problem| problem.fatal));
    (config, laying.problems)
}

struct Laying {
    problems: Vec<Problem>,
}

impl Laying {
    fn problem(&mut self, path: String, message: impl Into<String>) {
        self.problems.push(Problem { path, message: message.into(), fatal: true });
    }

    fn object<T: DeserializeOwned>(&mut self, kind: ObjectKind, name: &str, value: Value) -> Option<T> {
        config::object(&format!("{}[{name}]", kind.section()), value)
            .map_err(|problems| self.problems.extend(problems.0))
            .ok()
    }

    fn map<T: DeserializeOwned>(
        &mut self,
        kind: ObjectKind,
        map: &mut BTreeMap<String, T>,
        objects: Vec<(&str, Option<Value>)>,
    ) {
        for (name, value) in objects {
            map.remove(name);
            if let Some(object) = value.and_then(|value| self.object(kind, name, value)) {
                map.insert(name.to_owned(), object);
            }
        }
    }

    fn list<T: Named>(&mut self, kind: ObjectKind, list: &mut Vec<T>, objects: Vec<(&str, Option<Value>)>) {
        let names: HashSet<&str> = objects.iter().map(|(name, _)| *name).collect();
        list.retain(|item| !names.contains(&*item.named()));
        for (name, value) in objects {
            let Some(object) = value.and_then(|value| self.object::<T>(kind, name, value)) else { continue };
            if object.named() == name {
                list.push(object);
            } else {
                self.problem(format!("{}[{name}].name", kind.section()), "must be the name it is stored under");
            }
        }
    }

    /// Takes out what refers to something that is not there.
    fn prune(&mut self, config: &mut Config) {
        let teams: HashSet<String> = config.teams.iter().map(|team| team.name.clone()).collect();
        self.prune_keys(config, &teams);
        let providers = &config.providers;
        for endpoint in &mut config.endpoints {
            let name = endpoint.name.clone();
            for list in [&mut endpoint.destinations, &mut endpoint.fallbacks] {
                list.retain(|destination| {
                    let known = providers.contains_key(&destination.provider);
                    if !known {
                        let path = format!("endpoints[{name}].{}", destination.name);
                        self.problem(
                            path,
                            format!("there is no provider `{}`: the destination is left out", destination.provider),
                        );
                    }
                    known
                });
            }
            endpoint.shadows.retain(|shadow| {
                let is_charged = shadow.team.as_ref().is_none_or(|team| teams.contains(team));
                let known = providers.contains_key(&shadow.provider) && is_charged;
                if !known {
                    let path = format!("endpoints[{name}].{}", shadow.name);
                    self.problem(path, "its provider or its team is gone: the shadow is left out");
                }
                known
            });
        }
        config.endpoints.retain(|endpoint| {
            let usable = !endpoint.destinations.is_empty()
                && endpoint.guardrails.policy.as_ref().is_none_or(|policy| config.guardrails.contains_key(policy));
            if !usable {
                let path = format!("endpoints[{}]", endpoint.name);
                self.problem(path, "has no destination, or its policy is gone: nobody can use it");
            }
            usable
        });
        self.prune_teams(config);
        let providers = &config.providers;
        config.credentials.retain(|name, credential| {
            let known = providers.contains_key(&credential.provider);
            if !known {
                self.problem(
                    format!("credentials[{name}].provider"),
                    format!("there is no provider `{}`", credential.provider),
                );
            }
            known
        });
    }

    fn prune_keys(&mut self, config: &mut Config, teams: &HashSet<String>) {
        config.keys.retain(|key| {
            let known = teams.contains(&key.team);
            if !known {
                self.problem(
                    format!("keys[{}].team", key.name),
                    format!("there is no team `{}`: the key opens nothing", key.team),
                );
            }
            let policy = policy_gone(key.guardrails.as_ref(), &config.guardrails);
            if let Some(policy) = policy {
                self.problem(
                    format!("keys[{}].guardrails.policy", key.name),
                    format!("there is no policy `{policy}`: the key opens nothing"),
                );
            }
            known && policy.is_none()
        });
    }

    fn prune_teams(&mut self, config: &mut Config) {
        let endpoints: HashSet<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        for team in &mut config.teams {
            let name = team.name.clone();
            if let Some(policy) = policy_gone(team.guardrails.as_ref(), &config.guardrails) {
                self.problem(
                    format!("teams[{name}].guardrails.policy"),
                    format!("there is no policy `{policy}`: the team may use nothing"),
                );
                team.endpoints.clear();
            }
            team.endpoints.retain(|endpoint| {
                let known = endpoints.contains(endpoint.as_str());
                if !known {
                    self.problem(format!("teams[{name}].endpoints"), format!("there is no endpoint `{endpoint}`"));
                }
                known
            });
        }
    }
}

/// The policy that guardrails refer to, if it is not there.
fn policy_gone<'g>(guardrails: Option<&'g Guardrails>, policies: &BTreeMap<String, Guardrails>) -> Option<&'g str> {
    guardrails?.policy.as_deref().filter(|name| !policies.contains_key(*name))
}
