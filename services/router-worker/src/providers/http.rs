//! HTTP to a provider: the only I/O of this module tree.
//!
//! One pooled client per provider (and connect time-out). Redirects are not followed, because a redirect would carry the
//! credential elsewhere; proxies from the environment are not used; compression is not asked for; bodies are bounded.

use super::{Encoded, Head, Wire, credentials::Credentials};
use crate::failure::{Class, Failure};
use bytes::Bytes;
use reqwest::{Client, Response, header::HeaderMap, redirect::Policy};
use std::time::Duration;
use tokio::time::Instant;
use tollgate_runtime::Secret;

/// Largest answer that is not a stream, and largest error document.
pub(crate) const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// Below the idle time-outs of common load balancers (60 s), so that a reused connection is rarely a dead one.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// A provider's address and credentials.
pub(crate) struct Http {
    base_url: String,
    credentials: Credentials,
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
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self { base_url, credentials: Credentials::new(keys), clients })
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
        let key = taken.map(|(_, key)| key.expose());
        let mut builder = client.post(format!("{}{}", self.base_url, request.path));
        for (name, value) in wire.headers(key) {
            let mut value = reqwest::header::HeaderValue::try_from(value)
                .map_err(|_| Failure::new(Class::Refused, "the configured key holds characters no header can carry"))?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        let builder = builder.header("content-type", "application/json").body(request.body);
        let response = builder.send().await.map_err(|error| failure(&error))?;
        let mut head = head(response.status().as_u16(), response.headers(), wire.request_id_header());
        if let Some((turn, _)) = taken {
            head.other_credential = self.credentials.told(turn, head.status, head.retry_after, Instant::now());
        }
        Ok((head, response))
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
        other_credential: false,
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
