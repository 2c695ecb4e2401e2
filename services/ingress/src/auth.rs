//! Who a caller is: by key, from `Authorization: Bearer`, `x-api-key` or `api-key`.
//!
//! A key is hashed as soon as it is read and never stored, logged or passed on. Look-up is by hash, so its timing tells
//! nothing about a key.

use crate::Error;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tollgate_runtime::config::Key;
use tollgate_schemas::{ApiError, Caller, ErrorCode};

/// Longer keys are refused unread.
const KEY_MAX_BYTES: usize = 1024;

/// All keys, by hash.
pub(crate) struct KeyRing(HashMap<[u8; 32], Identity>);

/// What a key says of its holder.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) team: String,
    pub(crate) key_id: String,
    pub(crate) key_name: String,
    pub(crate) user: Option<String>,
}

impl KeyRing {
    pub(crate) fn of(keys: &[Key]) -> Result<Self, Error> {
        let entry = |key: &Key| {
            let hash = unhex(&key.sha256).ok_or_else(|| Error::KeyHash(key.name.clone()))?;
            let identity = Identity {
                team: key.team.clone(),
                key_id: key.sha256[..16].to_owned(),
                key_name: key.name.clone(),
                user: key.user.clone(),
            };
            Ok((hash, identity))
        };
        keys.iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The holder of the key in the headers.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<&Identity, ApiError> {
        let key = key_of(headers).ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidApiKey,
                "no API key was given; send it as `Authorization: Bearer KEY`, `x-api-key` or `api-key`",
            )
        })?;
        let known = (key.len() <= KEY_MAX_BYTES).then(|| self.0.get(&<[u8; 32]>::from(Sha256::digest(key)))).flatten();
        known.ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidApiKey,
                "the API key is not known; check it, or ask your administrator for one",
            )
        })
    }
}

impl Identity {
    /// The caller of a request.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            team: self.team.clone(),
            key_id: Some(self.key_id.clone()),
            key_name: Some(self.key_name.clone()),
            user_id: self.user.clone(),
            ..Caller::default()
        }
    }
}

fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(|v| v.as_bytes()).and_then(|v| {
        let (scheme, key) = v.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let plain = |name: &str| headers.get(name).map(|v| v.as_bytes());
    bearer
        .or_else(|| plain("x-api-key"))
        .or_else(|| plain("api-key"))
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty())
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_headers_one_key() {
        let hash = tollgate_runtime::blob::hex(&Sha256::digest(b"tg-secret"));
        let ring = KeyRing::of(&[Key { name: "k".into(), team: "t".into(), sha256: hash, user: None }]).expect("ring");
        for (name, value) in [
            ("authorization", "Bearer tg-secret"),
            ("authorization", "bearer  tg-secret "),
            ("x-api-key", "tg-secret"),
            ("api-key", "tg-secret"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("header"));
            assert_eq!(ring.identify(&headers).expect("known").key_name, "k");
        }
        for (name, value) in [("authorization", "Basic tg-secret"), ("x-api-key", "tg-Secret"), ("x-api-key", "")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("header"));
            assert_eq!(ring.identify(&headers).expect_err("refused").code, ErrorCode::InvalidApiKey);
        }
    }
}
