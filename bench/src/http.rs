//! The pipeline behind its HTTP door, called over loopback by one pooled client in this process.

use anyhow::bail;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The key of the benchmark's team. Its hash is in the configuration of `pipeline`.
pub(crate) const KEY: &str = "tollgate-bench";

/// A client that sends the same request again and again.
pub(crate) struct Client {
    client: reqwest::Client,
    url: String,
    body: bytes::Bytes,
}

impl Client {
    /// Connects when the first request is sent.
    pub(crate) fn new(address: SocketAddr, body: String) -> anyhow::Result<Self> {
        let client =
            reqwest::Client::builder().pool_max_idle_per_host(8192).timeout(Duration::from_secs(30)).no_proxy();
        let url = format!("http://{address}/v1/chat/completions");
        Ok(Self { client: client.build()?, url, body: body.into() })
    }

    /// The request, not yet sent.
    pub(crate) fn request(&self) -> reqwest::RequestBuilder {
        let request = self.client.post(&self.url).bearer_auth(KEY).header("content-type", "application/json");
        request.body(self.body.clone())
    }

    /// One request and its whole answer.
    pub(crate) async fn send(self: Arc<Self>) -> anyhow::Result<()> {
        let answer = self.request().send().await?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        if !status.is_success() || body.is_empty() {
            bail!("the gateway answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}
