//! The product itself: the four services in this process, as `tollgate up` runs them, and a second ingress without HTTP
//! that is called in process.

use crate::{bare::AS_THE_PIPELINE, topics};
use anyhow::{Context, bail, ensure};
use serde_json::{json, value::RawValue};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate::stack;
use tollgate_ingress::{Admission, Door, Gateway, Parts, Stops};
use tollgate_runtime::Control;
use tollgate_runtime::config::{Role, parse};
use tollgate_runtime::{Config, Readiness, supervised};
use tollgate_schemas::{ApiType, Caller, Request, RequestId, TraceContext};

/// The endpoint that every caller asks, in a request's `model`.
pub(crate) const ENDPOINT: &str = "bench";
/// One whose requests pass the guardrail, a hop more: it looks for words that no request holds.
pub(crate) const CHECKED: &str = "checked";
/// One whose requests are looked through for personal data as by default; they hold none.
pub(crate) const MASKED: &str = "masked";

const READY_WITHIN: Duration = Duration::from_secs(60);
/// They end within a few seconds when nobody waits any more; without their broker they would not end at all.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs. It has to be stopped while its broker is there.
pub(crate) struct Stack {
    pipeline: Arc<Pipeline>,
    address: SocketAddr,
    running: Running,
}

/// What a stop has to wait for.
struct Running {
    services: JoinHandle<Option<anyhow::Result<()>>>,
    /// Of the in-process door.
    parts: Option<Parts>,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

/// The in-process door.
pub(crate) struct Pipeline {
    gateway: Arc<Gateway>,
    body: Box<RawValue>,
}

/// No checks, no delays: what is left is the gateway. With a provider of OpenAI's format at that address instead of the mock, and
/// then [`CHECKED`] and [`MASKED`] too.
fn config(brokers: &str, prefix: &str, data: &Path, provider: Option<SocketAddr>) -> anyhow::Result<Config> {
    let destinations = json!([ { "name": "upstream", "provider": "upstream", "model": "mock" } ]);
    let mut endpoints = vec![json!({ "name": ENDPOINT, "destinations": destinations })];
    let upstream = match provider {
        None => json!({ "kind": "mock", "concurrency": 100_000 }),
        Some(address) => {
            let checks = json!({ "input": { "keywords": { "action": "block", "words": [ "dolor" ] } } });
            endpoints.push(json!({ "name": CHECKED, "destinations": destinations, "guardrails": checks }));
            let checks = json!({ "input": { "pii": { "action": "mask" } } });
            endpoints.push(json!({ "name": MASKED, "destinations": destinations, "guardrails": checks }));
            json!({ "kind": "openai", "base_url": format!("http://{address}/v1"), "concurrency": 100_000 })
        }
    };
    let names = endpoints.iter().map(|endpoint| &endpoint["name"]).collect::<Vec<_>>();
    let text = json!({
        "data_dir": data,
        // nothing is under way when they are stopped, and no load balancer has to hear of it
        "shutdown": { "unready": "0s", "drain": "2s" },
        "kafka": { "brokers": brokers, "topic_prefix": prefix, "partitions": { "default": AS_THE_PIPELINE.partitions, "usage": 1 } },
        "providers": { "upstream": upstream },
        "endpoints": endpoints,
        "teams": [ { "name": "bench", "endpoints": names } ],
        "keys": [ {
            "name": "bench",
            "team": "bench",
            "sha256": "563d1f4369ea9d8fdf572303878e1274a9dd806fdd16691045b14901eb2e9895",
        } ],
    });
    // JSON is YAML
    Ok(parse(&text.to_string(), Role::All, &|_| Ok(None))?.config)
}

impl Stack {
    /// Starts everything on fresh topics, over the mock or a provider at that address. `bytes` is the size that a request's record
    /// shall have.
    pub(crate) async fn start(
        brokers: &str,
        prefix: &str,
        bytes: usize,
        provider: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let config = config(brokers, prefix, data.path(), provider)?;
        let bus = stack::connect(&config, stack::settings(&config, "bench")?).await?;
        topics::settled(brokers, prefix).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let all = stack::run_all(config.clone(), (bus.clone(), None), listener, readiness.clone(), stop.clone());
        let services = supervised("services", all);
        let mut running = Running { services, parts: None, stop, _data: data };
        let door = async {
            running.ready(&readiness).await?;
            let stops = Stops::at(&running.stop.child_token());
            let (gateway, parts) = tollgate_ingress::start(&Control::new(config), bus, &readiness, stops).await?;
            running.parts = Some(parts);
            running.ready(&readiness).await?;
            anyhow::Ok(Arc::new(Pipeline { body: sized_body(&gateway, bytes)?, gateway }))
        };
        match door.await {
            Ok(pipeline) => Ok(Self { pipeline, address, running }),
            // if they ended by themselves, their end says why
            Err(error) => Err(match running.stop().await {
                Ok(()) => error,
                Err(cause) => cause.context(format!("{error:#}")),
            }),
        }
    }

