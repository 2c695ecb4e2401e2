//! Tokens that a credential is exchanged for: asked for once, kept until they run out.
//!
//! Source: RFC 6749, 4.4 (client credentials) and 5.1 (the answer). Pure but for the lock: times are told; `http` asks.

use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tollgate_runtime::Secret;

/// A token is renewed this long before it runs out: a call that has begun must not outlive it on the way.
const EARLY: Duration = Duration::from_secs(60);
/// A token that does not say how long it lasts.
const LASTS: Duration = Duration::from_secs(300);

/// A request whose answer is a token.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// Whom to ask.
    pub url: String,
    /// With which headers.
    pub headers: Vec<(&'static str, String)>,
    /// The form to post; `None` for a GET.
    pub form: Option<String>,
}

impl Grant {
    /// For a client's id and secret, in the form or as basic authentication says (RFC 6749, 2.3.1).
    pub(crate) fn client_credentials(url: String, id: &str, secret: &str, scope: &str) -> Self {
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("scope", scope),
        ]);
        Self { url, headers: Vec::new(), form: Some(form) }
    }
}

/// Pairs as `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

/// A token, and for how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    value: Secret,
    lasts: Duration,
}

impl Token {
    /// Reads an answer. `None` if there is no token in it.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            access_token: String,
            expires_in: Option<u64>,
        }
        let document: Document = serde_json::from_slice(body).ok()?;
        let lasts = document.expires_in.map_or(LASTS, Duration::from_secs);
        Some(Self { value: Secret::new(document.access_token), lasts })
    }
}

/// Tokens by the credential that they were given for.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<usize, (Secret, Instant)>>);

impl Tokens {
    /// One that is good for a while yet.
    pub(crate) fn get(&self, credential: usize, now: Instant) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&credential).filter(|(_, until)| *until > now).map(|(token, _)| token.clone())
    }

    /// Keeps one that was asked for at `now`.
    pub(crate) fn put(&self, credential: usize, token: &Token, now: Instant) {
        let until = now + token.lasts.saturating_sub(EARLY);
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(credential, (token.value.clone(), until));
    }

    /// Forgets one that was refused.
    pub(crate) fn drop(&self, credential: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&credential);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_about_to_run_out() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let token = Token::parse(br#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#).expect("a token");
        tokens.put(0, &token, now);
        let at = |s| tokens.get(0, now + Duration::from_secs(s)).map(|token| token.expose().to_owned());
        assert_eq!((at(0), at(3539), at(3540)), (Some("t".into()), Some("t".into()), None));
        assert!(tokens.get(1, now).is_none());
        tokens.drop(0);
        assert!(at(0).is_none());
        assert!(Token::parse(b"{}").is_none() && Token::parse(b"<html>").is_none());
    }

    #[test]
    fn a_form_escapes_what_it_holds() {
        let grant = Grant::client_credentials("https://x".into(), "a b", "s&=+", "all-apis");
        let form = "grant_type=client_credentials&client_id=a+b&client_secret=s%26%3D%2B&scope=all-apis";
        assert_eq!(grant.form.as_deref(), Some(form));
    }
}
