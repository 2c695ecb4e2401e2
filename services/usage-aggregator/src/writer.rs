//! The loop: records in, files out. Storage that is down stops it here, and the topic keeps what waits.
//!
//! It takes one event at a time. While it waits for storage it takes none, so the reader's bounded queue fills and
//! fetching pauses. A stop gives the wait up, because the rows are still on the topic. A rebalance in that time takes the
//! partition away after 20 s; what this writer then still puts is a twin's file or loses the race for its name.

use crate::{
    Error, columns,
    config::Settings,
    fold::{At, Cut, Fold},
    ledger::{Ledger, Put, Resume},
    log::Log,
    lookup::Lookup,
    metric,
};
use std::{collections::BTreeMap, future::Future, ops::Range, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Incoming, fault, ordered::Event};

/// How long a stop waits for storage and for dead-letters.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a revoked partition's rows may take to reach storage; the group takes the partition away after 20 s.
const REVOKE_GRACE: Duration = Duration::from_secs(15);
const DEAD_LETTER_RETRY: Duration = Duration::from_secs(1);

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to, and everything read is in the table.
    Stopped,
    /// Another writer was ahead: read again from where the table is.
    Raced,
}

struct Partition {
    fold: Fold,
    lookup: Lookup,
}

/// Writes the partitions that the group gives it.
pub(crate) struct Writer<L> {
    ledger: Ledger,
    settings: Settings,
    log: L,
    stop: CancellationToken,
    partitions: BTreeMap<i32, Partition>,
}

impl<L: Log> Writer<L> {
    pub(crate) fn new(ledger: Ledger, settings: Settings, log: L, stop: CancellationToken) -> Self {
        Self { ledger, settings, log, stop, partitions: BTreeMap::new() }
    }

    /// Runs until stopped, raced or broken; gives the log back for its last commits.
    pub(crate) async fn run(mut self) -> (Result<End, Error>, L) {
        let end = self.events().await;
        (end, self.log)
    }

    async fn events(&mut self) -> Result<End, Error> {
        loop {
            let due = self.partitions.values().filter_map(|p| p.fold.due_at(&self.settings.limits)).min();
            let due = due.map_or_else(|| Instant::now() + Duration::from_secs(3600), Instant::from_std);
            let went_well = tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.flush_all().await,
                () = sleep_until(due) => self.flush_due().await?,
                event = self.log.next() => match event {
                    None if self.stop.is_cancelled() => return self.flush_all().await,
                    None => return Err(tollgate_bus::Error::Stopped("usage".to_owned()).into()),
                    Some(event) => self.on(event).await?,
                },
            };
            if !went_well {
                return Ok(End::Raced);
            }
        }
    }

    /// False if a race was lost.
    async fn on(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Assigned(partition) => {
                self.assigned(partition).await?;
                Ok(true)
            }
            Event::Record(record) => self.record(record).await,
            // This reader ends with an error instead.
            Event::Missing { .. } => Ok(true),
            Event::Revoked(partition) => self.revoked(partition).await,
            Event::Lost(partition) => {
                self.partitions.remove(&partition);
                tracing::warn!(
                    partition,
                    "the partition is another reader's; rows not in the table are read there again"
                );
                Ok(true)
            }
        }
    }

    async fn assigned(&mut self, partition: i32) -> Result<(), Error> {
        let resume = self.ledger.resume(partition, self.settings.ids);
        let Resume { next_offset, ids, lookup } = or_stop(&self.stop, resume).await?;
        self.ledger.check_source(&self.log.source().await?)?;
        let start = match self.log.ends(partition).await? {
            Some((log_start, log_end)) => Some(self.ledger.check_log(partition, next_offset, log_start, log_end)?),
            None => next_offset,
        };
        tracing::info!(partition, next_offset, "writing usage rows from here on");
        if let (None, Some(start @ 1..)) = (next_offset, start) {
            tracing::warn!(partition, start, "the usage topic begins here and no file covers what was before");
        }
        self.partitions.insert(partition, Partition { fold: Fold::new(partition, start.unwrap_or(0), ids), lookup });
        self.log.start(partition, start);
        Ok(())
    }

    async fn record(&mut self, record: Incoming<Vec<u8>>) -> Result<bool, Error> {
        let (partition, at) = (record.partition, At::of(&record));
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(true) };
        let position = state.fold.position();
        if at.offset < position {
            return Ok(true);
        }
        if at.offset > position {
            gap(&self.log, &self.ledger, partition, position..at.offset).await?;
        }
        if let Some(cut) = state.fold.cut_before(at.append_ms)
            && !self.put(partition, cut).await?
        {
            return Ok(false);
        }
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(true) };
        let row = match columns::parse(&record.value) {
            Ok(row) => {
                if state.fold.is_old(row.request_id, at.append_ms) {
                    let found = or_stop(&self.stop, state.lookup.find(row.request_id, at.append_ms)).await?;
                    state.fold.learn(row.request_id, &found, at.append_ms);
                }
                Some(row)
            }
            Err(reason) => {
                or_stop(&self.stop, dead_letter(&self.log, record, reason)).await?;
                None
            }
        };
        let now = Instant::now().into_std();
        let begins = state.fold.is_empty();
        state.fold.push(at, row, now);
        if begins {
            fault::point("ledger.file.begun");
        }
        match state.fold.due(&self.settings.limits, now) {
            Some(cut) => self.put(partition, cut).await,
            None => Ok(true),
        }
    }

    async fn flush_due(&mut self) -> Result<bool, Error> {
        let (now, limits) = (Instant::now().into_std(), self.settings.limits);
        let cuts =
            self.partitions.iter_mut().filter_map(|(id, p)| p.fold.due(&limits, now).map(|cut| (*id, cut))).collect();
        self.put_all(cuts).await
    }

    async fn flush_all(&mut self) -> Result<End, Error> {
        let cuts = self.partitions.iter_mut().filter_map(|(id, p)| p.fold.cut().map(|cut| (*id, cut))).collect();
        // Who lost a race on the way out has nothing to add.
        self.put_all(cuts).await?;
        Ok(End::Stopped)
    }

    async fn revoked(&mut self, partition: i32) -> Result<bool, Error> {
        let cut = self.partitions.get_mut(&partition).and_then(|p| p.fold.cut());
        if let Some(cut) = cut {
            match timeout(REVOKE_GRACE, self.put(partition, cut)).await {
                Ok(put) => {
                    put?;
                }
                Err(_) => {
                    tracing::warn!(partition, "storage was too slow for a rebalance; the next reader writes these rows")
                }
            }
        }
        self.partitions.remove(&partition);
        self.log.release(partition);
        Ok(true)
    }

    async fn put(&mut self, partition: i32, cut: Cut) -> Result<bool, Error> {
        self.put_all(vec![(partition, cut)]).await
    }

    /// Puts files into the table; false if another writer's stands at the name of one.
    async fn put_all(&mut self, cuts: Vec<(i32, Cut)>) -> Result<bool, Error> {
        if cuts.is_empty() {
            return Ok(true);
        }
        // A reader keeps its place in a topic that is created again, so rows of another log may join ours without a gap. An id
        // never comes back: if the topic has ours now, after the last of these rows was read, all of them are ours.
        let source = or_stop(&self.stop, self.log.source()).await?;
        self.ledger.check_source(&source)?;
        let mut won = true;
        for (partition, cut) in cuts {
            won &= self.put_one(partition, cut).await?;
        }
        Ok(won)
    }

    async fn put_one(&mut self, partition: i32, cut: Cut) -> Result<bool, Error> {
        let covered = cut.covered.clone();
        let begun = Instant::now();
        let (put, name) = or_stop(&self.stop, self.ledger.put(partition, cut)).await?;
        match put {
            Put::Done { bytes } => {
                metric::file(&covered, bytes, begun.elapsed());
                self.log.commit(partition, covered.last_offset + 1);
                fault::point("ledger.offset.committed");
                if let Some(state) = self.partitions.get_mut(&partition) {
                    state.lookup.add(name);
                }
                Ok(true)
            }
            Put::Theirs { last_offset } => {
                metric::race_lost();
                let ours = covered.last_offset;
                tracing::warn!(partition, last_offset, ours, "another writer wrote these rows; going on behind it");
                Ok(false)
            }
        }
    }
}