    /// Where HTTP comes in.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request that every caller sends.
    pub(crate) fn body(&self) -> String {
        self.pipeline.body.get().to_owned()
    }

    /// The in-process door.
    pub(crate) fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline.clone()
    }

    /// Stops in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await
    }
}

impl Running {
    async fn ready(&self, readiness: &Readiness) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        // conditions are added while services start, so all of them must have had the time to be added
        let mut held = 0;
        while held < 10 {
            ensure!(!self.services.is_finished(), "the services ended while they started");
            held = if readiness.missing().is_some_and(|missing| missing.is_empty()) { held + 1 } else { 0 };
            if begun.elapsed() > READY_WITHIN {
                bail!("the services are not ready after {READY_WITHIN:?}: waiting for {:?}", readiness.missing());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        let Self { services, parts, stop, _data } = self;
        stop.cancel();
        let ended = async {
            let door = match parts {
                Some(mut parts) => parts.stopped().await,
                None => Ok(()),
            };
            services.await?.context("the services panicked; see the log above")??;
            anyhow::Ok(door?)
        };
        let ended = tokio::time::timeout(STOPPED_WITHIN, ended).await;
        ended.with_context(|| format!("the services have not ended within {STOPPED_WITHIN:?}"))?
    }
}

/// A chat body with which the request's record has this many bytes.
fn sized_body(gateway: &Gateway, bytes: usize) -> anyhow::Result<Box<RawValue>> {
    let body = |words: usize| {
        let content = "lorem ".repeat(words / 6 + 1);
        let messages = json!([{ "role": "user", "content": &content[..words] }]);
        serde_json::value::to_raw_value(&json!({ "model": ENDPOINT, "messages": messages }))
    };
    let least = serde_json::to_vec(&admitted(gateway, body(0)?)?)?.len();
    Ok(body(bytes.saturating_sub(least).max(1))?)
}

fn admitted(gateway: &Gateway, body: Box<RawValue>) -> anyhow::Result<Request> {
    let admission = Admission {
        api_headers: Default::default(),
        request_id: RequestId::new(),
        api_type: ApiType::ChatCompletions,
        called: None,
        body,
        tags: Default::default(),
        cache: Default::default(),
        caller: Caller { team: "bench".to_owned(), ..Caller::default() },
        reply: gateway.reply_to(),
        door: &Door::Http { idempotency_key: None },
    };
    Ok(gateway.admit(admission)?)
}

impl Pipeline {
    /// One request and its answer: what the HTTP door does, without HTTP.
    pub(crate) async fn send(self: Arc<Self>) -> anyhow::Result<()> {
        let request = admitted(&self.gateway, self.body.clone())?;
        let mut pending = self.gateway.submit(request, &TraceContext::new()).await?;
        match pending.terminal().await? {
            Some(terminal) if terminal.status == 200 && terminal.body.is_some() => Ok(()),
            Some(terminal) => bail!("the gateway answered {}: {:?}", terminal.status, terminal.error),
            None => bail!("no answer came in time"),
        }
    }
}
