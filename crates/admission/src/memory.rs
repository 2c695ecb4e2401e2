//! The store of a single ingress: everything in this process. Pure: time comes as an argument, and whoever calls it holds the lock.
//!
//! What it holds is bounded by what is in flight ([`OPEN_MAX`]), by what was used within each meter's window, and by the periods that have
//! not ended. Meters that are empty are forgotten a few at a time by the operations that make new ones.

use crate::{
    error::Error,
    ledger::{Applied, Ledger},
    plan::{Reservation, Settlement, Take},
    snapshot::{KEPT_WINDOW_MIN_MS, SNAPSHOT_VERSION, Snapshot},
    verdict::{Done, RateReading, Reading, fund_fits, hold_fits},
    window::{Window, bucket, counted},
};
use std::collections::{BTreeSet, HashMap, VecDeque};
use uuid::Uuid;

/// Requests in flight at once.
pub(crate) const OPEN_MAX: usize = 1 << 20;

/// One rate meter.
#[derive(Debug)]
struct Meter {
    window_ms: i64,
    window: Window,
}

/// A reservation in flight.
#[derive(Debug)]
struct Open {
    reservation: Reservation,
    at_ms: i64,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    ready: bool,
    meters: HashMap<String, Meter>,
    /// Every meter once, in the order in which they are looked at again.
    meter_order: VecDeque<String>,
    held: HashMap<String, u64>,
    reserved: HashMap<String, u64>,
    open: HashMap<Uuid, Open>,
    expiries: BTreeSet<(i64, Uuid)>,
    ledger: Ledger,
}

impl Memory {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All of a reservation or nothing.
    pub(crate) fn admit(&mut self, reservation: &Reservation, now_ms: i64) -> Result<Reading, Error> {
        if !self.ready {
            return Err(Error::Rebuilding);
        }
        self.expire(now_ms);
        let nothing = Reading { done: Done::Repeated, rates: Vec::new(), holds: Vec::new(), funds: Vec::new() };
        if self.open.contains_key(&reservation.id) || self.ledger.is_settled(reservation.id, now_ms) {
            return Ok(nothing);
        }
        if self.open.len() >= OPEN_MAX {
            return Err(Error::Full);
        }
        let mut reading = self.read(reservation, now_ms);
        let holds = reservation.holds.iter().zip(&reading.holds).all(|(hold, held)| hold_fits(hold, *held));
        let mut funds = reservation.funds.iter().zip(&reading.funds);
        let funds = funds.all(|(fund, (spent, reserved))| fund_fits(fund, *spent, *reserved, reservation.nano));
        if holds && funds && reading.rates.iter().all(|rate| rate.wait_ms == Some(0)) {
            self.take(reservation, now_ms, now_ms);
            reading.done = Done::Taken;
            reading.rates = reservation.rates.iter().map(|take| self.rate(take, now_ms)).collect();
        }
        Ok(reading)
    }

    fn read(&mut self, reservation: &Reservation, now_ms: i64) -> Reading {
        let count = |map: &HashMap<String, u64>, name: &str| map.get(name).copied().unwrap_or(0);
        Reading {
            done: Done::Refused,
            rates: reservation.rates.iter().map(|take| self.rate(take, now_ms)).collect(),
            holds: reservation.holds.iter().map(|hold| count(&self.held, &hold.meter)).collect(),
            funds: reservation
                .funds
                .iter()
                .map(|fund| (self.ledger.spent(&fund.counter), count(&self.reserved, &fund.dimension)))
                .collect(),
        }
    }

    fn rate(&mut self, take: &Take, now_ms: i64) -> RateReading {
        let free = RateReading { used: 0, wait_ms: (take.amount <= take.limit).then_some(0), reset_ms: 0 };
        self.meters.get_mut(&take.meter).map_or(free, |meter| {
            meter.window.trim(now_ms, take.window_ms);
            RateReading {
                used: meter.window.used(),
                wait_ms: meter.window.wait_ms(take.amount, take.limit, now_ms, take.window_ms),
                reset_ms: meter.window.reset_ms(now_ms, take.window_ms),
            }
        })
    }

    /// Takes without asking. `at_ms` is when it was admitted.
    fn take(&mut self, reservation: &Reservation, at_ms: i64, now_ms: i64) {
        for take in &reservation.rates {
            self.add(take, bucket(at_ms, take.window_ms), take.amount);
        }
        for hold in &reservation.holds {
            *self.held.entry(hold.meter.clone()).or_default() += 1;
        }
        for dimension in reservation.dimensions.iter().filter(|_| reservation.nano > 0) {
            *self.reserved.entry(dimension.clone()).or_default() += reservation.nano;
        }
        self.expiries.insert((reservation.expires_ms, reservation.id));
        self.open.insert(reservation.id, Open { reservation: reservation.clone(), at_ms });
        self.sweep(reservation.rates.len() + 1, now_ms);
    }

    fn add(&mut self, take: &Take, bucket: i64, amount: u64) {
        if amount == 0 {
            return;
        }
        if let Some(meter) = self.meters.get_mut(&take.meter) {
            meter.window.add(bucket, amount);
            return;
        }
        let mut window = Window::default();
        window.add(bucket, amount);
        self.meters.insert(take.meter.clone(), Meter { window_ms: take.window_ms, window });
        self.meter_order.push_back(take.meter.clone());
    }

    /// Looks at `count` meters and forgets the empty ones: as many as an admission can make, so they do not pile up.
    fn sweep(&mut self, count: usize, now_ms: i64) {
        for _ in 0..count.min(self.meter_order.len()) {
            let Some(name) = self.meter_order.pop_front() else { return };
            let is_empty = self.meters.get_mut(&name).is_none_or(|meter| {
                meter.window.trim(now_ms, meter.window_ms);
                meter.window.is_empty()
            });
            if is_empty {
                self.meters.remove(&name);
            } else {
                self.meter_order.push_back(name);
            }
        }
    }

