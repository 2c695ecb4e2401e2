//! Two calls for one request: if the first one has shown nothing for a while, the next destination is called too. The first to
//! show something has the caller, the other one is broken off; both are billed.
//!
//! Deliberately absent: a third call, and any second one for a request that nobody waits for.

use super::{End, Execution, Running};
use crate::{
    attempt::{Broken, ChunkSink, Ended, Signals},
    patience::Patience,
    route::{self, Now, Plan},
};
use std::{
    pin::pin,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{AttemptAction, StreamEvent};

/// A second call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hedged {
    /// Index of its destination.
    destination: usize,
    /// How long the first one has for itself.
    after: Duration,
}

/// Two calls on their way to one caller.
struct Race<'a, S> {
    sink: Mutex<Option<&'a mut S>>,
    winner: OnceLock<usize>,
    /// What breaks each of them off.
    cancel: [CancellationToken; 2],
    destinations: [&'a str; 2],
    /// Calls before these two.
    calls: usize,
}

impl<S> Race<'_, S> {
    /// Whether the call has the caller: it has, if it is the first to ask.
    fn wins(&self, lane: usize) -> bool {
        let decide = || {
            self.cancel[1 - lane].cancel();
            lane
        };
        *self.winner.get_or_init(decide) == lane
    }
}

/// One of them.
struct Racer<'r, 'a, S> {
    race: &'r Race<'a, S>,
    lane: usize,
    is_told: bool,
    /// Fields that are left out for it.
    dropped: Vec<String>,
}

impl<S: ChunkSink> ChunkSink for Racer<'_, '_, S> {
    /// Told when it has won.
    fn trying(&mut self, _: &str, _: u32) {}

    fn leaving_out(&mut self, names: &[String]) {
        self.dropped = names.to_vec();
    }

    async fn send(&mut self, events: Vec<StreamEvent>) {
        if !self.race.wins(self.lane) {
            return;
        }
        let mut sink = self.race.sink.lock().await;
        let Some(sink) = sink.as_deref_mut() else { return };
        if !self.is_told {
            self.is_told = true;
            let attempt = u32::try_from(self.race.calls + self.lane + 1).unwrap_or(u32::MAX);
            sink.trying(self.race.destinations[self.lane], attempt);
            sink.leaving_out(&self.dropped);
        }
        sink.send(events).await;
    }
}

impl<S: ChunkSink> Execution<'_, S> {
    /// The second call that may follow on the first one, if the endpoint wants one and there is another destination that is open
    /// to calls.
    pub(super) fn hedge(&self, plan: &Plan<'_>, first: usize, now: &Now<'_>) -> Option<Hedged> {
        let after = self.task.endpoint.hedge?.after.duration();
        let may = !plan.is_patient && self.ledger.calls() == 0 && plan.policy.max_attempts > 1;
        let destination = route::beside(plan, &self.history, now, first).filter(|_| may)?;
        Some(Hedged { destination, after })
    }

    /// Makes both calls. `None`: both failed, go on.
    pub(super) async fn race(&mut self, mut first: Running<'_>, hedge: Hedged) -> Option<End> {
        let task = self.task;
        let wire = self.wire(hedge.destination)?;
        let cancel = [(); 2].map(|()| task.signals.cancel.child_token());
        let signals = |lane: usize| Signals { cancel: &cancel[lane], ..task.signals };
        let mut second = task.begin(hedge.destination, &*wire, AttemptAction::Hedge, signals(1));
        first.call.signals = signals(0);
        second.call.holds_refusals = self.may_do_better(hedge.destination);
        let has_sink = self.sink.is_some();
        let race = Race {
            sink: Mutex::new(self.sink.as_deref_mut()),
            winner: OnceLock::new(),
            cancel: cancel.clone(),
            destinations: [&first.call.destination.name, &second.call.destination.name],
            calls: self.ledger.calls(),
        };
        let [mut one, mut two] = [0, 1].map(|lane| Racer { race: &race, lane, is_told: false, dropped: Vec::new() });
        let (sink_one, sink_two) = (has_sink.then_some(&mut one), has_sink.then_some(&mut two));
        let mut patience = Patience::new(&task.executor.places, false, 0);
        let has_begun = AtomicBool::new(false);
        // In the order in which they ended.
        let mut ended: Vec<(usize, Ended)> = Vec::new();
        {
            let later = async {
                tokio::time::sleep(hedge.after).await;
                if race.winner.get().is_some() {
                    std::future::pending::<()>().await;
                }
                has_begun.store(true, Ordering::Relaxed);
                second.run(&mut patience, sink_two).await
            };
            let (mut now, mut later) = (pin!(first.run(&mut self.patience, sink_one)), pin!(later));
            loop {
                let has_ended = |lane: usize| ended.iter().any(|(other, _)| *other == lane);
                let (is_one, is_two) = (!has_ended(0), !has_ended(1));
                if !is_one && (!is_two || !has_begun.load(Ordering::Relaxed)) {
                    break;
                }
                let (lane, done) = tokio::select! {
                    biased;
                    done = &mut now, if is_one => (0, done),
                    done = &mut later, if is_two => (1, done),
                };
                if done.broken.is_none() {
                    race.wins(lane);
                }
                ended.push((lane, done));
            }
        }
        let winner = race.winner.get().copied();
        drop(race);
        self.finish_race([first, second], ended, winner).await
    }

    /// Enters the calls that were made, the one that counts last, and says what they mean.
    async fn finish_race(
        &mut self,
        calls: [Running<'_>; 2],
        mut ended: Vec<(usize, Ended)>,
        winner: Option<usize>,
    ) -> Option<End> {
        let is_cancelled = self.task.signals.cancel.is_cancelled();
        ended.sort_by_key(|(lane, _)| Some(*lane) == winner);
        let (mut calls, mut end) = (calls.map(Some), None);
        for (lane, mut ended) in ended {
            let Some(running) = calls[lane].take() else { continue };
            if matches!(ended.broken, Some(Broken::Cancelled)) && !is_cancelled {
                ended.broken = Some(Broken::Outrun);
            }
            let (index, is_loser) = (running.index, winner.is_some_and(|winner| winner != lane));
            self.enter(running, &ended).await;
            if !is_loser {
                end = self.outcome(index, ended).or(end);
            }
        }
        self.ledger.sort();
        end
    }
}
