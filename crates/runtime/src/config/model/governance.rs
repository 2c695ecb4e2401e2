//! Who may ask, how often and for how much: teams, users, keys, limits, budgets, prices.

use super::{Guardrails, Millis, OnFailure};
use crate::{
    Secret,
    config::{Subject, units::Per},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `limits[]` of an endpoint, a destination, a team, a user or a key: exactly one of `requests`, `tokens` (each with `per`) and
/// `concurrent`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Limit {
    #[serde(default)]
    pub requests: Option<u64>,
    #[serde(default)]
    pub tokens: Option<u64>,
    #[serde(default)]
    pub concurrent: Option<u64>,
    #[serde(default)]
    pub per: Option<Per>,
    /// Left out: whatever the limit stands at.
    #[serde(default, rename = "for")]
    #[schema(value_type = Option<String>)]
    pub subject: Option<Subject>,
    /// Whether input tokens that the provider read from its cache count.
    #[serde(default = "yes")]
    pub count_cached: bool,
}

fn yes() -> bool {
    true
}

/// `teams[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Team {
    pub name: String,
    /// What its keys, users and topic may use: deny by default.
    #[serde(default)]
    pub endpoints: Vec<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub on_unpriced: Option<OnFailure>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Beside those of the endpoints that it uses.
    #[serde(default)]
    pub guardrails: Option<Guardrails>,
    #[serde(default)]
    pub kafka: Option<TeamKafka>,
}

/// `teams[].kafka`: topic names without the prefix.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct TeamKafka {
    pub requests: String,
    pub replies: String,
}

/// `budgets[]`, and `teams[].budgets[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Budget {
    /// Names it in alerts and refusals, and where administrators change it; only `budgets[]` need one.
    #[serde(default)]
    pub name: Option<String>,
    #[schema(value_type = f64)]
    pub usd: Decimal,
    pub per: Per,
    /// IANA name of the zone in which days, weeks and months begin. Default: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Left out: the team it stands at.
    #[serde(default, rename = "for")]
    #[schema(value_type = Option<String>)]
    pub subject: Option<Subject>,
    pub action: BudgetAction,
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Parts of it (above 0, at most 1) at which somebody is told. Default: 1.
    #[serde(default)]
    pub alert_at: Vec<f64>,
    /// Whom to tell, beside the log: one of `webhooks`.
    #[serde(default)]
    pub webhook: Option<String>,
}

/// `budgets[].action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum BudgetAction {
    Block,
    Alert,
}

/// `budgets[].enforcement`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Enforcement {
    #[default]
    Strict,
    Soft,
}

/// `webhooks.NAME`: where notices go, signed as <https://www.standardwebhooks.com> says.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Webhook {
    pub url: String,
    /// `whsec_` and base64.
    #[schema(value_type = String)]
    pub secret: Secret,
    /// Whether its host may be on loopback or in a private network.
    #[serde(default)]
    pub allow_private: bool,
}

/// `users[]`: people and service accounts.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct User {
    pub name: String,
    #[serde(default)]
    pub kind: UserKind,
    /// Over all teams.
    #[serde(default)]
    pub role: Option<AdminRole>,
    #[serde(default)]
    pub teams: Vec<Membership>,
    /// Narrows what its teams may use.
    #[serde(default)]
    pub endpoints: Option<Vec<String>>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// `users[].kind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum UserKind {
    #[default]
    User,
    ServiceAccount,
}

/// What somebody may do through the admin API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// Everything.
    #[default]
    Admin,
    /// Everything of one team but what it may use and spend.
    TeamAdmin,
    /// Look at one team, and manage its own keys there.
    Member,
    /// Look at everything, change nothing.
    Analyst,
}

/// `users[].teams[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Membership {
    pub name: String,
    /// `team_admin` or `member`.
    #[serde(default = "member")]
    pub role: AdminRole,
}

fn member() -> AdminRole {
    AdminRole::Member
}

/// `keys[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Key {
    pub name: String,
    /// Stays the same when the key is rotated. Default: the first 16 digits of `sha256`.
    #[serde(default)]
    pub id: Option<String>,
    pub team: String,
    /// Lower-case hex SHA-256 of the whole key.
    pub sha256: String,
    /// The owner: one of `users`, or any name if there is no such section.
    #[serde(default)]
    pub user: Option<String>,
    /// Narrows what its team may use.
    #[serde(default)]
    pub endpoints: Option<Vec<String>>,
    /// Put on every request; the caller's own tags win.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Beside those of its team and of the endpoints that it uses.
    #[serde(default)]
    pub guardrails: Option<Guardrails>,
    #[serde(default)]
    pub expires: Option<DateTime<Utc>>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Earlier secrets that still work after a rotation.
    #[serde(default)]
    pub retiring: Vec<Retiring>,
}

impl Key {
    /// Its stable id.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_else(|| self.sha256.get(..16).unwrap_or(&self.sha256))
    }
}

/// `keys[].retiring[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Retiring {
    pub sha256: String,
    pub until: DateTime<Utc>,
}

/// `oidc[]`: an issuer whose tokens are taken beside keys.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Oidc {
    pub issuer: String,
    pub audience: String,
    /// Default: what the issuer's `/.well-known/openid-configuration` says.
    #[serde(default)]
    pub jwks_url: Option<String>,
    #[serde(default = "sub")]
    pub user_claim: String,
    #[serde(default = "groups")]
    pub team_claim: String,
    /// Value of the team claim → team. Left out: the value is the team's name.
    #[serde(default)]
    pub teams: BTreeMap<String, String>,
    /// How long at least between two fetches of its keys, whatever tokens name.
    #[serde(default = "ten_seconds")]
    #[schema(value_type = String)]
    pub refresh: Millis,
}

fn ten_seconds() -> Millis {
    Millis(10_000)
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

/// `admin`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Admin {
    pub keys: Vec<AdminKey>,
    /// Encrypts the credentials that administrators give: 32 bytes in base64.
    #[schema(value_type = Option<String>)]
    pub key_encryption_key: Option<Secret>,
    /// Earlier ones, which still open what they have sealed.
    #[schema(value_type = Vec<String>)]
    pub retired_encryption_keys: Vec<Secret>,
}

/// `admin.keys[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct AdminKey {
    pub name: String,
    pub sha256: String,
    #[serde(default)]
    pub role: AdminRole,
    /// Of `team_admin` and `member`.
    #[serde(default)]
    pub team: Option<String>,
}

/// `prices[]`: dollars per million tokens, over the built-in list.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Price {
    /// Where administrators change it. Default: PROVIDER/MODEL.
    #[serde(default)]
    pub name: Option<String>,
    pub provider: String,
    pub model: String,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub input: Option<Decimal>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub output: Option<Decimal>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub cache_read: Option<Decimal>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub cache_write: Option<Decimal>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub cache_write_1h: Option<Decimal>,
    #[serde(default)]
    pub above_tokens: Option<u64>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub per_call: Option<Decimal>,
    #[serde(default)]
    pub service_tier: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub batch_input: Option<Decimal>,
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub batch_output: Option<Decimal>,
    #[serde(default)]
    pub valid_from: Option<String>,
}

impl Price {
    /// Its name, or what stands for it.
    pub fn id(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}/{}", self.provider, self.model))
    }
}
