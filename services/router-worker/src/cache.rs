//! Answers that are kept and given again to the same request, for endpoints that ask for it.
//!
//! The key is a hash of all that an answer depends on: endpoint, API, whose answers may be given (`scope`), the model's name as it
//! is shown, headers that are part of the API, and the body with its fields in order, but for those that change nothing in the answer.
//! So an answer never reaches another team unless the endpoint says so. It is the body as the guardrail has let it through that counts,
//! and a kept answer passes the output checks like any other.
//!
//! A store that is away keeps nothing and gives nothing: requests go to their providers. Deliberately absent: answers that are similar,
//! and anything for whoever is turned away.

use crate::providers::{Answer, Fields};
use quick_cache::{Weighter, sync::Cache as Memory};
use redis::{AsyncCommands, aio::ConnectionManager};
use ring::digest::{Context, SHA256};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{fmt, sync::Arc, time::Duration};
use tollgate_runtime::config::{self, CacheScope};
use tollgate_schemas::{ApiType, Request, now_us};

/// A larger answer is not kept.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// How long the store may take: the request waits for it.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(250);
/// About how large an answer is, which decides how many places the memory has for them.
const ANSWER_TYPICAL_BYTES: u64 = 4 << 10;
/// What a kept answer takes beside its text.
const ENTRY_BYTES: u64 = 256;
/// Fields that change nothing in the answer: the model stands in the key by itself, and how it is delivered does not matter.
const DELIVERY: [&str; 3] = ["model", "stream", "stream_options"];
/// The same where the answer does not repeat the request, as that of Responses does: whose it is.
const OWNERSHIP: [&str; 8] = [
    "user",
    "safety_identifier",
    "metadata",
    "labels",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
];

fn is_material(name: &str, api: ApiType) -> bool {
    !DELIVERY.contains(&name) && (api == ApiType::Responses || !OWNERSHIP.contains(&name))
}

/// Which answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Of a request whose body is `chat`.
    pub(crate) fn of(scope: CacheScope, request: &Request, chat: &Fields) -> Self {
        let caller = &request.caller;
        let (team, key) = match scope {
            CacheScope::Everyone => ("", ""),
            CacheScope::Team => (caller.team.as_str(), ""),
            CacheScope::Key => (caller.team.as_str(), caller.key_id.as_deref().unwrap_or_default()),
        };
        let mut hash = Context::new(&SHA256);
        // Each behind its length, so that no two lists of texts look the same.
        let mut add = |text: &str| {
            hash.update(&text.len().to_be_bytes());
            hash.update(text.as_bytes());
        };
        for text in ["v2", &request.endpoint, request.api_type.as_str(), team, key, &request.model] {
            add(text);
        }
        add(&request.api_headers.len().to_string());
        for (name, value) in &request.api_headers {
            add(name);
            add(value);
        }
        let is_material = |(name, _): &(&str, &RawValue)| is_material(name, request.api_type);
        let mut fields: Vec<(&str, &RawValue)> = chat.iter().filter(is_material).collect();
        fields.sort_by_key(|(name, _)| *name);
        for (name, value) in fields {
            add(name);
            let mut text = String::new();
            match serde_json::from_str(value.get()) {
                Ok(value) => canonical(&value, &mut text),
                Err(_) => text.push_str(value.get()),
            }
            add(&text);
        }
        let mut key = [0; 32];
        key.copy_from_slice(hash.finish().as_ref());
        Self(key)
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A value without what does not matter in it: white space and the order of names.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            out.push('{');
            for name in names {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(&map[name], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// A kept answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The answer, in the shape of the API.
    pub body: Box<RawValue>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// What it cost, in US dollars: what giving it again saves.
    pub cost_usd: Option<Decimal>,
    /// The destination that gave it.
    #[serde(default)]
    pub destination: Option<String>,
    /// Fields of the request that it left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Not given again from then on, milliseconds since the Unix epoch.
    pub until_ms: i64,
}

impl Kept {
    /// An answer that may be kept: a whole one, no refusal, and not too large.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        (!answer.is_refusal() && answer.body.get().len() <= ANSWER_MAX_BYTES).then(|| Self {
            body: answer.body.clone(),
            finish_reason: answer.finish_reason.clone(),
            cost_usd: None,
            destination: None,
            dropped: Vec::new(),
            until_ms: 0,
        })
    }
}

