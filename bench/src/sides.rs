//! One broker and what runs on it, a phase at a time: plain hops alone; the pipeline beside hops of its own kind; streams beside
//! the same, and beside their provider.
//!
//! Both brokers are there all the time and their measurements alternate, because a shared machine drifts.

use crate::broker::{Broker, On};
use crate::load::{self, Answered, Load, Sample};
use crate::report::{Kind, Report};
use crate::streams::{LONG, SHORT};
use crate::{Arguments, bare, http, pipeline, streams, told, topics};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One measurement never takes longer.
const MEASUREMENT_MAX: Duration = Duration::from_secs(60);

/// A broker, and what runs on it once it was started. Whatever came of that, it has to be stopped.
pub(crate) struct Side<'a> {
    pub(crate) broker: &'a Broker,
    calls: Vec<(Kind, Call)>,
    stack: Option<pipeline::Stack>,
}

/// A way to send a request.
#[derive(Clone)]
enum Call {
    Hops(Arc<bare::Bare>),
    Pipeline(Arc<pipeline::Pipeline>),
    Http(Arc<http::Client>),
    Stream(Arc<streams::Caller>),
}

impl Call {
    async fn send(self) -> anyhow::Result<Answered> {
        match self {
            Call::Hops(hops) => hops.send().await?,
            Call::Pipeline(pipeline) => pipeline.send().await?,
            Call::Http(client) => client.send().await?,
            Call::Stream(caller) => return caller.send().await,
        }
        Ok(Answered::Whole)
    }
}

impl<'a> Side<'a> {
    /// Nothing runs there yet.
    pub(crate) fn new(broker: &'a Broker) -> Self {
        Self { broker, calls: Vec::new(), stack: None }
    }

    /// Starts plain hops, by which brokers are compared.
    pub(crate) async fn start_hops(&mut self, prefix: &str, bytes: usize) -> anyhow::Result<()> {
        self.hops(Kind::Hops, prefix, bare::PLAIN, bytes).await
    }

    /// Starts the pipeline, and bare hops with its settings.
    pub(crate) async fn start_pipeline(&mut self, prefix: &str, bytes: usize, http: bool) -> anyhow::Result<()> {
        self.stack(prefix, bytes, None).await?;
        self.hops(Kind::Bare, prefix, bare::AS_THE_PIPELINE, bytes).await?;
        let stack = self.stack.as_ref().context("it was started above")?;
        self.calls.push((Kind::Pipeline, Call::Pipeline(stack.pipeline())));
        if http {
            let client = http::Client::new(stack.address(), stack.body())?;
            self.calls.push((Kind::Http, Call::Http(Arc::new(client))));
        }
        Ok(())
    }

    /// Starts streams through the pipeline and of its provider, which is at that address; and bare hops, as many and one
    /// more. All on topics of their own.
    pub(crate) async fn start_streams(
        &mut self,
        prefix: &str,
        bytes: usize,
        provider: SocketAddr,
    ) -> anyhow::Result<()> {
        let prefix = &format!("{prefix}streams.");
        self.stack(prefix, bytes, Some(provider)).await?;
        self.hops(Kind::Bare, prefix, bare::AS_THE_PIPELINE, bytes).await?;
        self.hops(Kind::BareChecked, prefix, bare::AS_WITH_A_CHECK, bytes).await?;
        let stack = self.stack.as_ref().context("it was started above")?;
        let (body, gateway) = (stack.body(), stack.address());
        for (kind, address, endpoint, wanted) in [
            (Kind::Provider, provider, pipeline::ENDPOINT, SHORT),
            (Kind::Stream, gateway, pipeline::ENDPOINT, SHORT),
            (Kind::StreamChecked, gateway, pipeline::CHECKED, SHORT),
            (Kind::StreamMasked, gateway, pipeline::MASKED, SHORT),
            (Kind::ProviderLong, provider, pipeline::ENDPOINT, LONG),
            (Kind::StreamLong, gateway, pipeline::ENDPOINT, LONG),
        ] {
            let caller = streams::Caller::new(address, endpoint, &body, wanted)?;
            self.calls.push((kind, Call::Stream(Arc::new(caller))));
        }
        Ok(())
    }

