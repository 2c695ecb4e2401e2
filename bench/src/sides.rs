//! One broker and what runs on it, a phase at a time: plain hops alone; the pipeline beside hops of its own kind; streams beside
//! the same, and beside their provider.
//!
//! Both brokers are there all the time and their measurements alternate, because a shared machine drifts.

use crate::broker::Broker;
use crate::load::{self, Answered, Load, Sample};
use crate::report::{Kind, Report};
use crate::streams::{LONG, SHORT};
use crate::{Arguments, bare, http, pipeline, streams, topics};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One measurement never takes longer.
const MEASUREMENT_MAX: Duration = Duration::from_secs(60);

/// A broker with something running on it.
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
    /// Plain hops, by which brokers are compared.
    pub(crate) async fn hops(broker: &'a Broker, prefix: &str, bytes: usize) -> anyhow::Result<Self> {
        let hops = hops(broker, prefix, bare::PLAIN, bytes).await?;
        Ok(Self { broker, calls: vec![(Kind::Hops, hops)], stack: None })
    }

    /// The pipeline, and bare hops with its settings.
    pub(crate) async fn pipeline(broker: &'a Broker, prefix: &str, bytes: usize, http: bool) -> anyhow::Result<Self> {
        let stack = stack(broker, prefix, bytes, None).await?;
        let bare = hops(broker, prefix, bare::AS_THE_PIPELINE, bytes).await?;
        let mut calls = vec![(Kind::Bare, bare), (Kind::Pipeline, Call::Pipeline(stack.pipeline()))];
        if http {
            let client = http::Client::new(stack.address(), stack.body())?;
            calls.push((Kind::Http, Call::Http(Arc::new(client))));
        }
        Ok(Self { broker, calls, stack: Some(stack) })
    }

    /// Streams through the pipeline and of its provider, which is at that address; and bare hops, as many and one more. All on
    /// topics of their own.
    pub(crate) async fn streams(
        broker: &'a Broker,
        prefix: &str,
        bytes: usize,
        provider: SocketAddr,
    ) -> anyhow::Result<Self> {
        let prefix = &format!("{prefix}streams.");
        let stack = stack(broker, prefix, bytes, Some(provider)).await?;
        let mut calls = vec![
            (Kind::Bare, hops(broker, prefix, bare::AS_THE_PIPELINE, bytes).await?),
            (Kind::BareChecked, hops(broker, prefix, bare::AS_WITH_A_CHECK, bytes).await?),
        ];
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
            calls.push((kind, Call::Stream(Arc::new(caller))));
        }
        Ok(Self { broker, calls, stack: Some(stack) })
    }

    fn kinds(&self) -> Vec<Kind> {
        self.calls.iter().map(|(kind, _)| *kind).collect()
    }

    /// One measurement.
    async fn run(&self, kind: Kind, load: Load) -> anyhow::Result<Sample> {
        let (_, call) = self.calls.iter().find(|(known, _)| *known == kind).context("does not run here")?;
        let call = call.clone();
        let sample = load::run(load, self.broker.process.as_ref(), move || call.clone().send()).await;
        let place = || format!("{} on {} at {} in flight", kind.name(), self.broker.on.name(), load.in_flight);
        let sample = sample.with_context(place)?;
        eprintln!("{}: p50 {:.2} ms, {:.0}/s", place(), sample.quantile_us(0.5) / 1000.0, sample.throughput());
        Ok(sample)
    }

    /// Stops in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self { calls, stack, .. } = self;
        drop(calls);
        match stack {
            Some(stack) => stack.stop().await,
            None => Ok(()),
        }
    }
}

async fn hops(broker: &Broker, prefix: &str, shape: bare::Shape, bytes: usize) -> anyhow::Result<Call> {
    let hops = bare::Bare::start(&broker.address, prefix, shape, bytes).await;
    Ok(Call::Hops(hops.with_context(|| format!("starting {} hops on {}", shape.hops, broker.on.name()))?))
}

async fn stack(
    broker: &Broker,
    prefix: &str,
    bytes: usize,
    provider: Option<SocketAddr>,
) -> anyhow::Result<pipeline::Stack> {
    let stack = pipeline::Stack::start(&broker.address, prefix, bytes, provider).await;
    stack.with_context(|| format!("starting the services on {}", broker.on.name()))
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

/// Deletes what a run made on the brokers, whatever came of it.
pub(crate) async fn clean(brokers: &[Broker], prefix: &str) -> anyhow::Result<()> {
    for broker in brokers {
        topics::delete(&broker.address, prefix).await.with_context(|| format!("cleaning {}", broker.on.name()))?;
    }
    Ok(())
}