/// What a kept answer takes.
#[derive(Clone)]
pub(crate) struct Weight;

impl Weighter<Key, Arc<Kept>> for Weight {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        ENTRY_BYTES + kept.body.get().len() as u64
    }
}

/// Where they are kept.
pub(crate) enum Cache {
    /// In this process.
    Memory(Box<Memory<Key, Arc<Kept>, Weight>>),
    /// In a Valkey that all router-workers share.
    Valkey {
        /// Reconnects by itself.
        connection: ConnectionManager,
        /// Of its keys.
        prefix: String,
    },
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.write_str(if matches!(self, Cache::Memory(_)) { "Memory" } else { "Valkey" })
    }
}

impl Cache {
    /// That of `cache`. Does not connect yet. Must be called on a Tokio runtime.
    pub(crate) fn open(config: &config::Cache, gateway: &str) -> Result<Self, tollgate_admission::Error> {
        let (store, max_bytes) = (config.store.expose(), config.max_bytes);
        if store == "memory" {
            let places = usize::try_from(max_bytes / ANSWER_TYPICAL_BYTES).unwrap_or(usize::MAX).max(16);
            return Ok(Self::Memory(Box::new(Memory::with_weighter(places, max_bytes, Weight))));
        }
        let connection = tollgate_admission::connect(store, RESPONSE_TIMEOUT)?;
        Ok(Self::Valkey { connection, prefix: format!("tollgate.{gateway}:answer:") })
    }

    /// The answer that is kept, if it may still be given.
    pub(crate) async fn get(&self, key: &Key) -> Option<Kept> {
        let kept = match self {
            Cache::Memory(memory) => memory.get(key).map(|kept| (*kept).clone()),
            Cache::Valkey { connection, prefix } => {
                let text: Result<Option<String>, _> = connection.clone().get(format!("{prefix}{}", key.hex())).await;
                let text = text.inspect_err(away).ok().flatten()?;
                serde_json::from_str(&text)
                    .inspect_err(|error| tracing::warn!(%error, "a kept answer does not parse"))
                    .ok()
            }
        };
        kept.filter(|kept: &Kept| kept.until_ms > now_us() / 1000)
    }

    /// Keeps an answer for so long.
    pub(crate) async fn put(&self, key: Key, mut kept: Kept, ttl: Duration) {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        kept.until_ms = (now_us() / 1000).saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX));
        match self {
            Cache::Memory(memory) => memory.insert(key, Arc::new(kept)),
            Cache::Valkey { connection, prefix } => {
                let Ok(text) = serde_json::to_string(&kept) else { return };
                let name = format!("{prefix}{}", key.hex());
                let expiry = redis::SetOptions::default().with_expiration(redis::SetExpiry::PX(ttl_ms));
                let set: Result<(), _> = connection.clone().set_options(name, text, expiry).await;
                let _ = set.inspect_err(away);
            }
        }
    }
}

