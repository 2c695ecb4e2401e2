//! HTTP to a provider: the only I/O of this module tree.
//!
//! One pooled client per provider (and connect time-out). Redirects are not followed, because a redirect would carry the
//! credential elsewhere; proxies from the environment are not used; compression is not asked for; bodies are bounded.

use super::{
    Encoded, Grant, Head, Leaving, Wire,
    credentials::{Credentials, Turn},
    token::{Token, Tokens},
};
use crate::failure::{Class, Failure};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap, redirect::Policy};
use std::time::Duration;
use tokio::time::Instant;
use tollgate_runtime::Secret;

/// Largest answer that is not a stream, and largest error document.
pub(crate) const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// For a token, and the most that one may be.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN_MAX_BYTES: usize = 64 * 1024;
/// Below the idle time-outs of common load balancers (60 s), so that a reused connection is rarely a dead one.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// A provider's address and credentials.
pub(crate) struct Http {
    base_url: String,
    credentials: Credentials,
    tokens: Tokens,
    clients: Vec<(Duration, Client)>,
}

impl Http {
    /// A client per distinct connect time-out. Errors if the TLS library cannot be set up.
    pub(crate) fn new(
        base_url: &str,
        keys: Vec<Secret>,
        connect_timeouts: &[Duration],
    ) -> Result<Self, reqwest::Error> {
        let mut clients: Vec<(Duration, Client)> = Vec::new();
        for connect in connect_timeouts {
            if clients.iter().all(|(known, _)| known != connect) {
                clients.push((*connect, client(*connect)?));
            }
        }
        let (base_url, credentials) = (base_url.to_owned(), Credentials::new(keys));
        Ok(Self { base_url, credentials, tokens: Tokens::default(), clients })
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn send(
        &self,
        wire: &dyn Wire,
        request: Encoded,
        connect: Duration,
    ) -> Result<(Head, Response), Failure> {
        let Some((_, client)) = self.clients.iter().find(|(known, _)| *known == connect) else {
            return Err(Failure::new(Class::Connect, "no client has that connect time-out"));
        };
        let taken = self.credentials.take(Instant::now());
        let (turn, key) = (taken.map(|(turn, _)| turn), taken.map(|(_, key)| key.expose()));
        let token = match self.token(client, wire, turn, key).await {
            Ok(token) => token,
            Err(failure) => return Err(self.refused(turn, failure)),
        };
        let url = format!("{}{}", self.base_url, request.path);
        let leaving = Leaving { url: &url, body: &request.body, now_s: now_s(), is_token: token.is_some() };
        let headers = wire.headers(token.as_ref().map(Secret::expose).or(key), &leaving);
        let headers = headers.map_err(|reason| self.refused(turn, Failure::new(Class::Refused, reason)))?;
        let builder = with_headers(client.post(&url), headers)?.header("content-type", "application/json");
        let builder = request.headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value));
        let response = builder.body(request.body).send().await.map_err(|error| failure(&error))?;
        let mut head = head(response.status().as_u16(), response.headers(), wire.request_id_header());
        head.credential = turn;
        if let Some(turn) = turn.filter(|_| response.status().is_success()) {
            self.credentials.works(turn);
        }
        if token.is_some() && matches!(head.status, 401 | 403) {
            self.tokens.drop(place(turn));
        }
        Ok((head, response))
    }

    /// Takes its credentials out of a text of the provider's.
    pub(crate) fn hide_credentials(&self, text: &mut String) {
        self.credentials.hide(text);
    }

    /// The token that a credential gives, if it is not shown itself.
    async fn token(
        &self,
        client: &Client,
        wire: &dyn Wire,
        turn: Option<Turn>,
        key: Option<&str>,
    ) -> Result<Option<Secret>, Failure> {
        let now = Instant::now();
        // Before the grant is made, because that may cost a signature.
        if let Some(token) = self.tokens.get(place(turn), now) {
            return Ok(Some(token));
        }
        let grant = wire.grant(key, now_s()).map_err(|reason| Failure::new(Class::Refused, reason))?;
        let Some(grant) = grant else { return Ok(None) };
        let token = ask(client, grant).await?;
        self.tokens.put(place(turn), &token, now);
        Ok(self.tokens.get(place(turn), now))
    }

    /// What a call with a credential failed of, which may be no good any more, whoever said so: others may be.
    pub(crate) fn refused(&self, turn: Option<Turn>, failure: Failure) -> Failure {
        let others = |turn| self.credentials.failed(turn, &failure, Instant::now());
        Failure { other_credential: turn.is_some_and(others), ..failure }
    }
}

