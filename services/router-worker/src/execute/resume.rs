//! Going on with a stream that broke after its caller had seen its beginning, at an endpoint with `on_midstream_failure: resume`.
//!
//! What has been shown stands: another call is shown it too and sends the rest, and both are one answer
//! ([`crate::providers::Begun`]). Deliberately absent: a pause before it, because somebody is reading; and open circuits, because
//! a guess is not worth an attempt here.

use super::{End, Execution};
use crate::{
    attempt::{Broken, ChunkSink, Ended},
    failure::{Class, Failure},
    health::Cooling,
    providers::{Begun, Wire},
    route::{self, Now, Plan},
};
use std::sync::Arc;
use tokio::time::Instant;
use tollgate_schemas::AttemptAction;

impl<S: ChunkSink> Execution<'_, S> {
    /// The end of a request; of one whose stream broke, what comes of going on with it, as often as that can be done.
    pub(super) async fn go_on(&mut self, plan: &Plan<'_>, mut end: End) -> End {
        loop {
            let (index, mut ended) = match end {
                End::Broken(index, ended) => (index, ended),
                end => return end,
            };
            let Some((begun, failure)) = left_open(&mut ended) else { return End::Broken(index, ended) };
            self.failed(index, failure);
            end = self.rest(plan, index, ended, &begun).await;
        }
    }

    /// Asks one destination after another for the rest of an answer. If none has it, the end stays what it was.
    async fn rest(&mut self, plan: &Plan<'_>, index: usize, mut ended: Ended, begun: &Begun) -> End {
        let mut same = Some(index);
        while let Some((heir, wire)) = self.heir(plan, same) {
            same = same.filter(|same| *same != heir);
            let task = self.task;
            let mut running = task.begin(heir, &*wire, AttemptAction::Resume, task.signals);
            running.call.asked.begun = Some(begun);
            let next = running.run(&mut self.patience, self.sink.as_deref_mut()).await;
            self.enter(running, &next).await;
            match next.broken {
                None => return End::Answered(next.behind(&ended)),
                Some(_) if next.is_seen => return End::Broken(heir, next.behind(&ended)),
                Some(Broken::Failed(failure)) => self.failed(heir, failure),
                // The caller has seen the beginning, so nobody else may begin again.
                interrupted => {
                    ended.broken = interrupted;
                    break;
                }
            }
        }
        End::Broken(index, ended)
    }

    /// Who is asked next for the rest, and in which words. `same` broke it off and has not been asked yet.
    fn heir(&self, plan: &Plan<'_>, same: Option<usize>) -> Option<(usize, Arc<dyn Wire>)> {
        let destinations = &self.task.endpoint.destinations;
        let cooling: Vec<Option<Cooling>> = destinations.iter().map(|d| d.health.cooling()).collect();
        let left = self.task.limits.end().saturating_duration_since(Instant::now());
        let now = Now { cooling: &cooling, patience: self.patience.left(), left };
        let api = self.task.request.api_type;
        route::heirs(plan, &self.history, &now, same).into_iter().find_map(|heir| {
            let wire = destinations[heir].provider.kind.speaks(api)?;
            wire.continues(&self.task.models[heir]).map(|_| (heir, wire))
        })
    }
}

/// What there is to go on with, and why it broke off; `None` if it ended for good.
fn left_open(ended: &mut Ended) -> Option<(Box<Begun>, Failure)> {
    let Some(Broken::Failed(failure)) = &ended.broken else { return None };
    let failure = failure.clone();
    match failure.class {
        Class::RateLimited | Class::Server | Class::Timeout | Class::Connect => Some((ended.begun.take()?, failure)),
        _ => None,
    }
}