fn away(error: &redis::RedisError) {
    metrics::counter!("tollgate_cache_failures_total").increment(1);
    // Its text may hold the address.
    tracing::debug!(kind = ?error.kind(), "cache.store does not answer; the request goes to its provider");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;
    use tollgate_schemas::Caller;

    fn key(scope: CacheScope, request: &Request, body: &str) -> Key {
        Key::of(scope, request, &Fields::parse(body).expect("json"))
    }

    #[test]
    fn only_what_an_answer_depends_on_is_in_its_key() {
        use CacheScope::{Everyone, Team};
        let request = ask("chat");
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0}"#;
        let first = key(Team, &request, body);
        for same in [
            r#"{"temperature": 0, "messages": [ { "content": "h\u0069", "role": "user" } ], "stream": true, "user": "u"}"#,
            r#"{"messages":[{"role":"user","content":"hi"}],"temperature":0,"metadata":{"a":"b"},"stop":null}"#,
        ] {
            assert_eq!(key(Team, &request, same), first, "{same}");
        }
        for other in [
            r#"{"messages":[{"role":"user","content":"hi!"}],"temperature":0}"#,
            r#"{"messages":[{"role":"user","content":"hi"}],"temperature":1}"#,
            r#"{"messages":[{"role":"user","content":"hi"}],"temperature":0,"unknown":1}"#,
        ] {
            assert_ne!(key(Team, &request, other), first, "{other}");
        }
        let with = |caller: Caller| Request { caller, ..request.clone() };
        let ads = with(Caller { team: "ads".to_owned(), ..request.caller.clone() });
        let keyed = with(Caller { key_id: Some("k".to_owned()), ..request.caller.clone() });
        assert_ne!(key(Team, &ads, body), first);
        assert_eq!(key(Everyone, &ads, body), key(Everyone, &request, body));
        assert_eq!(key(Team, &keyed, body), first);
        assert_ne!(key(CacheScope::Key, &keyed, body), key(CacheScope::Key, &request, body));
        assert_ne!(key(Team, &Request { api_type: ApiType::Messages, ..request.clone() }, body), first);
        let with_tag = |request: &Request, tag: &str| {
            key(Team, request, &format!(r#"{{"input":"x","metadata":{{"a":"{tag}"}}}}"#))
        };
        let responses = Request { api_type: ApiType::Responses, ..request.clone() };
        assert_eq!(with_tag(&request, "1"), with_tag(&request, "2"));
        assert_ne!(with_tag(&responses, "1"), with_tag(&responses, "2"), "the answer repeats it");
        assert_ne!(key(Team, &Request { model: "alias".to_owned(), ..request.clone() }, body), first);
        let with_beta = |beta: &str| {
            let api_headers = [("anthropic-beta".to_owned(), beta.to_owned())].into();
            key(Team, &Request { api_type: ApiType::Messages, api_headers, ..request.clone() }, body)
        };
        assert_eq!(with_beta("context-1m"), with_beta("context-1m"));
        assert_ne!(with_beta("context-1m"), with_beta("interleaved-thinking"));
    }

    #[test]
    fn what_an_earlier_version_kept_is_read() {
        let text = r#"{"body":{"id":"1"},"finish_reason":"stop","cost_usd":"0.1","until_ms":1}"#;
        let kept: Kept = serde_json::from_str(text).expect("an answer");
        assert_eq!((kept.destination, kept.dropped, kept.until_ms), (None, Vec::new(), 1));
    }

    #[tokio::test]
    async fn what_is_kept_is_given_until_its_time_and_room_are_over() {
        let config = config::Cache { max_bytes: 64 << 10, ..Default::default() };
        let cache = Cache::open(&config, "main").expect("memory");
        let kept = |length: usize| Kept {
            body: RawValue::from_string(format!("\"{}\"", "x".repeat(length))).expect("json"),
            finish_reason: None,
            cost_usd: Some(Decimal::ONE),
            destination: None,
            dropped: Vec::new(),
            until_ms: 0,
        };
        let key = |n: u8| Key([n; 32]);
        cache.put(key(0), kept(10), Duration::from_secs(60)).await;
        assert_eq!(cache.get(&key(0)).await.map(|kept| kept.body.get().len()), Some(12));
        cache.put(key(0), kept(10), Duration::ZERO).await;
        assert!(cache.get(&key(0)).await.is_none());
        for n in 1..200 {
            cache.put(key(n), kept(4 << 10), Duration::from_secs(60)).await;
        }
        let mut found = 0;
        for n in 1..200 {
            found += usize::from(cache.get(&key(n)).await.is_some());
        }
        assert!((1..=16).contains(&found), "{found} answers of 4 KiB in 64 KiB");
    }
}
