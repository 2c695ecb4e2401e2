//! A token's parts, and what of it must hold beside the signature. Sans-I/O.
//!
//! Only the compact form is read (RFC 7515, section 3.1), nothing a header points to or brings along is used, and whatever has an
//! unexpected shape is refused.

use super::crypto::{Algorithm, Key};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

/// A token that can be read; nothing of it is verified.
pub(super) struct Token<'t> {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<String>,
    /// The issuer it claims to be of.
    pub(super) issuer: String,
    claims: Value,
    /// What the signature is over.
    message: &'t [u8],
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Value,
    kid: Option<String>,
    crit: Option<Value>,
}

const MALFORMED: &str = "the token is no JWT";

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, &'static str> {
        let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return Err(MALFORMED) };
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let header: Header = serde_json::from_slice(&decoded(&text[..first])?).map_err(|_| MALFORMED)?;
        let alg = Algorithm::deserialize(header.alg)
            .map_err(|_| "the token's alg is not taken; it must be RS256, PS256, ES256 or EdDSA")?;
        if header.crit.is_some() {
            return Err("the token has critical extensions, none of which is known here");
        }
        let claims: Value = serde_json::from_slice(&decoded(&text[first + 1..second])?).map_err(|_| MALFORMED)?;
        let issuer =
            claims.get("iss").and_then(Value::as_str).ok_or("the token has no text in its claim `iss`")?.to_owned();
        let signature = decoded(&text[second + 1..])?;
        Ok(Self { alg, kid: header.kid, issuer, claims, message: &text[..second], signature })
    }

    /// Its claims, if one of the keys made it, for this audience, and it is in force. `skew_s`: by how much clocks may differ.
    pub(super) fn verified(
        &self,
        keys: &[&Key],
        audience: &str,
        now_s: i64,
        skew_s: i64,
    ) -> Result<&Value, &'static str> {
        let fitting = keys.iter().filter(|key| key.fits(self.alg, self.kid.as_deref()));
        if !fitting.into_iter().any(|key| key.signed(self.alg, self.message, &self.signature)) {
            return Err("the token's signature is wrong");
        }
        let meant = match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !meant {
            return Err("the token is for another audience");
        }
        // Numbers of seconds, which may have a fraction (RFC 7519, section 2).
        let time = |name: &str| match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or("the token's exp or nbf is no number"),
        };
        let (exp, nbf) = (time("exp")?, time("nbf")?);
        if exp.ok_or("the token does not say when it expires")? <= (now_s - skew_s) as f64 {
            return Err("the token has expired");
        }
        if nbf.is_some_and(|nbf| nbf > (now_s + skew_s) as f64) {
            return Err("the token is not valid yet");
        }
        Ok(&self.claims)
    }
}
