//! Spend per dimension and period, as the usage rows tell it: each request once, each threshold once, and how far the rows were read.
//!
//! Pure. The memory store counts with it; beside Valkey every replica keeps one, and fills an emptied Valkey from it.

use crate::{
    money,
    plan::{Alert, Settlement, Source},
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use uuid::Uuid;

/// How long a settled id is remembered: a row of the same request that comes later counts again, as the second call that it was. 1 h.
pub(crate) const SETTLED_KEEP_MS: i64 = 3_600_000;
/// How many settled ids are remembered in memory.
pub(crate) const SETTLED_MAX: usize = 1 << 20;
/// Counters looked at, per settlement, to forget those of past periods.
const SWEPT: usize = 32;

/// What became of a settlement.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    Counted(Vec<Alert>),
    /// The row or the request was counted before.
    Already,
    /// Rows between the store's place and this one are missing: go on after this offset.
    Gap(i64),
}

/// One counter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub nano: u64,
    pub drop_ms: i64,
}

/// Everything that was counted.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) offsets: BTreeMap<i32, i64>,
    pub(crate) spend: HashMap<String, Spent>,
    pub(crate) marks: HashMap<String, i64>,
    pub(crate) settled: HashMap<Uuid, i64>,
    settled_order: VecDeque<Uuid>,
    spend_order: VecDeque<String>,
    marks_order: VecDeque<String>,
}

impl Ledger {
    /// Counts a settlement, and tells the thresholds it reached.
    pub(crate) fn apply(&mut self, settlement: &Settlement, now_ms: i64) -> Applied {
        if let Some(source) = settlement.source {
            match self.place(source) {
                Ok(true) => self.offsets.insert(source.partition, source.offset),
                Ok(false) => return Applied::Already,
                Err(at) => return Applied::Gap(at),
            };
        }
        if settlement.adds.is_empty() {
            return Applied::Counted(Vec::new());
        }
        if self.is_settled(settlement.id, now_ms) {
            return Applied::Already;
        }
        self.remember(settlement.id, now_ms + SETTLED_KEEP_MS);
        self.sweep(now_ms);
        if settlement.nano == 0 {
            return Applied::Counted(Vec::new());
        }
        for add in settlement.adds.iter().filter(|add| add.drop_ms > now_ms) {
            self.add(&add.counter, settlement.nano, add.drop_ms);
        }
        Applied::Counted(self.reached(settlement, now_ms))
    }

    /// Whether a row is new; the offset to go on after if those before it are missing.
    fn place(&self, source: Source) -> Result<bool, i64> {
        let at = self.offsets.get(&source.partition).copied().unwrap_or(-1);
        if source.offset <= at {
            return Ok(false);
        }
        if source.after > at { Err(at) } else { Ok(true) }
    }

    fn reached(&mut self, settlement: &Settlement, now_ms: i64) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for watch in settlement.watches.iter().filter(|watch| watch.drop_ms > now_ms) {
            let spent = self.spent(&watch.counter);
            if spent >= watch.at_nano && !self.marks.contains_key(&watch.mark) {
                self.mark(watch.mark.clone(), watch.drop_ms);
                alerts.extend(watch.alert.clone().map(|alert| Alert { spent_usd: money::usd(spent), ..alert }));
            }
        }
        alerts
    }

    pub(crate) fn spent(&self, counter: &str) -> u64 {
        self.spend.get(counter).map_or(0, |spent| spent.nano)
    }

    /// Whether that request was counted.
    pub(crate) fn is_settled(&self, id: Uuid, now_ms: i64) -> bool {
        self.settled.get(&id).is_some_and(|drop| *drop > now_ms)
    }

    pub(crate) fn add(&mut self, counter: &str, nano: u64, drop_ms: i64) {
        match self.spend.get_mut(counter) {
            Some(spent) => {
                spent.nano = spent.nano.saturating_add(nano);
                spent.drop_ms = spent.drop_ms.max(drop_ms);
            }
            None => {
                self.spend.insert(counter.to_owned(), Spent { nano, drop_ms });
                self.spend_order.push_back(counter.to_owned());
            }
        }
    }

    pub(crate) fn mark(&mut self, mark: String, drop_ms: i64) {
        if self.marks.insert(mark.clone(), drop_ms).is_none() {
            self.marks_order.push_back(mark);
        }
    }

    pub(crate) fn remember(&mut self, id: Uuid, drop_ms: i64) {
        if self.settled.insert(id, drop_ms).is_none() {
            self.settled_order.push_back(id);
        }
        if self.settled_order.len() > SETTLED_MAX
            && let Some(oldest) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }

    /// Forgets what is past, a little at a time: never a pause in proportion to what is kept.
    fn sweep(&mut self, now_ms: i64) {
        while let Some(oldest) = self.settled_order.front()
            && self.settled.get(oldest).is_none_or(|drop| *drop <= now_ms)
        {
            let oldest = self.settled_order.pop_front();
            self.settled.remove(&oldest.unwrap_or_default());
        }
        for _ in 0..SWEPT.min(self.spend_order.len()) {
            if let Some(name) = self.spend_order.pop_front() {
                if self.spend.get(&name).is_some_and(|spent| spent.drop_ms <= now_ms) {
                    self.spend.remove(&name);
                } else {
                    self.spend_order.push_back(name);
                }
            }
        }
        if let Some(name) = self.marks_order.pop_front() {
            if self.marks.get(&name).is_some_and(|drop| *drop <= now_ms) {
                self.marks.remove(&name);
            } else {
                self.marks_order.push_back(name);
            }
        }
    }
}
