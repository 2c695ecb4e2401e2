//! The ring of keys: from a secret to the key it opens.
//!
//! Only hashes are held. A secret is found by the first bytes of its hash, and then the whole hash is compared in constant time;
//! how long the finding takes tells something of the hash of what was sent, which its sender knows anyway, and nothing of others.
//! Made anew at each change of the configuration, so it holds positions and hashes, and copies nothing else.

use super::index::Index;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tollgate_runtime::config::Key;

/// Longer keys are refused unread.
const KEY_MAX_BYTES: usize = 1024;

pub(crate) struct KeyRing {
    /// By hash.
    secrets: Vec<Secret>,
    ids: Index,
}

struct Secret {
    hash: [u8; 32],
    /// Position of its key.
    key: u32,
    /// Of an earlier secret: the position in `retiring`.
    retiring: Option<u32>,
}

impl KeyRing {
    /// Hashes that are no SHA-256 open nothing: `config check` names them.
    pub(crate) fn of(keys: &[Key]) -> Self {
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let all = keys.iter().enumerate().flat_map(|(at, key)| {
            let earlier = key.retiring.iter().enumerate().map(|(i, old)| (old.sha256.as_str(), Some(position(i))));
            let secrets = std::iter::once((key.sha256.as_str(), None)).chain(earlier);
            secrets.filter_map(move |(hex, retiring)| Some(Secret { hash: unhex(hex)?, key: position(at), retiring }))
        });
        let mut secrets: Vec<Secret> = all.collect();
        // Should two keys have one hash, the first of the file has it.
        secrets.sort_by_key(|secret| (prefix(&secret.hash), secret.key, secret.retiring));
        Self { secrets, ids: Index::of(keys.len(), |at| keys[at].id()) }
    }

    /// The key that a secret opens, whether or not it still may.
    pub(crate) fn find<'k>(&self, keys: &'k [Key], secret: &[u8]) -> Option<Found<'k>> {
        if secret.len() > KEY_MAX_BYTES {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let first = self.secrets.partition_point(|secret| prefix(&secret.hash) < prefix(&hash));
        let same = self.secrets[first..].iter().take_while(|secret| prefix(&secret.hash) == prefix(&hash));
        let found = same.filter(|secret| bool::from(secret.hash.ct_eq(&hash))).min_by_key(|secret| secret.key)?;
        let key = keys.get(found.key as usize)?;
        let until = found.retiring.and_then(|at| key.retiring.get(at as usize)).map(|old| old.until);
        Some(Found { key, until })
    }

    /// The key of an id.
    pub(crate) fn by_id<'k>(&self, keys: &'k [Key], id: &str) -> Option<&'k Key> {
        self.ids.find(id, |at| keys[at].id()).map(|at| &keys[at])
    }
}

/// A key, found by one of its secrets.
pub(crate) struct Found<'k> {
    pub(crate) key: &'k Key,
    /// Set if it was one of the earlier secrets: until when it works.
    until: Option<DateTime<Utc>>,
}

impl Found<'_> {
    /// Why it opens nothing, for its holder.
    pub(crate) fn closed(&self, now: DateTime<Utc>) -> Option<&'static str> {
        if !self.key.enabled {
            Some("the API key is disabled; ask your administrator")
        } else if self.key.expires.is_some_and(|expires| expires <= now) {
            Some("the API key has expired; ask your administrator for a new one")
        } else if self.until.is_some_and(|until| until <= now) {
            Some("the API key was rotated and this secret of it no longer works; use the new one")
        } else {
            None
        }
    }
}

/// Whether a secret has this hash; takes the same time wherever they differ.
pub(crate) fn opens(sha256: &str, secret: &[u8]) -> bool {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    secret.len() <= KEY_MAX_BYTES && unhex(sha256).is_some_and(|known| bool::from(known.ct_eq(&hash)))
}

fn prefix(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
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
    use serde_json::json;

    fn hex(secret: &str) -> String {
        tollgate_runtime::blob::hex(&Sha256::digest(secret.as_bytes()))
    }

    fn key(value: serde_json::Value) -> Key {
        serde_json::from_value(value).expect("a key")
    }

    #[test]
    fn a_rotated_key_keeps_its_id_and_its_earlier_secret_for_a_while() {
        let keys = [key(json!({
            "name": "k", "id": "k-1", "team": "t", "sha256": hex("new"),
            "retiring": [ { "sha256": hex("old"), "until": "2026-01-02T00:00:00Z" } ],
        }))];
        let ring = KeyRing::of(&keys);
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let (before, after) = (at("2026-01-01T23:59:59Z"), at("2026-01-02T00:00:00Z"));
        for (secret, now, opens) in
            [("new", before, true), ("old", before, true), ("new", after, true), ("old", after, false)]
        {
            let found = ring.find(&keys, secret.as_bytes()).expect("known");
            assert_eq!((found.key.id(), found.closed(now).is_none()), ("k-1", opens), "{secret}");
        }
        assert!(ring.find(&keys, b"other").is_none());
        assert_eq!(ring.by_id(&keys, "k-1").map(|key| key.name.as_str()), Some("k"));
        assert!(ring.by_id(&keys, "k").is_none());
    }

    #[test]
    fn a_key_that_is_disabled_or_expired_says_so() {
        let keys = [
            key(json!({ "name": "off", "team": "t", "sha256": hex("off"), "enabled": false })),
            key(json!({ "name": "past", "team": "t", "sha256": hex("past"), "expires": "2020-01-01T00:00:00Z" })),
        ];
        let ring = KeyRing::of(&keys);
        for (secret, word) in [("off", "disabled"), ("past", "expired")] {
            let closed = ring.find(&keys, secret.as_bytes()).expect("known").closed(Utc::now());
            assert!(closed.is_some_and(|why| why.contains(word)), "{closed:?}");
        }
    }

    #[test]
    fn every_key_of_many_is_found_and_nothing_else() {
        let keys: Vec<Key> = (0..2_000)
            .map(|n| key(json!({ "name": format!("k{n}"), "team": "t", "sha256": hex(&format!("secret-{n}")) })))
            .collect();
        let ring = KeyRing::of(&keys);
        for n in 0..2_000 {
            let found = ring.find(&keys, format!("secret-{n}").as_bytes()).expect("known");
            assert_eq!(found.key.name, format!("k{n}"));
            assert_eq!(ring.by_id(&keys, found.key.id()).map(|key| &key.name), Some(&found.key.name));
            assert!(ring.find(&keys, format!("secret {n}").as_bytes()).is_none());
        }
        assert!(ring.find(&keys, &[b'x'; KEY_MAX_BYTES + 1]).is_none());
    }

    #[test]
    fn hashes_that_begin_alike_are_told_apart() {
        let secret = hex("secret");
        let near = format!("{}{}", &secret[..62], if secret.ends_with("00") { "01" } else { "00" });
        let keys = [
            key(json!({ "name": "near", "team": "t", "sha256": near })),
            key(json!({ "name": "right", "team": "t", "sha256": secret })),
            key(json!({ "name": "broken", "team": "t", "sha256": "zz" })),
        ];
        let ring = KeyRing::of(&keys);
        assert_eq!(ring.find(&keys, b"secret").expect("known").key.name, "right");
        assert!(opens(&secret, b"secret") && !opens(&near, b"secret") && !opens("zz", b"secret"));
    }
}
