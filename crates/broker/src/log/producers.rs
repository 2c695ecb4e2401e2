//! What each idempotent producer last wrote to a partition, so that a batch sent twice is kept once (KIP-98). The rules are
//! those of Apache Kafka's brokers: any first sequence of an unknown producer is accepted (no state, no check: since 2.5), a
//! new epoch begins at sequence 0, one of the last five batches is answered as a duplicate. Not here: transactions.

use super::{append::AppendError, batch::Header};
use bytes::{Buf, BufMut};
use std::collections::HashMap;

/// Batches remembered for each producer; clients have at most so many under way.
const BATCHES: usize = 5;
/// Producers remembered for each partition. The one that was silent longest goes first.
const PRODUCERS: usize = 10_000;
/// A producer that was silent for so long is forgotten (`producer.id.expiration.ms` in Apache Kafka).
const IDLE_MS: i64 = 24 * 60 * 60 * 1_000;
const PRODUCER_BYTES: usize = 19;
const BATCH_BYTES: usize = 24;

/// A batch of a producer that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    first_sequence: i32,
    last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    seen_ms: i64,
    /// The oldest first; only `kept` of them.
    batches: [Written; BATCHES],
    kept: u8,
}

impl Producer {
    fn batches(&self) -> &[Written] {
        &self.batches[..usize::from(self.kept)]
    }

    fn is_idle(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.seen_ms) > IDLE_MS
    }
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Producers(HashMap<i64, Producer>);

impl Producers {
    /// Whether the batch may be appended; the one it repeats, if it is in the log already.
    pub(crate) fn check(&self, batch: &Header, now_ms: i64) -> Result<Option<Written>, AppendError> {
        if batch.producer_id < 0 {
            return Ok(None);
        }
        let Some(known) = self.0.get(&batch.producer_id).filter(|known| !known.is_idle(now_ms)) else {
            return Ok(None);
        };
        if batch.producer_epoch < known.epoch {
            return Err(AppendError::OldProducerEpoch);
        }
        if batch.producer_epoch > known.epoch {
            return if batch.base_sequence == 0 { Ok(None) } else { Err(AppendError::OutOfOrderSequence) };
        }
        let same =
            |old: &&Written| (old.first_sequence, old.last_sequence) == (batch.base_sequence, batch.last_sequence());
        if let Some(old) = known.batches().iter().find(same) {
            return Ok(Some(*old));
        }
        match known.batches().last() {
            Some(last) if last.last_sequence.wrapping_add(1) & i32::MAX != batch.base_sequence => {
                Err(AppendError::OutOfOrderSequence)
            }
            _ => Ok(None),
        }
    }

    /// Remembers a batch that is in the log now.
    pub(crate) fn record(&mut self, batch: &Header, seen_ms: i64) {
        if batch.producer_id < 0 {
            return;
        }
        if self.0.len() >= PRODUCERS && !self.0.contains_key(&batch.producer_id) {
            let oldest = self.0.iter().min_by_key(|(_, producer)| producer.seen_ms).map(|(&id, _)| id);
            oldest.and_then(|id| self.0.remove(&id));
        }
        let fresh = Producer { epoch: batch.producer_epoch, seen_ms, batches: Default::default(), kept: 0 };
        let producer = self.0.entry(batch.producer_id).or_insert_with(|| fresh.clone());
        // State left from before a silence must not vouch for a sequence that the check did not compare with it.
        let follows = producer.batches().last().is_none_or(|last| {
            producer.epoch == batch.producer_epoch
                && last.last_sequence.wrapping_add(1) & i32::MAX == batch.base_sequence
        });
        if !follows {
            *producer = fresh;
        }
        producer.seen_ms = seen_ms;
        if usize::from(producer.kept) == BATCHES {
            producer.batches.rotate_left(1);
        } else {
            producer.kept += 1;
        }
        producer.batches[usize::from(producer.kept) - 1] = Written {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            timestamp: batch.max_timestamp,
        };
    }

    /// Forgets those that were silent for a day.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.0.retain(|_, producer| !producer.is_idle(now_ms));
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * (PRODUCER_BYTES + BATCHES * BATCH_BYTES));
        for (id, producer) in &self.0 {
            bytes.put_i64(*id);
            bytes.put_i16(producer.epoch);
            bytes.put_i64(producer.seen_ms);
            bytes.put_u8(producer.kept);
            for batch in producer.batches() {
                bytes.put_i32(batch.first_sequence);
                bytes.put_i32(batch.last_sequence);
                bytes.put_i64(batch.base_offset);
                bytes.put_i64(batch.timestamp);
            }
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut producers = HashMap::new();
        while bytes.has_remaining() {
            if bytes.len() < PRODUCER_BYTES {
                return None;
            }
            let (id, epoch, seen_ms, kept) = (bytes.get_i64(), bytes.get_i16(), bytes.get_i64(), bytes.get_u8());
            if usize::from(kept) > BATCHES || bytes.len() < usize::from(kept) * BATCH_BYTES {
                return None;
            }
            let mut producer = Producer { epoch, seen_ms, batches: Default::default(), kept };
            for batch in &mut producer.batches[..usize::from(kept)] {
                (batch.first_sequence, batch.last_sequence) = (bytes.get_i32(), bytes.get_i32());
                (batch.base_offset, batch.timestamp) = (bytes.get_i64(), bytes.get_i64());
            }
            producers.insert(id, producer);
        }
        Some(Self(producers))
    }
}
