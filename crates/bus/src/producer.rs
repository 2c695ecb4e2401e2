//! Producing: idempotent, `acks=all`, and batched as load asks for.
//!
//! An interactive producer sends in bursts: a lone record goes at once; what comes while a burst is unacknowledged waits and
//! goes together as the next burst. So batches grow with load and with the broker's round trip, and cost one request at a
//! time nothing. Records nobody waits for (usage rows) linger on a producer of their own. See docs/adr/0005. Records that
//! are sent one after the other leave in that order, so a stream's end never overtakes its last chunk.
//!
//! Only a caller's own record ever times out. The producer then drains what is under way and goes on with a new epoch, so
//! the record may have been appended all the same, and others that were under way may be appended twice. Both are what
//! stable ids are for.

mod bursts;

use crate::{Bus, DeadLetter, Error, Incoming, Outgoing, TopicName, dead_letter::Hop, fault, record::RECORD_MAX_BYTES};
use bursts::{Bursts, Offer, Queued};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Which trade a producer makes between latency and CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Somebody waits: send at once, in bursts under load.
    Interactive,
    /// The same for what a caller brings, who can be told to come again: it fails after [`DOOR_TIMEOUT`].
    Door,
    /// Nobody waits: linger 5 ms, compress with zstd.
    Bulk,
}

/// How long the broker may take to acknowledge what a caller brings, before the caller is told.
pub const DOOR_TIMEOUT: Duration = Duration::from_secs(30);

/// Told when a record is acknowledged, or will never be.
pub enum Ack {
    /// Nobody asks; a failure is logged and counted.
    None,
    /// Called if it will never be acknowledged, on librdkafka's thread: must not block. Success wakes nobody.
    OnFailure(Box<dyn FnOnce(Error) + Send + Sync>),
    /// One waiter.
    Once(oneshot::Sender<Result<(), Error>>),
    /// Part of what a consumed record caused, and the internal topic it is for, or `""`.
    Work(Arc<dyn OnAck>, &'static str),
    /// The same for a team's own topic: that it takes no such record ([`Error::Refused`]) is told to the second, and to the first
    /// as if it had been acknowledged.
    Team(Arc<dyn OnAck>, oneshot::Sender<Error>),
}

impl Ack {
    fn tell(self, result: Result<(), Error>) {
        if result.is_err() {
            metrics::counter!("tollgate_kafka_produce_failures_total").increment(1);
        }
        match self {
            Ack::None => {
                if let Err(error) = result {
                    tracing::error!(%error, "a record was lost by the producer");
                }
            }
            Ack::OnFailure(tell) => {
                if let Err(error) = result {
                    tell(error);
                }
            }
            Ack::Once(sender) => drop(sender.send(result)),
            Ack::Work(work, topic) => {
                if result.is_ok() {
                    fault::acknowledged(topic);
                }
                work.acknowledged(result);
            }
            Ack::Team(work, refused) => match result {
                Err(error @ Error::Refused { .. }) => {
                    tracing::error!(%error, "a line for a team's topic is dropped");
                    let _ = refused.send(error);
                    work.acknowledged(Ok(()));
                }
                result => work.acknowledged(result),
            },
        }
    }
}

/// Something that counts acknowledgements.
pub trait OnAck: Send + Sync {
    /// Called once per record, on librdkafka's thread: must not block.
    fn acknowledged(&self, result: Result<(), Error>);
}

/// A cheap handle on a producer.
#[derive(Clone)]
pub struct Producer {
    bus: Bus,
    urgent: Arc<Bursts>,
    relaxed: Arc<Bursts>,
}

impl Bus {
    /// Makes a producer. Connects in the background.
    pub fn producer(&self, profile: Profile) -> Result<Producer, Error> {
        let relaxed = Bursts::start(&self.producer_config("5", "zstd", None), false)?;
        let urgent = match profile {
            Profile::Interactive => Bursts::start(&self.producer_config("0", "none", None), true)?,
            Profile::Door => Bursts::start(&self.producer_config("0", "none", Some(DOOR_TIMEOUT)), true)?,
            Profile::Bulk => relaxed.clone(),
        };
        Ok(Producer { bus: self.clone(), urgent, relaxed })
    }

    fn producer_config(&self, linger_ms: &str, compression: &str, timeout: Option<Duration>) -> rdkafka::ClientConfig {
        // 0 is for ever. The broker may be away for an hour: effects of consumed records wait that long, in a queue that is
        // bounded, and then intake waits too. Giving up would only end the service, whose successor would do the work again.
        let timeout_ms = timeout.map_or(0, |timeout| timeout.as_millis());
        self.config(&[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("linger.ms", linger_ms),
            ("compression.type", compression),
            ("message.max.bytes", &RECORD_MAX_BYTES.to_string()),
            // A connection that has died without a word is found out by this. The default of a minute holds up all that wait for
            // an acknowledgement; asking again on a new one doubles nothing, because the producer is idempotent.
            ("socket.timeout.ms", "15000"),
            ("socket.keepalive.enable", "true"),
            // Bounds memory; a full queue pushes back in `send`.
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "32768"),
            ("message.timeout.ms", &timeout_ms.to_string()),
        ])
    }
}