impl At {
    fn of(record: &Incoming<Vec<u8>>) -> Self {
        Self { offset: record.offset, append_ms: record.timestamp_ms, bytes: record.value.len() }
    }
}

/// A producer without transactions leaves no gaps, so one may mean that retention ate rows while they waited.
async fn gap<L: Log>(log: &L, ledger: &Ledger, partition: i32, missing: Range<i64>) -> Result<(), Error> {
    tracing::warn!(partition, ?missing, "the usage topic has no records at these offsets");
    ledger.check_source(&log.source().await?)?;
    if let Some((log_start, log_end)) = log.ends(partition).await? {
        ledger.check_log(partition, Some(missing.start), log_start, log_end)?;
    }
    Ok(())
}

/// Waits for `work`, but after a stop only [`STOP_GRACE`] longer.
async fn or_stop<T>(stop: &CancellationToken, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let given_up = async {
        stop.cancelled().await;
        sleep(STOP_GRACE).await;
    };
    tokio::select! {
        done = work => done,
        () = given_up => Err(Error::StorageDown(STOP_GRACE)),
    }
}

/// Repeats until acknowledged: the record's offset counts as covered only then. Who dies before the file is there does it
/// again, so a record may be in dead-letters more than once.
async fn dead_letter<L: Log>(log: &L, record: Incoming<Vec<u8>>, reason: String) -> Result<(), Error> {
    let (partition, offset) = (record.partition, record.offset);
    tracing::warn!(
        partition,
        offset,
        reason,
        "a record on the usage topic is not a usage row; it goes to dead-letters"
    );
    loop {
        match log.dead_letter(record.clone(), reason.clone()).await {
            Ok(()) => return Ok(()),
            Err(tollgate_bus::Error::TooLarge { bytes, .. }) => {
                tracing::error!(
                    partition,
                    offset,
                    bytes,
                    "a malformed record is too large for dead-letters; read it at its offset"
                );
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, partition, offset, "dead-letters did not take a record; trying again"),
        }
        sleep(DEAD_LETTER_RETRY).await;
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
