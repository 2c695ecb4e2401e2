//! What a caller may use: its team's endpoints, its user's and its key's, whichever are fewest. Deny by default.
//!
//! Asked again for every request, by the names that stand in its [`Caller`], so that both doors and every change of the
//! configuration are under the same rule.

use super::{Identity, TEAM_HEADER, index::Index, keys::KeyRing, oidc::Issuers, refused, secret_of, unknown_key};
use axum::http::HeaderMap;
use chrono::Utc;
use std::{collections::BTreeMap, sync::Arc};
use tollgate_runtime::config::{Config, Key, Team, User};
use tollgate_schemas::{ApiError, Caller, ErrorCode};

pub(crate) struct Access {
    config: Arc<Config>,
    keys: KeyRing,
    teams: Index,
    users: Index,
    pub(super) issuers: Issuers,
}

impl Access {
    /// Indexes a configuration. `issuers` of the one before keep what they have learnt.
    pub(crate) fn of(config: Arc<Config>, before: Option<&Access>) -> Self {
        Self {
            keys: KeyRing::of(&config.keys),
            teams: Index::of(config.teams.len(), |at| &config.teams[at].name),
            users: Index::of(config.users.len(), |at| &config.users[at].name),
            issuers: Issuers::of(&config.oidc, before.map(|before| &before.issuers)),
            config,
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn team(&self, name: &str) -> Option<&Team> {
        self.teams.find(name, |at| &self.config.teams[at].name).map(|at| &self.config.teams[at])
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.find(name, |at| &self.config.users[at].name).map(|at| &self.config.users[at])
    }

    /// The holder of the key or token in the headers.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, ApiError> {
        let secret = secret_of(headers)?;
        match self.keys.find(&self.config.keys, secret) {
            Some(found) => match found.closed(Utc::now()).or_else(|| self.owner_closed(found.key)) {
                Some(why) => Err(refused(why)),
                None => Ok(Identity {
                    team: found.key.team.clone(),
                    key_id: Some(found.key.id().to_owned()),
                    key_name: Some(found.key.name.clone()),
                    user: found.key.user.clone(),
                }),
            },
            None if self.issuers.could_have_made(secret) => self.by_token(secret, headers).await,
            None => Err(unknown_key()),
        }
    }

    /// Why the owner of a key may do nothing.
    fn owner_closed(&self, key: &Key) -> Option<&'static str> {
        let owner = key.user.as_ref().filter(|_| !self.config.users.is_empty())?;
        match self.user(owner) {
            Some(user) if user.enabled => None,
            Some(_) => Some("the user whom the API key belongs to is disabled; ask your administrator"),
            None => Some("the user whom the API key belongs to is gone; ask your administrator"),
        }
    }

    async fn by_token(&self, token: &[u8], headers: &HeaderMap) -> Result<Identity, ApiError> {
        let claims = self.issuers.verify(token).await?;
        if self.user(&claims.user).is_some_and(|user| !user.enabled) {
            return Err(refused("the token's user is disabled; ask your administrator"));
        }
        let mut teams = claims.teams.iter().filter(|team| self.team(team).is_some());
        let chosen = match headers.get(TEAM_HEADER) {
            None => teams.next().ok_or("the token names no team that is known here; ask your administrator"),
            Some(wanted) => teams
                .find(|team| team.as_bytes() == wanted.as_bytes())
                .ok_or("the token does not name the team in x-tollgate-team"),
        };
        let team = chosen.map_err(|message| ApiError::new(ErrorCode::PermissionDenied, message))?.clone();
        Ok(Identity { team, user: Some(claims.user), ..Identity::default() })
    }

    /// Whether a caller may use an endpoint, by its own name.
    pub(crate) fn permits(&self, caller: &Caller, endpoint: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|name| name == endpoint);
        let narrowed = |list: &Option<Vec<String>>| list.as_deref().is_none_or(has);
        let team = self.team(&caller.team).is_some_and(|team| has(&team.endpoints));
        let key = match &caller.key_id {
            None => true,
            Some(id) => self.keys.by_id(&self.config.keys, id).is_some_and(|key| narrowed(&key.endpoints)),
        };
        let user = match caller.user_id.as_deref().and_then(|name| self.user(name)) {
            // One whom nobody has entered: whoever vouched for the name did so by key or token.
            None => true,
            Some(user) => user.enabled && narrowed(&user.endpoints),
        };
        team && key && user
    }

    /// Tags that the caller's key puts on every request.
    pub(crate) fn tags(&self, caller: &Caller) -> Option<&BTreeMap<String, String>> {
        let key = self.keys.by_id(&self.config.keys, caller.key_id.as_deref()?)?;
        Some(&key.tags).filter(|tags| !tags.is_empty())
    }

    /// The user whom a job of a team names; it narrows, so it must be one of the team's.
    pub(crate) fn job_user(&self, team: &str, name: &str) -> Result<String, ApiError> {
        let member = |user: &&User| user.enabled && user.teams.iter().any(|membership| membership.name == team);
        self.user(name).filter(member).map(|user| user.name.clone()).ok_or_else(|| {
            let message = "the header tollgate-user names nobody who is in the team and enabled";
            ApiError::new(ErrorCode::PermissionDenied, message).param(tollgate_schemas::headers::USER)
        })
    }
}

#[cfg(test)]
mod tests;
