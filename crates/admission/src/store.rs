//! A store of counters, wherever it is: in this process or in Valkey.

use crate::{
    error::Error,
    ledger::Applied,
    memory::Memory,
    plan::{Alert, Reservation, Settlement},
    snapshot::Snapshot,
    valkey::{Begun, Valkey},
    verdict::Decision,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// What [`Store::restore`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// The store has lost nothing: read `usage` on from the snapshot's offsets as ever.
    Ready,
    /// This replica brings it up to date, and then calls [`Store::caught_up`].
    Mine,
    /// Another replica does. Restore again a little later, until it is ready.
    Elsewhere,
}

/// Counters of limits and spend. Every method may be called from any task; none waits for another for long.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Memory(Mutex<Memory>),
    /// The second is this replica's own copy of what the usage rows say: what an emptied Valkey is filled from.
    Valkey(Box<Valkey>, Mutex<Memory>),
}

impl Store {
    /// A store in this process.
    pub fn memory() -> Self {
        Self { backend: Backend::Memory(Mutex::default()) }
    }

    /// The store that `admission.store` names: `memory`, `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`. `gateway` keeps
    /// installations apart that share a server. Does not connect yet; must be called on a Tokio runtime.
    pub fn open(address: &str, gateway: &str) -> Result<Self, Error> {
        if address == "memory" {
            return Ok(Self::memory());
        }
        let valkey = Valkey::open(address, gateway)?;
        Ok(Self { backend: Backend::Valkey(Box::new(valkey), Mutex::default()) })
    }

    /// Valkey goes by the time that callers give instead of its own: for tests that bring their own time.
    #[must_use]
    pub fn with_callers_clock(mut self) -> Self {
        if let Backend::Valkey(valkey, _) = &mut self.backend {
            valkey.use_callers_clock();
        }
        self
    }

    /// Takes all of a reservation or nothing. An error means the store is down: `admission.on_store_failure` decides.
    pub async fn admit(&self, reservation: &Reservation, now_ms: i64) -> Result<Decision, Error> {
        let reading = match &self.backend {
            Backend::Memory(memory) => lock(memory).admit(reservation, now_ms)?,
            Backend::Valkey(valkey, _) => valkey.admit(reservation, now_ms).await?,
        };
        Ok(reading.decision(reservation))
    }

    /// Counts what a request used, once per id, also after its reservation expired; tells the thresholds that were reached.
    ///
    /// Rows of one partition must come in order, each after the one before has been settled: on an error hand in the same row
    /// again, on [`Error::Gap`] read on from the offset it names.
    pub async fn settle(&self, settlement: &Settlement, now_ms: i64) -> Result<Vec<Alert>, Error> {
        let (applied, own) = match &self.backend {
            Backend::Memory(memory) => (lock(memory).settle(settlement, now_ms), None),
            Backend::Valkey(valkey, own) => (valkey.settle(settlement, now_ms).await?, Some(own)),
        };
        let alerts = match applied {
            Applied::Counted(alerts) => alerts,
            Applied::Already => Vec::new(),
            Applied::Gap(counted) => {
                let partition = settlement.source.map_or(0, |source| source.partition);
                return Err(Error::Gap { partition, counted });
            }
        };
        if let Some(own) = own.filter(|_| settlement.source.is_some()) {
            // Whoever counted it in Valkey, this replica has read it.
            lock(own).settle(settlement, now_ms);
        }
        Ok(alerts)
    }

    /// Gives everything back: an admitted request that was not published after all.
    pub async fn release(&self, id: Uuid, now_ms: i64) -> Result<(), Error> {
        match &self.backend {
            Backend::Memory(memory) => lock(memory).release(id, now_ms),
            Backend::Valkey(valkey, _) => valkey.release(id, now_ms).await?,
        }
        Ok(())
    }

    /// Whether it answers and has its counters.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        match &self.backend {
            Backend::Memory(memory) => Ok(lock(memory).is_ready()),
            Backend::Valkey(valkey, _) => valkey.is_ready().await,
        }
    }

    /// Begins from a snapshot (the newest one in storage; [`Snapshot::default`] if there is none; [`Self::snapshot`] if Valkey came
    /// back empty). Then hand in the usage rows since its offsets, reopen what is open, and call [`Self::caught_up`].
    pub async fn restore(&self, snapshot: &Snapshot, now_ms: i64) -> Result<Restored, Error> {
        match &self.backend {
            Backend::Memory(memory) => {
                lock(memory).restore(snapshot, now_ms);
                Ok(Restored::Mine)
            }
            Backend::Valkey(valkey, own) => {
                lock(own).restore(snapshot, now_ms);
                match valkey.begin().await? {
                    Begun::Ready => return Ok(Restored::Ready),
                    Begun::Elsewhere => return Ok(Restored::Elsewhere),
                    Begun::Mine => valkey.restore(snapshot, now_ms).await?,
                }
                Ok(Restored::Mine)
            }
        }
    }

    /// Takes what a request that is still open was admitted with at `at_ms`; nothing if the store knows it, settled or not.
    pub async fn reopen(&self, reservation: &Reservation, at_ms: i64, now_ms: i64) -> Result<(), Error> {
        match &self.backend {
            Backend::Memory(memory) => lock(memory).reopen(reservation, at_ms, now_ms),
            Backend::Valkey(valkey, _) => valkey.reopen(reservation, at_ms, now_ms).await?,
        }
        Ok(())
    }

    /// Everything was handed in: the store serves. `false` if this took so long that another replica has begun it anew.
    pub async fn caught_up(&self, now_ms: i64) -> Result<bool, Error> {
        match &self.backend {
            Backend::Memory(memory) => lock(memory).set_ready(),
            Backend::Valkey(valkey, _) => return valkey.caught_up(now_ms).await,
        }
        Ok(true)
    }

    /// Serves at once with nothing counted: for who has nothing to bring it up to date with. Valkey is left to those who have.
    pub fn begin_anew(&self) {
        if let Backend::Memory(memory) = &self.backend {
            lock(memory).set_ready();
        }
    }

    /// What to keep in storage for the next start, as this replica has read it.
    pub fn snapshot(&self, now_ms: i64) -> Snapshot {
        let (Backend::Memory(memory) | Backend::Valkey(_, memory)) = &self.backend;
        lock(memory).snapshot(now_ms)
    }

    /// US dollars spent, by counter (`team:search@month/2026-11`), as this replica has read it: for the admin API and metrics.
    pub fn spent_usd(&self, counter: &str) -> rust_decimal::Decimal {
        let (Backend::Memory(memory) | Backend::Valkey(_, memory)) = &self.backend;
        crate::money::usd(lock(memory).ledger().spent(counter))
    }
}

/// A panic inside leaves counters that are still numbers.
fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
