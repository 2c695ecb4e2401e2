//! An issuer's keys: fetched when they are first needed, again when a token names one that is not there, and now and then; kept
//! while the issuer cannot be reached.
//!
//! An outage of the issuer never turns a valid token into 401: with keys at hand it is not noticed, and a token whose key is not
//! at hand is answered 503.

use super::{
    super::refused,
    crypto::{Algorithm, Jwk, Key},
};
use serde::Deserialize;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tollgate_runtime::{config::Oidc, supervised};
use tollgate_schemas::{ApiError, ErrorCode};

/// After this long keys are fetched again though nobody misses any, so that those that were withdrawn go.
const KEYS_MAX_AGE: Duration = Duration::from_secs(600);
/// What one fetch may take, the discovery document included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const DOCUMENT_MAX_BYTES: usize = 1 << 20;
/// Keys beyond these are not looked at.
const KEYS_MAX: usize = 200;

pub(super) struct Jwks {
    issuer: String,
    url: Option<String>,
    /// How long at least between two fetches.
    refresh: Duration,
    held: Mutex<Held>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Option<Arc<Vec<Key>>>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
    failed: bool,
}

/// Keys of kinds that are not known here may be among them.
#[derive(Deserialize)]
pub(super) struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl JwkSet {
    fn usable(self) -> Vec<Key> {
        let keys = self.keys.into_iter().take(KEYS_MAX);
        keys.filter_map(|key| Key::of(serde_json::from_value::<Jwk>(key).ok()?)).collect()
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Jwks {
    pub(super) fn of(config: &Oidc) -> Self {
        Self {
            issuer: config.issuer.clone(),
            url: config.jwks_url.clone(),
            refresh: config.refresh.duration(),
            held: Mutex::default(),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether it holds what an issuer of the configuration needs.
    pub(super) fn is_of(&self, config: &Oidc) -> bool {
        self.issuer == config.issuer && self.url == config.jwks_url && self.refresh == config.refresh.duration()
    }

    /// Keys, among them one that a token of this algorithm and key may be signed with.
    pub(super) async fn keys(self: &Arc<Self>, alg: Algorithm, kid: Option<&str>) -> Result<Arc<Vec<Key>>, ApiError> {
        let held = self.held();
        if let Some(found) = fitting(&held, alg, kid) {
            if held.fetched_at.is_none_or(|at| at.elapsed() > KEYS_MAX_AGE) && self.is_due() {
                let this = self.clone();
                supervised("jwks", async move { this.fetch().await });
            }
            return Ok(found);
        }
        // The fetch goes on without a caller that leaves: others wait for it.
        let this = self.clone();
        let _ = supervised("jwks", async move { this.fetch().await }).await;
        let held = self.held();
        if let Some(found) = fitting(&held, alg, kid) {
            Ok(found)
        } else if held.failed || held.keys.is_none() {
            let message = "the token's issuer cannot be asked for its keys now; try again, or use an API key";
            Err(ApiError::new(ErrorCode::IdentityUnavailable, message))
        } else {
            Err(refused("the token's key is not one of its issuer's"))
        }
    }

    /// Keys that were not fetched.
    #[cfg(test)]
    pub(super) fn hold(&self, set: JwkSet) {
        let now = Some(Instant::now());
        let keys = Some(Arc::new(set.usable()));
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) =
            Held { keys, fetched_at: now, tried_at: now, failed: false };
    }

    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_due(&self) -> bool {
        self.held().tried_at.is_none_or(|at| at.elapsed() >= self.refresh)
    }

    /// Fetches the keys, unless that was tried just now. One fetch at a time: those who waited for another's use its result.
    async fn fetch(&self) {
        let _one = self.fetching.lock().await;
        if !self.is_due() {
            return;
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.download()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.tried_at = Some(Instant::now());
        held.failed = fetched.is_err();
        match fetched {
            Ok(keys) => {
                held.fetched_at = held.tried_at;
                held.keys = Some(Arc::new(keys));
            }
            Err(error) => {
                metrics::counter!("tollgate_oidc_fetch_failures_total").increment(1);
                tracing::warn!(
                    issuer = self.issuer,
                    error,
                    "oidc: the issuer's keys could not be fetched; those at hand stay in use"
                );
            }
        }
    }

    async fn download(&self) -> Result<Vec<Key>, String> {
        let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| error.to_string())?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => {
                let at = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
                let document: Discovery = parsed(&document(&client, &at).await?)?;
                if document.issuer != self.issuer {
                    return Err("its discovery document is of another issuer".to_owned());
                }
                document.jwks_uri
            }
        };
        Ok(parsed::<JwkSet>(&document(&client, &url).await?)?.usable())
    }
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its answer does not parse: {error}"))
}

async fn document(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let mut response = client.get(url).send().await.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
        bytes.extend_from_slice(&part);
        if bytes.len() > DOCUMENT_MAX_BYTES {
            return Err(format!("it answers more than {DOCUMENT_MAX_BYTES} bytes"));
        }
    }
    Ok(bytes)
}

/// The keys at hand, if one of them fits.
fn fitting(held: &Held, alg: Algorithm, kid: Option<&str>) -> Option<Arc<Vec<Key>>> {
    held.keys.clone().filter(|keys| keys.iter().any(|key| key.fits(alg, kid)))
}
