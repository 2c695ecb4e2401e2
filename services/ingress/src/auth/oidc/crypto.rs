//! An issuer's public keys and the signatures they make, checked with the one crypto library in the tree (ADR 1): OpenSSL.
//!
//! A key knows what it may verify: which of the two RSA schemes a token names is the token's choice, anything else is the key's.
//! Sources: RFC 7517, RFC 7518 (sections 3.3 to 3.5), RFC 8037.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Verifier},
};
use serde::Deserialize;

/// Smaller RSA keys can be broken.
const RSA_MIN_BITS: u32 = 2048;
/// Larger ones only cost time.
const RSA_MAX_BITS: u32 = 16_384;
/// Of ES256: two numbers of 32 bytes.
const ES256_BYTES: usize = 64;

/// What a token may be signed with. Never `none`, and never a shared secret, for which a public key could be passed off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    RS256,
    PS256,
    ES256,
    EdDSA,
}

impl Algorithm {
    fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// A key as an issuer publishes it.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A key that signatures can be checked with.
pub(super) struct Key {
    kid: Option<String>,
    /// The one algorithm it is for, if its issuer says so.
    alg: Option<String>,
    key: PKey<Public>,
}

impl Key {
    /// None for a key of another kind, for another use, or that is too weak.
    pub(super) fn of(jwk: Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?.trim_end_matches('=')).ok();
        let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => rsa(&part(&jwk.n)?, &part(&jwk.e)?).ok(),
            ("EC", Some("P-256")) => p256(&part(&jwk.x)?, &part(&jwk.y)?).ok(),
            ("OKP", Some("Ed25519")) => PKey::public_key_from_raw_bytes(&part(&jwk.x)?, Id::ED25519).ok(),
            _ => None,
        }?;
        let weak = key.id() == Id::RSA && !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&key.bits());
        (!weak).then_some(Self { kid: jwk.kid, alg: jwk.alg, key })
    }

    /// Whether a token that names this algorithm and key may be signed with it.
    pub(super) fn fits(&self, alg: Algorithm, kid: Option<&str>) -> bool {
        let of_kind = match alg {
            Algorithm::RS256 | Algorithm::PS256 => self.key.id() == Id::RSA,
            Algorithm::ES256 => self.key.id() == Id::EC,
            Algorithm::EdDSA => self.key.id() == Id::ED25519,
        };
        let named = kid.is_none_or(|kid| self.kid.as_deref() == Some(kid));
        of_kind && named && self.alg.as_deref().is_none_or(|own| own == alg.as_str())
    }

    /// Whether it made a signature. Ask [`Key::fits`] before.
    pub(super) fn signed(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verify(alg, message, signature).unwrap_or(false)
    }

    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let sha256 = || Verifier::new(MessageDigest::sha256(), &self.key);
        match alg {
            Algorithm::RS256 => sha256()?.verify_oneshot(signature, message),
            Algorithm::PS256 => {
                let mut verifier = sha256()?;
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                verifier.set_rsa_mgf1_md(MessageDigest::sha256())?;
                verifier.verify_oneshot(signature, message)
            }
            Algorithm::ES256 if signature.len() == ES256_BYTES => {
                let (r, s) = signature.split_at(ES256_BYTES / 2);
                let numbers = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
                sha256()?.verify_oneshot(&numbers.to_der()?, message)
            }
            Algorithm::ES256 => Ok(false),
            Algorithm::EdDSA => Verifier::new_without_digest(&self.key)?.verify_oneshot(signature, message),
        }
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Result<PKey<Public>, ErrorStack> {
    PKey::from_rsa(Rsa::from_public_components(BigNum::from_slice(n)?, BigNum::from_slice(e)?)?)
}

fn p256(x: &[u8], y: &[u8]) -> Result<PKey<Public>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
    // Fails for a point that is not on the curve.
    PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y)?)
}
