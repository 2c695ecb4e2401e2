//! Bearer tokens of OpenID Connect issuers: a JWT whose signature, issuer, audience and times hold says who the user is and which
//! teams it is in.
//!
//! Algorithms are RS256, PS256, ES256 and EdDSA, whatever a token asks for: never `none`, and never a shared secret, for which
//! the issuer's public key could be passed off. Sources: RFC 7515, RFC 7519, RFC 8725, OpenID Connect Discovery 1.0.

mod claims;
mod crypto;
mod jwks;
mod token;

pub(crate) use claims::Claims;

use super::refused;
use jwks::Jwks;
use std::sync::Arc;
use token::Token;
use tollgate_runtime::{MAX_CLOCK_SKEW_MS, config::Oidc};
use tollgate_schemas::ApiError;

/// Longer tokens are refused unread.
const TOKEN_MAX_BYTES: usize = 16 << 10;

/// All issuers of the configuration.
pub(crate) struct Issuers(Vec<Issuer>);

struct Issuer {
    config: Oidc,
    jwks: Arc<Jwks>,
}

impl Issuers {
    /// Issuers that were there `before` keep their keys.
    pub(crate) fn of(list: &[Oidc], before: Option<&Issuers>) -> Self {
        let mut issuers: Vec<Issuer> = Vec::with_capacity(list.len());
        for config in list {
            let known = before.iter().flat_map(|before| &before.0).chain(&issuers).find(|it| it.jwks.is_of(config));
            let jwks = known.map_or_else(|| Arc::new(Jwks::of(config)), |issuer| issuer.jwks.clone());
            issuers.push(Issuer { config: config.clone(), jwks });
        }
        Self(issuers)
    }

    /// Whether a secret is of the shape of a token, and there is anybody to make one.
    pub(crate) fn could_have_made(&self, secret: &[u8]) -> bool {
        !self.0.is_empty() && secret.starts_with(b"eyJ") && secret.split(|byte| *byte == b'.').count() == 3
    }

    /// What a token says, if it is right.
    pub(crate) async fn verify(&self, token: &[u8]) -> Result<Claims, ApiError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(refused(format!("the token is longer than {TOKEN_MAX_BYTES} bytes")));
        }
        let token = Token::parse(token).map_err(refused)?;
        let mut error = refused("the token's issuer is not known here");
        // One issuer may stand there for several audiences.
        for issuer in self.0.iter().filter(|issuer| issuer.config.issuer == token.issuer) {
            match issuer.verify(&token).await {
                Ok(claims) => return Ok(claims),
                Err(why) => error = why,
            }
        }
        Err(error)
    }
}

impl Issuer {
    async fn verify(&self, token: &Token<'_>) -> Result<Claims, ApiError> {
        let keys = self.jwks.keys(token.alg, token.kid.as_deref()).await?;
        let fitting: Vec<_> = keys.iter().filter(|key| key.fits(token.alg, token.kid.as_deref())).collect();
        let now_s = chrono::Utc::now().timestamp();
        let claims = token.verified(&fitting, &self.config.audience, now_s, MAX_CLOCK_SKEW_MS / 1000);
        Claims::of(&self.config, claims.map_err(refused)?)
    }
}

#[cfg(test)]
mod tests;