/// Tokens of a provider that takes none of the configuration's credentials (a metadata server's) have the first place.
fn place(turn: Option<Turn>) -> usize {
    turn.map_or(0, Turn::index)
}

fn now_s() -> i64 {
    tollgate_schemas::now_us() / 1_000_000
}

fn with_headers(mut builder: RequestBuilder, headers: Vec<(&'static str, String)>) -> Result<RequestBuilder, Failure> {
    for (name, value) in headers {
        let mut value = reqwest::header::HeaderValue::try_from(value)
            .map_err(|_| Failure::new(Class::Refused, "the configured key holds characters no header can carry"))?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
    }
    Ok(builder)
}

/// Asks for a token. What is refused here is the credential; the answer itself, which may quote it, goes nowhere.
async fn ask(client: &Client, grant: Grant) -> Result<Token, Failure> {
    let builder = match grant.form {
        Some(form) => client.post(&grant.url).header("content-type", "application/x-www-form-urlencoded").body(form),
        None => client.get(&grant.url),
    };
    let builder = with_headers(builder, grant.headers)?.timeout(TOKEN_TIMEOUT);
    let mut response = builder.send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = chunk(&mut response).await? {
        if body.len() + piece.len() > TOKEN_MAX_BYTES {
            return Err(Failure::malformed("a token that is too large"));
        }
        body.extend_from_slice(&piece);
    }
    match status {
        200..=299 => Token::parse(&body).ok_or_else(|| Failure::malformed("an answer without a token")),
        400..=404 => Err(Failure::new(Class::Refused, "the provider gives no token for the credential")),
        _ => Err(Failure::of_status(status, "the provider gives no token")),
    }
}

fn client(connect: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .tls_backend_native()
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .user_agent(USER_AGENT)
        .pool_idle_timeout(IDLE_MAX)
        .build()
}

/// The next piece of an answer's body.
pub(super) async fn chunk(response: &mut Response) -> Result<Option<Bytes>, Failure> {
    response.chunk().await.map_err(|error| failure(&error))
}

fn failure(error: &reqwest::Error) -> Failure {
    // The error's own text quotes the URL, which may hold a secret in an odd configuration; its cause does not.
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(cause, "a provider connection failed");
    if error.is_connect() {
        Failure::new(Class::Connect, "no connection to the provider")
    } else if error.is_timeout() {
        Failure::new(Class::Timeout, "the provider did not answer in time")
    } else {
        // It was there once, so the provider may have done work: not the same as never reached.
        let code = Some("connection_broken".to_owned());
        Failure { code, ..Failure::new(Class::Connect, "the connection to the provider broke") }
    }
}

fn head(status: u16, headers: &HeaderMap, request_id: &str) -> Head {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Head {
        status,
        retry_after: retry_after(text("retry-after-ms"), text("retry-after")),
        request_id: text(request_id).map(|id| id.chars().take(128).collect()),
        credential: None,
    }
}

/// How long to wait: milliseconds if given, else seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(ms: Option<&str>, plain: Option<&str>) -> Option<Duration> {
    let finite = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(ms) = ms.and_then(|ms| ms.trim().parse::<f64>().ok()) {
        return finite(ms / 1000.0);
    }
    let plain = plain?.trim();
    if let Ok(seconds) = plain.parse::<f64>() {
        return finite(seconds);
    }
    let at = chrono::DateTime::parse_from_rfc2822(plain).ok()?;
    Some((at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_its_three_forms() {
        assert_eq!(retry_after(Some("250"), Some("9")), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(None, Some(" 9 ")), Some(Duration::from_secs(9)));
        assert_eq!(retry_after(None, Some("Fri, 31 Dec 1999 23:59:59 GMT")), Some(Duration::ZERO));
        let soon = (chrono::Utc::now() + chrono::Duration::seconds(30)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert!(retry_after(None, Some(&soon)).is_some_and(|wait| wait > Duration::from_secs(20)));
        for bad in ["", "soon", "-1", "NaN", "1e400"] {
            assert_eq!(retry_after(None, Some(bad)), None, "{bad}");
        }
    }
}
