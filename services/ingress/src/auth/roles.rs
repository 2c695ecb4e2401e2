//! Who may do what through the admin API. [`may`] is the whole rule for kinds of objects; [`may_write_key`] and
//! [`may_write_user`] are what it leaves to the contents.
//!
//! | role | reads | changes |
//! | --- | --- | --- |
//! | `admin` | everything | everything |
//! | `analyst` | everything | nothing |
//! | `team_admin` | its team, and the keys, users and budgets of it | keys and members of its team; no key's checks for weaker ones |
//! | `member` | the same | its own keys in its team |

use super::{keys::opens, secret_of, unknown_key};
use crate::IngressConfig;
use axum::http::HeaderMap;
use std::collections::BTreeMap;
use tollgate_runtime::config::{AdminRole, Key, User};
use tollgate_schemas::{ApiError, ErrorCode, ObjectKind};

/// Somebody at the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// An admin key's name, or a user's.
    pub name: String,
    /// Set for users: whose keys are its own.
    pub user: Option<String>,
    /// Over all teams: `admin`, `analyst` or none.
    pub role: Option<AdminRole>,
    /// `team_admin` or `member` of teams.
    pub teams: BTreeMap<String, AdminRole>,
}

/// What somebody wants to do to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Read,
    Create,
    Update,
    Delete,
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The team it is of; of a team itself its name; none for what is everybody's.
    pub team: Option<&'a str>,
    /// The user it is of.
    pub user: Option<&'a str>,
}

impl Actor {
    /// From an admin key, or from the token of a user who has a role.
    pub async fn identify(headers: &HeaderMap, config: &IngressConfig) -> Result<Self, ApiError> {
        let (secret, access) = (secret_of(headers)?, &config.access);
        // All are compared, so that the time tells nothing of which it is.
        let keys = access.config().admin.keys.iter();
        let found = keys.fold(None, |found, key| if opens(&key.sha256, secret) { Some(key) } else { found });
        if let Some(key) = found {
            let (role, teams) = match (&key.team, key.role) {
                (_, AdminRole::Admin | AdminRole::Analyst) => (Some(key.role), BTreeMap::new()),
                (Some(team), role) => (None, BTreeMap::from([(team.clone(), role)])),
                (None, _) => (None, BTreeMap::new()),
            };
            return Ok(Self { name: key.name.clone(), user: None, role, teams });
        }
        if !access.issuers.could_have_made(secret) {
            return Err(unknown_key());
        }
        let claims = access.issuers.verify(secret).await?;
        let known = access.user(&claims.user).filter(|user| user.enabled).and_then(Self::of);
        known.ok_or_else(|| {
            ApiError::new(ErrorCode::PermissionDenied, "the token's user has no role here; ask your administrator")
        })
    }

    fn of(user: &User) -> Option<Self> {
        let role = user.role.filter(|role| matches!(role, AdminRole::Admin | AdminRole::Analyst));
        let in_team = |role: AdminRole| matches!(role, AdminRole::TeamAdmin | AdminRole::Member);
        let teams = user.teams.iter().filter(|team| in_team(team.role));
        let teams: BTreeMap<_, _> = teams.map(|team| (team.name.clone(), team.role)).collect();
        let known = role.is_some() || !teams.is_empty();
        known.then(|| Self { name: user.name.clone(), user: Some(user.name.clone()), role, teams })
    }

    /// The role in which it acts on what is of a team.
    pub fn role_in(&self, team: Option<&str>) -> Option<AdminRole> {
        self.role.or_else(|| self.teams.get(team?).copied())
    }

    /// Whether it sees what is of no team: the effective configuration, the audit trail.
    pub fn reads_everything(&self) -> bool {
        self.role.is_some()
    }
}

