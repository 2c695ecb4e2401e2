//! Credentials at rest: AES-256-GCM under a key of the environment, so that whoever reads the log or its backups reads nothing.
//!
//! A sealed text is `v1.KEY.DATA`: KEY names the key (the first 8 hex digits of its SHA-256), DATA is base64 of nonce and
//! ciphertext. What it is for is part of the seal, so that a credential cannot be moved to another provider.

use crate::{Secret, blob::hex, config::Admin};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use sha2::{Digest, Sha256};

const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("admin.key_encryption_key is not set; set it to 32 random bytes in base64 (`openssl rand -base64 32`)")]
    NoKey,
    #[error("a key encryption key is not 32 bytes in base64; make one with `openssl rand -base64 32`")]
    BadKey,
    #[error("it was sealed under the key {0}, which is not among the key encryption keys")]
    UnknownKey(String),
    #[error("it is damaged, or was sealed for something else")]
    Broken,
}

/// The keys that there are.
pub struct Sealer {
    keys: Vec<(String, LessSafeKey)>,
}

impl Sealer {
    /// The key of the configuration, and the retired ones.
    pub fn of(admin: &Admin) -> Result<Self, Error> {
        let all = admin.key_encryption_key.iter().chain(&admin.retired_encryption_keys);
        Ok(Self { keys: all.map(key).collect::<Result<_, _>>()? })
    }

    /// Seals `plain` for `purpose`.
    pub fn seal(&self, purpose: &str, plain: &Secret) -> Result<String, Error> {
        let (name, key) = self.keys.first().ok_or(Error::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Broken)?;
        let mut data = plain.expose().as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut data)
            .map_err(|_| Error::Broken)?;
        Ok(format!("v1.{name}.{}", STANDARD.encode([&nonce[..], &data].concat())))
    }

    /// Opens what was sealed for `purpose`.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Secret, Error> {
        let mut parts = sealed.split('.');
        let (Some("v1"), Some(name), Some(data), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Broken);
        };
        let found = self.keys.iter().find(|(known, _)| known == name);
        let (_, key) = found.ok_or_else(|| Error::UnknownKey(name.chars().take(8).collect()))?;
        let mut data = STANDARD.decode(data).map_err(|_| Error::Broken)?;
        let (nonce, sealed) = data.split_at_mut_checked(NONCE_LEN).ok_or(Error::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Broken)?;
        let plain = key.open_in_place(nonce, Aad::from(purpose), sealed).map_err(|_| Error::Broken)?;
        String::from_utf8(plain.to_vec()).map(Secret::new).map_err(|_| Error::Broken)
    }
}

fn key(secret: &Secret) -> Result<(String, LessSafeKey), Error> {
    let bytes = STANDARD.decode(secret.expose()).ok().filter(|bytes| bytes.len() == KEY_BYTES).ok_or(Error::BadKey)?;
    let name = hex(&Sha256::digest(&bytes))[..8].to_owned();
    Ok((name, LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| Error::BadKey)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[u8]) -> Sealer {
        let mut keys = keys.iter().map(|byte| Secret::new(STANDARD.encode([*byte; KEY_BYTES])));
        let key_encryption_key = keys.next();
        Sealer::of(&Admin { keys: Vec::new(), key_encryption_key, retired_encryption_keys: keys.collect() })
            .expect("keys")
    }

    #[test]
    fn only_the_right_key_for_the_right_purpose_opens() {
        let (old, new) = (sealer(&[1]), sealer(&[2, 1]));
        let sealed = old.seal("openai", &Secret::new("sk-1")).expect("sealed");
        assert!(!sealed.contains("sk-1"));
        assert_eq!(new.open("openai", &sealed).expect("a retired key opens").expose(), "sk-1");
        assert_eq!(new.open("claude", &sealed).expect_err("another purpose"), Error::Broken);
        let resealed = new.seal("openai", &Secret::new("sk-1")).expect("sealed");
        assert!(matches!(old.open("openai", &resealed), Err(Error::UnknownKey(_))));
        assert_ne!(new.seal("openai", &Secret::new("sk-1")).expect("sealed"), resealed, "never the same twice");
        for bad in ["", "v1", "v1.x.y", "v2.a.b", &sealed[..sealed.len() - 5], &format!("{sealed}.x")] {
            assert!(old.open("openai", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_32_bytes() {
        let admin = |key: &str| Admin { key_encryption_key: Some(Secret::new(key)), ..Admin::default() };
        assert_eq!(Sealer::of(&admin("short")).err(), Some(Error::BadKey));
        let none = Sealer::of(&Admin::default()).expect("none needed");
        assert_eq!(none.seal("x", &Secret::new("y")).err(), Some(Error::NoKey));
    }
}
