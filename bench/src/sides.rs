//! One broker and what runs on it: first plain hops alone, then the pipeline beside hops of its own kind.
//!
//! Both brokers are there all the time and their measurements alternate, because a shared machine drifts.

use crate::broker::Broker;
use crate::load::{self, Load, Sample};
use crate::report::{Kind, Report};
use crate::{Arguments, bare, http, pipeline, topics};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;

/// One measurement never takes longer.
const MEASUREMENT_MAX: Duration = Duration::from_secs(60);

/// A broker with something running on it.
pub(crate) struct Side<'a> {
    pub(crate) broker: &'a Broker,
    hops: Arc<bare::Bare>,
    stack: Option<Services>,
}

/// The product, and the two ways to call it.
struct Services {
    stack: pipeline::Stack,
    http: Option<Arc<http::Client>>,
}

impl<'a> Side<'a> {
    /// Plain hops, by which brokers are compared.
    pub(crate) async fn hops(broker: &'a Broker, prefix: &str, bytes: usize) -> anyhow::Result<Self> {
        let hops = bare::Bare::start(&broker.address, prefix, bare::PLAIN, bytes).await;
        Ok(Self {
            broker,
            hops: hops.with_context(|| format!("starting the hops on {}", broker.on.name()))?,
            stack: None,
        })
    }

    /// The pipeline, and bare hops with its settings.
    pub(crate) async fn pipeline(broker: &'a Broker, prefix: &str, bytes: usize, http: bool) -> anyhow::Result<Self> {
        let stack = pipeline::Stack::start(&broker.address, prefix, bytes).await;
        let stack = stack.with_context(|| format!("starting the services on {}", broker.on.name()))?;
        let hops = bare::Bare::start(&broker.address, prefix, bare::AS_THE_PIPELINE, bytes).await;
        let hops = hops.with_context(|| format!("starting the bare hops on {}", broker.on.name()))?;
        let client = http.then(|| http::Client::new(stack.address(), stack.body())).transpose()?.map(Arc::new);
        Ok(Self { broker, hops, stack: Some(Services { stack, http: client }) })
    }

    fn kinds(&self) -> Vec<Kind> {
        match &self.stack {
            None => vec![Kind::Hops],
            Some(Services { http: None, .. }) => vec![Kind::Bare, Kind::Pipeline],
            Some(Services { http: Some(_), .. }) => vec![Kind::Bare, Kind::Pipeline, Kind::Http],
        }
    }

    /// One measurement.
    async fn run(&self, kind: Kind, load: Load) -> anyhow::Result<Sample> {
        let process = self.broker.process.as_ref();
        let sample = match (kind, &self.stack) {
            (Kind::Hops | Kind::Bare, _) => {
                let hops = self.hops.clone();
                load::run(load, process, move || hops.clone().send()).await
            }
            (Kind::Pipeline, Some(Services { stack, .. })) => {
                let pipeline = stack.pipeline();
                load::run(load, process, move || pipeline.clone().send()).await
            }
            (Kind::Http, Some(Services { http: Some(http), .. })) => {
                let http = http.clone();
                load::run(load, process, move || http.clone().send()).await
            }
            _ => anyhow::bail!("does not run here"),
        };
        let place = || format!("{} on {} at {} in flight", kind.name(), self.broker.on.name(), load.in_flight);
        let sample = sample.with_context(place)?;
        eprintln!("{}: p50 {:.2} ms, {:.0}/s", place(), sample.quantile_us(0.5) / 1000.0, sample.throughput());
        Ok(sample)
    }

    /// Stops in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self { hops, stack, .. } = self;
        drop(hops);
        match stack {
            Some(Services { stack, http }) => {
                drop(http);
                stack.stop().await
            }
            None => Ok(()),
        }
    }
}

/// Connections, partition fetchers, allocators and the JVM's compiler settle before anything is counted.
pub(crate) async fn warm_up(sides: &[Side<'_>], requests: u32) -> anyhow::Result<()> {
    eprintln!("warming up");
    for (in_flight, share) in [(1, 40), (64, 2), (256, 2)] {
        let load = Load { in_flight, requests: (requests / share) as usize, limit: MEASUREMENT_MAX };
        for side in sides {
            for kind in side.kinds() {
                side.run(kind, load).await.context("warming up")?;
            }
        }
    }
    Ok(())
}

/// All levels, kinds and brokers: each round begins with another kind and another broker.
pub(crate) async fn rounds(sides: &[Side<'_>], arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let Some(mut kinds) = sides.first().map(Side::kinds) else { return Ok(()) };
    let mut order = sides.iter().collect::<Vec<_>>();
    for &in_flight in &arguments.in_flight {
        let total = if in_flight == 1 { arguments.requests / 4 } else { arguments.requests };
        let requests = (total / arguments.rounds).max(1) as usize;
        for round in 1..=arguments.rounds {
            eprintln!("round {round} of {}", arguments.rounds);
            for &kind in &kinds {
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