    async fn hops(&mut self, kind: Kind, prefix: &str, shape: bare::Shape, bytes: usize) -> anyhow::Result<()> {
        let hops = bare::Bare::start(&self.broker.address, prefix, shape, bytes).await;
        let hops = hops.with_context(|| format!("starting {} hops on {}", shape.hops, self.broker.on.name()))?;
        self.calls.push((kind, Call::Hops(hops)));
        Ok(())
    }

    async fn stack(&mut self, prefix: &str, bytes: usize, provider: Option<SocketAddr>) -> anyhow::Result<()> {
        let stack = pipeline::Stack::start(&self.broker.address, prefix, bytes, provider).await;
        self.stack = Some(stack.with_context(|| format!("starting the services on {}", self.broker.on.name()))?);
        Ok(())
    }

    fn kinds(&self) -> Vec<Kind> {
        self.calls.iter().map(|(kind, _)| *kind).collect()
    }

    /// One measurement.
    async fn run(&self, kind: Kind, load: Load) -> anyhow::Result<Sample> {
        let (_, call) = self.calls.iter().find(|(known, _)| *known == kind).context("does not run here")?;
        let call = call.clone();
        let place = format!("{} on {} at {} in flight", kind.name(), self.broker.on.name(), load.in_flight);
        let sample = load::run(&place, load, self.broker.process.as_ref(), move || call.clone().send()).await;
        let sample = sample.with_context(|| place.clone())?;
        eprintln!("{place}: p50 {:.2} ms, {:.0}/s", sample.quantile_us(0.5) / 1000.0, sample.throughput());
        Ok(sample)
    }

    /// Callers first, then the services in order.
    async fn stop(self) -> anyhow::Result<()> {
        let Self { broker, calls, stack } = self;
        drop(calls);
        match stack {
            Some(stack) => stack.stop().await.with_context(|| format!("stopping the services on {}", broker.on.name())),
            None => Ok(()),
        }
    }
}

/// Stops all of them, whatever comes of one.
pub(crate) async fn stop(sides: Vec<Side<'_>>) -> anyhow::Result<()> {
    let mut result = Ok(());
    for side in sides {
        result = result.and(told(side.stop().await));
    }
    result
}

/// Connections, partition fetchers, allocators and the JVM's compiler settle before anything is counted.
pub(crate) async fn warm_up(sides: &[Side<'_>], requests: u32) -> anyhow::Result<()> {
    eprintln!("warming up");
    for (in_flight, share) in [(1, 40), (64, 2), (256, 2)] {
        for side in sides {
            for kind in side.kinds() {
                let requests = (requests / share / kind.share()).max(1) as usize;
                let load = Load { in_flight, requests, limit: MEASUREMENT_MAX };
                side.run(kind, load).await.context("warming up")?;
            }
        }
    }
    Ok(())
}

/// All levels, kinds and brokers: each round begins with another kind and another broker.
pub(crate) async fn rounds(
    sides: &[Side<'_>],
    levels: &[usize],
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(mut kinds) = sides.first().map(Side::kinds) else { return Ok(()) };
    let mut order = sides.iter().collect::<Vec<_>>();
    for &in_flight in levels {
        let total = if in_flight == 1 { arguments.requests / 4 } else { arguments.requests };
        for round in 1..=arguments.rounds {
            eprintln!("round {round} of {}", arguments.rounds);
            for &kind in &kinds {
                let requests = (total / arguments.rounds / kind.share()).max(1) as usize;
                for side in &order {
                    let sample = side.run(kind, Load { in_flight, requests, limit: MEASUREMENT_MAX }).await?;
                    report.add(kind, side.broker.on, in_flight, &sample);
                }
            }
            kinds.rotate_left(1);
            order.rotate_left(1);
        }
    }
    Ok(())
}

/// Deletes what a run made on Apache Kafka, whatever came of it. What it made on the embedded broker goes with its
/// folder.
pub(crate) async fn clean(brokers: &[Broker], prefix: &str) -> anyhow::Result<()> {
    for broker in brokers.iter().filter(|broker| broker.on == On::Kafka) {
        topics::delete(&broker.address, prefix).await.with_context(|| format!("cleaning {}", broker.on.name()))?;
    }
    Ok(())
}