impl Producer {
    /// Queues a record. Waits while the queue is full; errors at once if the record can never be sent.
    pub async fn send(&self, record: Outgoing, ack: Ack) -> Result<(), Error> {
        let topic = match &record.topic {
            TopicName::Internal(name) => self.bus.full_name(name),
            TopicName::Full(name) => name.clone(),
        };
        if let Some((bytes, max)) = record.over_bound() {
            return Err(Error::TooLarge { topic, bytes, max });
        }
        let bursts = if record.relaxed { &self.relaxed } else { &self.urgent };
        let mut queued = Queued { topic, record, ack };
        loop {
            match bursts.offer(queued) {
                Offer::Taken => return Ok(()),
                Offer::Full(back) => queued = back,
                Offer::Refused(error, ack @ Ack::Team(..)) => {
                    ack.tell(Err(error));
                    return Ok(());
                }
                Offer::Refused(error, _) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Queues a record and waits for its acknowledgement.
    pub async fn send_acked(&self, record: Outgoing) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        self.send(record, Ack::Once(sender)).await?;
        receiver.await.map_err(|_| Error::Stopped("producer".to_owned()))?
    }

    /// Moves a record nobody can process to `dead-letters`, or what fits of it; done when acknowledged.
    pub async fn dead_letter(&self, dead: &Incoming<Vec<u8>>, reason: &DeadLetter) -> Result<(), Error> {
        let hop = Hop { reader: &self.bus.settings().client_id, trace: &dead.trace };
        self.send_acked(reason.record(dead, hop)).await
    }
}

/// Sends records on behalf of one consumed record, whose offset is committed only after all of them are acknowledged.
#[derive(Clone)]
pub struct Emitter {
    producer: Producer,
    work: Arc<dyn CountedAck>,
    leaving: CancellationToken,
}

/// An [`OnAck`] that is told of each record before it is sent.
pub(crate) trait CountedAck: OnAck {
    fn expect_one(&self);
    /// See [`Emitter::bytes`].
    fn bytes(&self) -> usize;
    /// See [`Emitter::release_bytes`].
    fn release_bytes(&self);
    fn as_on_ack(self: Arc<Self>) -> Arc<dyn OnAck>;
}

/// A record that is counted and not sent yet. Whoever gives up sending it counts it off again, or the offset would wait for ever.
struct Expected<'a> {
    work: &'a dyn CountedAck,
    is_sent: bool,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.work.acknowledged(Ok(()));
        }
    }
}

impl Emitter {
    pub(crate) fn new(producer: Producer, work: Arc<dyn CountedAck>, leaving: CancellationToken) -> Self {
        Self { producer, work, leaving }
    }

    /// Cancelled when the record's partition is to be given back, or the service stops: a handler that only waits hands the
    /// record back then, one that works goes on and has the drain time for it.
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// What the record takes of its consumer's bytes in flight: value, key and headers; nothing once they are let go of.
    pub fn bytes(&self) -> usize {
        self.work.bytes()
    }

    /// Lets go of the record's value: it is not counted any more in the bytes in flight, for a handler that has dropped its
    /// own copy and only waits. The record still counts as one in flight. If it dies after this, its dead letter has no value
    /// but says where the original stands. More than once is once.
    pub fn release_bytes(&self) {
        self.work.release_bytes();
    }

    /// Queues a record; see [`Producer::send`]. Dropped before it is queued, it is not sent.
    pub async fn send(&self, record: Outgoing) -> Result<(), Error> {
        let topic = if let TopicName::Internal(name) = &record.topic { name } else { "" };
        let ack = Ack::Work(self.work.clone().as_on_ack(), topic);
        self.send_counted(record, ack).await
    }

    /// The same, but that a team's own topic takes no such record ([`Error::Refused`]) is no failure of the consumed record:
    /// no restart mends it, and it must not hold up the other teams. It is told to the receiver, which hears nothing otherwise.
    pub(crate) async fn send_effect(&self, record: Outgoing) -> Result<Option<oneshot::Receiver<Error>>, Error> {
        if let TopicName::Internal(_) = &record.topic {
            return self.send(record).await.map(|()| None);
        }
        let (sender, refused) = oneshot::channel();
        let ack = Ack::Team(self.work.clone().as_on_ack(), sender);
        self.send_counted(record, ack).await.map(|()| Some(refused))
    }

    async fn send_counted(&self, record: Outgoing, ack: Ack) -> Result<(), Error> {
        self.work.expect_one();
        let mut expected = Expected { work: &*self.work, is_sent: false };
        let sent = self.producer.send(record, ack).await;
        expected.is_sent = true;
        // `send` dropped the acknowledgement; count it here, or the offset would wait for ever.
        match &sent {
            Ok(()) => {}
            // No restart would make it smaller: the caller has to do something else with the record.
            Err(Error::TooLarge { .. }) => self.work.acknowledged(Ok(())),
            Err(error) => {
                let reason = error.to_string();
                self.work.acknowledged(Err(Error::NotAcknowledged { topic: String::new(), reason }));
            }
        }
        sent
    }
}
