//! Who a caller is and what it may use.
//!
//! ```text
//! headers ─► keys (by hash) ──────────┐
//!         └► oidc (by signature) ─────┴► Identity ─► access: team ∩ user ∩ key ─► endpoints
//! in.<team> ─► the topic is the team ─┘
//! headers ─► roles: admin keys and tokens ─► Actor ─► may
//! ```
//!
//! A key comes from `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`. It is hashed as soon as it is read and never stored,
//! logged or passed on.

pub(crate) mod access;
pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod oidc;
pub mod roles;

pub(crate) use keys::unhex;

use axum::http::{HeaderMap, header};
use tollgate_schemas::{ApiError, Caller, ErrorCode};

/// Where clients of Google's API have their key.
pub(crate) const GOOGLE_KEY: &str = "x-goog-api-key";

/// Chooses among the teams of a token.
pub(crate) const TEAM_HEADER: &str = "x-tollgate-team";

/// What a key or a token says of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) team: String,
    pub(crate) key_id: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) user: Option<String>,
}

impl Identity {
    /// The caller of a request.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            team: self.team.clone(),
            key_id: self.key_id.clone(),
            key_name: self.key_name.clone(),
            user_id: self.user.clone(),
            ..Caller::default()
        }
    }
}

/// The key or token in the headers.
pub(crate) fn secret_of(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let bearer = headers.get(header::AUTHORIZATION).map(|v| v.as_bytes()).and_then(|v| {
        let (scheme, key) = v.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let plain = |name: &str| headers.get(name).map(|v| v.as_bytes());
    let found = bearer
        .or_else(|| plain("x-api-key"))
        .or_else(|| plain("api-key"))
        .or_else(|| plain(GOOGLE_KEY))
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty());
    found.ok_or_else(|| {
        refused(
            "no API key was given; send it as `Authorization: Bearer KEY`, `x-api-key`, `api-key` or `x-goog-api-key`",
        )
    })
}

/// 401.
pub(crate) fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidApiKey, message)
}

/// 401, for a key that nobody has.
pub(crate) fn unknown_key() -> ApiError {
    refused("the API key is not known; check it, or ask your administrator for one")
}