/// Whether somebody may do something to an object of a kind. A change that gives an object to somebody else must be allowed
/// before and after it.
pub fn may(actor: &Actor, action: Action, kind: ObjectKind, owner: Owner<'_>) -> bool {
    let role = actor.role_in(owner.team);
    match (role, action) {
        (None, _) => false,
        (Some(AdminRole::Admin), _) | (Some(AdminRole::Analyst), Action::Read) => true,
        (Some(AdminRole::Analyst), _) => false,
        (Some(AdminRole::TeamAdmin | AdminRole::Member), Action::Read) => {
            matches!(kind, ObjectKind::Team | ObjectKind::User | ObjectKind::Key | ObjectKind::Budget)
        }
        // What a team may use and spend is not for the team to say.
        // Nor is a user its alone to delete.
        (Some(AdminRole::TeamAdmin), _) => {
            kind == ObjectKind::Key || (kind == ObjectKind::User && action != Action::Delete)
        }
        (Some(AdminRole::Member), _) => {
            kind == ObjectKind::Key && actor.user.is_some() && actor.user.as_deref() == owner.user
        }
    }
}

/// Whether somebody may make a key what it is `after`; `before` and `after` are none where there is no key. Includes [`may`].
pub fn may_write_key(actor: &Actor, before: Option<&Key>, after: Option<&Key>) -> bool {
    let action = action(before, after);
    let own =
        |key: &Key| may(actor, action, ObjectKind::Key, Owner { team: Some(&key.team), user: key.user.as_deref() });
    if !before.into_iter().chain(after).all(own) {
        return false;
    }
    let Some(after) = after else { return true };
    let role = actor.role_in(Some(&after.team));
    let is_as_before = before.and_then(|key| key.guardrails.as_ref()) == after.guardrails.as_ref();
    // Nobody but an admin says that a key may be checked less, or that another team's may.
    let is_weaker = after.guardrails.as_ref().is_some_and(|own| own.allow_weaker);
    let stays = is_as_before && before.is_some_and(|before| before.team == after.team);
    if is_weaker && !stays && role != Some(AdminRole::Admin) {
        return false;
    }
    // Limits and checks are set over a member's head, so it neither lifts them nor makes a key with its own.
    let limits = |key: Option<&Key>| serde_json::to_string(key.map_or(&[][..], |key| &key.limits[..])).ok();
    role != Some(AdminRole::Member) || (is_as_before && limits(before) == limits(Some(after)))
}

/// Whether somebody may make a user what it is `after`. Includes [`may`]. Nobody but an admin changes more of a user than whether
/// and how it is in the actor's own teams, and such a new user is nothing else.
pub fn may_write_user(actor: &Actor, before: Option<&User>, after: Option<&User>) -> bool {
    if actor.role == Some(AdminRole::Admin) {
        return true;
    }
    let leads = |team: &str| actor.role_in(Some(team)) == Some(AdminRole::TeamAdmin);
    // What the actor does not lead must stay as it is. Deleting a user would take it out of other teams, so that is no way.
    let Some(after) = after else { return false };
    let fresh =
        User { teams: Vec::new(), role: None, endpoints: None, limits: Vec::new(), enabled: true, ..after.clone() };
    let rest = |user: &User| {
        let mut rest = user.clone();
        rest.teams.retain(|team| !leads(&team.name));
        serde_json::to_string(&rest).ok()
    };
    let within = |user: &User| {
        user.teams
            .iter()
            .all(|team| !leads(&team.name) || matches!(team.role, AdminRole::TeamAdmin | AdminRole::Member))
    };
    let any = |user: &User| user.teams.iter().any(|team| leads(&team.name));
    within(after) && rest(before.unwrap_or(&fresh)) == rest(after) && (any(after) || before.is_some_and(any))
}

fn action<T>(before: Option<T>, after: Option<T>) -> Action {
    match (before, after) {
        (None, Some(_)) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (Some(_), None) => Action::Delete,
        (None, None) => Action::Read,
    }
}

#[cfg(test)]
mod tests;
