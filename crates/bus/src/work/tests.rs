//! Members of a group on a mock cluster.

use super::*;
use crate::{
    Headers, Outgoing, Profile, RawValueBytes, TopicName,
    producer::Ack,
    testing::{Kafka, PATIENCE},
};
use std::{collections::BTreeSet, sync::Mutex};

const TOPIC: &str = "t.work";
const PARTITIONS: i32 = 4;

/// Notes the partitions that it was handed records of.
#[derive(Default)]
struct Noted(Mutex<BTreeSet<i32>>);

impl Noted {
    fn clear(&self) {
        self.0.lock().expect("no panic").clear();
    }

    async fn until(&self, partitions: usize) {
        let there = async {
            while self.0.lock().expect("no panic").len() < partitions {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("records of these partitions");
    }
}

impl Handler<RawValueBytes> for Noted {
    async fn handle(&self, record: Incoming<RawValueBytes>, _: Emitter) -> Outcome {
        self.0.lock().expect("no panic").insert(record.partition);
        Outcome::default()
    }
}

/// A record for a partition.
fn record(partition: i32) -> Outgoing {
    Outgoing {
        topic: TopicName::Full(TOPIC.to_owned()),
        partition: Some(partition),
        key: None,
        headers: Headers::default(),
        payload: b"work".to_vec(),
        is_tombstone: false,
        relaxed: false,
    }
}

/// Gives each partition a record every other millisecond.
async fn load(producer: Producer, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for partition in 0..PARTITIONS {
            producer.send(record(partition), Ack::None).await.expect("a place in the queue");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The drain is long, so whoever waited for its end would never give anything back. What exactly a member waits for is decided,
/// and tested, in `held.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_gets_its_share_while_all_partitions_are_busy() {
    let kafka = Kafka::start(&[(TOPIC, PARTITIONS)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let (stop, stop_load) = (CancellationToken::new(), CancellationToken::new());
    let member = |noted: &Arc<Noted>| {
        let options = Options {
            drain_timeout: 10 * PATIENCE,
            fetch_wait: Duration::from_millis(10),
            ..Options::new("work", vec![TOPIC.to_owned()])
        };
        bus.consume::<RawValueBytes, _>(options, producer.clone(), noted.clone(), stop.clone()).expect("a consumer")
    };
    let (one, two) = (Arc::<Noted>::default(), Arc::<Noted>::default());
    let first = member(&one);
    let mut loading = tokio::task::JoinSet::new();
    loading.spawn(load(producer.clone(), stop_load.clone()));
    one.until(4).await;
    kafka.round_trip(Duration::from_millis(20));
    let second = member(&two);
    two.until(2).await;
    one.clear();
    one.until(2).await;
    stop_load.cancel();
    loading.join_next().await.expect("a load").expect("no panic");
    stop.cancel();
    for running in [first, second] {
        running.stopped().await.expect("a good end");
    }
}

/// Causes a record that no broker takes.
struct Failing;

impl Handler<RawValueBytes> for Failing {
    async fn handle(&self, _: Incoming<RawValueBytes>, _: Emitter) -> Outcome {
        Outcome::emit(vec![record(PARTITIONS)])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_effects_fail_ends_with_an_error() {
    let kafka = Kafka::start(&[(TOPIC, PARTITIONS)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let options = Options::new("work", vec![TOPIC.to_owned()]);
    let running =
        bus.consume::<RawValueBytes, _>(options, producer.clone(), Arc::new(Failing), CancellationToken::new());
    producer.send_acked(record(0)).await.expect("taken");
    let ended = tokio::time::timeout(PATIENCE, running.expect("a consumer").stopped()).await;
    assert!(matches!(ended.expect("an end"), Err(Error::NotAcknowledged { .. })));
}

/// Notes like [`Noted`], and holds each record until it is told to go on.
#[derive(Default)]
struct Holding {
    noted: Noted,
    go_on: CancellationToken,
}

impl Handler<RawValueBytes> for Holding {
    async fn handle(&self, record: Incoming<RawValueBytes>, emitter: Emitter) -> Outcome {
        let outcome = self.noted.handle(record, emitter).await;
        self.go_on.cancelled().await;
        outcome
    }
}

/// Found by reading: librdkafka keeps a partition paused for whoever paused it, over unassignment and assignment, so one that
/// was full when it left was never read again when it came back to the same member.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_full_when_it_left_is_read_when_it_comes_back() {
    let kafka = Kafka::start(&[(TOPIC, PARTITIONS)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let options = Options {
        max_in_flight: 1,
        drain_timeout: Duration::from_millis(10),
        fetch_wait: Duration::from_millis(10),
        ..Options::new("work", vec![TOPIC.to_owned()])
    };
    let one_of_each = async || {
        for partition in 0..PARTITIONS {
            producer.send_acked(record(partition)).await.expect("taken");
        }
    };
    let (stop, leave) = (CancellationToken::new(), CancellationToken::new());
    let (one, two) = (Arc::<Holding>::default(), Arc::<Noted>::default());
    let first = bus.consume::<RawValueBytes, _>(options.clone(), producer.clone(), one.clone(), stop.clone());
    one_of_each().await;
    one.noted.until(4).await;
    let patient = Options { drain_timeout: PATIENCE, ..options };
    let second = bus.consume::<RawValueBytes, _>(patient, producer.clone(), two.clone(), leave.clone());
    two.until(2).await;
    leave.cancel();
    second.expect("a consumer").stopped().await.expect("a good end");
    one.go_on.cancel();
    one.noted.clear();
    one_of_each().await;
    one.noted.until(4).await;
    stop.cancel();
    first.expect("a consumer").stopped().await.expect("a good end");
}