    /// Frees the places and the money of reservations that nobody settled. What they took of rates was used as far as anybody knows.
    fn expire(&mut self, now_ms: i64) {
        while let Some((expires_ms, id)) = self.expiries.first().copied()
            && expires_ms <= now_ms
        {
            self.close(id);
        }
    }

    /// Removes a reservation, with its places and its money.
    fn close(&mut self, id: Uuid) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.expiries.remove(&(open.reservation.expires_ms, id));
        for hold in &open.reservation.holds {
            lower(&mut self.held, &hold.meter, 1);
        }
        for dimension in open.reservation.dimensions.iter().filter(|_| open.reservation.nano > 0) {
            lower(&mut self.reserved, dimension, open.reservation.nano);
        }
        Some(open)
    }

    /// Counts what a request used, and gives back what it did not.
    pub(crate) fn settle(&mut self, settlement: &Settlement, now_ms: i64) -> Applied {
        self.expire(now_ms);
        let applied = self.ledger.apply(settlement, now_ms);
        if !matches!(applied, Applied::Counted(_)) {
            return applied;
        }
        match self.close(settlement.id) {
            Some(open) => {
                for take in &open.reservation.rates {
                    let actual = take.actual(settlement);
                    if let Some(meter) = self.meters.get_mut(&take.meter) {
                        let at = bucket(open.at_ms, take.window_ms);
                        meter.window.give_back(at, take.amount.saturating_sub(actual));
                    }
                    // What was not foreseen is known only now; where the request began may no longer count.
                    self.add(take, bucket(now_ms, take.window_ms), actual.saturating_sub(take.amount));
                }
            }
            None if !self.ready => {
                for take in &settlement.rates {
                    let at = bucket(settlement.accepted_ms, take.window_ms);
                    if counted(now_ms, take.window_ms).contains(&at) {
                        self.add(take, at, take.actual(settlement));
                    }
                }
                self.sweep(settlement.rates.len() + 1, now_ms);
            }
            None => {}
        }
        applied
    }

    /// Gives everything back: the request was not published after all.
    pub(crate) fn release(&mut self, id: Uuid, now_ms: i64) {
        self.expire(now_ms);
        if let Some(open) = self.close(id) {
            for take in &open.reservation.rates {
                if let Some(meter) = self.meters.get_mut(&take.meter) {
                    meter.window.give_back(bucket(open.at_ms, take.window_ms), take.amount);
                }
            }
        }
    }

    /// Takes what a request that is still open was admitted with. Nothing if it is known, settled or expired.
    pub(crate) fn reopen(&mut self, reservation: &Reservation, at_ms: i64, now_ms: i64) {
        let known = self.open.contains_key(&reservation.id) || self.ledger.is_settled(reservation.id, now_ms);
        if !known && reservation.expires_ms > now_ms && self.open.len() < OPEN_MAX {
            self.take(reservation, at_ms, now_ms);
        }
    }

    pub(crate) fn snapshot(&self, now_ms: i64) -> Snapshot {
        let windows = self.meters.iter().filter(|(_, meter)| meter.window_ms >= KEPT_WINDOW_MIN_MS);
        Snapshot {
            version: SNAPSHOT_VERSION,
            at_ms: now_ms,
            offsets: self.ledger.offsets.clone(),
            spend: self.ledger.spend.iter().map(|(name, spent)| (name.clone(), spent.nano, spent.drop_ms)).collect(),
            marks: self.ledger.marks.iter().map(|(name, drop)| (name.clone(), *drop)).collect(),
            settled: self.ledger.settled.iter().map(|(id, drop)| (*id, *drop)).collect(),
            windows: windows
                .map(|(name, meter)| (name.clone(), meter.window_ms, meter.window.buckets().collect()))
                .collect(),
            open: self.open.values().map(|open| (open.at_ms, open.reservation.clone())).collect(),
        }
    }

    /// Begins anew from a snapshot; not ready until [`Self::set_ready`].
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, now_ms: i64) {
        *self = Self::default();
        self.ledger.offsets.clone_from(&snapshot.offsets);
        for (counter, nano, drop_ms) in snapshot.spend.iter().filter(|(_, _, drop_ms)| *drop_ms > now_ms) {
            self.ledger.add(counter, *nano, *drop_ms);
        }
        for (mark, drop_ms) in snapshot.marks.iter().filter(|(_, drop_ms)| *drop_ms > now_ms) {
            self.ledger.mark(mark.clone(), *drop_ms);
        }
        let mut settled: Vec<_> = snapshot.settled.iter().collect();
        settled.sort_unstable_by_key(|(_, drop_ms)| *drop_ms);
        for (id, drop_ms) in settled {
            self.ledger.remember(*id, *drop_ms);
        }
        for (at_ms, reservation) in &snapshot.open {
            self.reopen(reservation, *at_ms, now_ms);
        }
        // After the open ones: their share of these windows is in the snapshot.
        for (name, window_ms, buckets) in &snapshot.windows {
            let mut window = Window::default();
            buckets.iter().for_each(|(bucket, amount)| window.add(*bucket, *amount));
            window.trim(now_ms, *window_ms);
            if self.meters.insert(name.clone(), Meter { window_ms: *window_ms, window }).is_none() {
                self.meter_order.push_back(name.clone());
            }
        }
    }
}

fn lower(map: &mut HashMap<String, u64>, name: &str, by: u64) {
    if let Some(count) = map.get_mut(name) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            map.remove(name);
        }
    }
}
#[cfg(test)]
mod tests;
