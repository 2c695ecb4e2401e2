//! The pipeline behind its HTTP door, called over loopback by one pooled client in this process.

use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The key of the benchmark's team. Its hash is in the configuration of `pipeline`.
pub(crate) const KEY: &str = "tollgate-bench";

/// The longest that a request may take, a stream to its end. With 256 in flight, a debug build on a busy machine takes
/// more than half a minute for a long one.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// A client that sends the same request again and again.
pub(crate) struct Client {
    client: reqwest::Client,
    url: String,
    body: bytes::Bytes,
}

impl Client {
    /// Connects when the first request is sent.
    pub(crate) fn new(address: SocketAddr, body: String) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(8192).timeout(ANSWERED_WITHIN).no_proxy();
        let url = format!("http://{address}/v1/chat/completions");
        Ok(Self { client: client.build()?, url, body: body.into() })
    }

    /// One request and the head of its answer; what is no success is an error that says what came instead.
    pub(crate) async fn answer(&self) -> anyhow::Result<reqwest::Response> {
        let request = self.client.post(&self.url).bearer_auth(KEY).header("content-type", "application/json");
        let sent = Instant::now();
        let answer = request.body(self.body.clone()).send().await;
        let answer = answer.with_context(|| format!("no answer came within {:.1?}", sent.elapsed()))?;
        let status = answer.status();
        if !status.is_success() {
            let body =
                answer.text().await.with_context(|| format!("the answer was {status}, its body cannot be read"))?;
            bail!("the answer was {status}: {body}");
        }
        Ok(answer)
    }

    /// One request and its whole answer.
    pub(crate) async fn send(self: Arc<Self>) -> anyhow::Result<()> {
        let body = self.answer().await?.bytes().await.context("the answer's body broke off")?;
        ensure!(!body.is_empty(), "the answer has no body");
        Ok(())
    }
}
