//! Members of a group on a mock cluster.

use super::*;
use crate::{
    DeadLetter, Headers, Outgoing, Profile, RawValueBytes, TopicName,
    dead_letters::Dead,
    producer::Ack,
    testing::{Kafka, PATIENCE, read},
};
use std::{collections::BTreeSet, sync::Mutex};

const TOPIC: &str = "t.work";
const DEAD: &str = "t.dead-letters";
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

/// Causes these records.
struct Causing(Vec<Outgoing>);

impl Handler<RawValueBytes> for Causing {
    async fn handle(&self, _: Incoming<RawValueBytes>, _: Emitter) -> Outcome {
        Outcome::emit(self.0.clone())
    }

    fn poisoned(&self, _: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        panic!("what this caused is its end")
    }
}

fn to(topic: TopicName) -> Outgoing {
    Outgoing { topic, partition: None, ..record(0) }
}

/// The error with which a consumer ends that causes this and cannot.
async fn failure_of(out: Outgoing) -> Error {
    let kafka = Kafka::start(&[(TOPIC, PARTITIONS), (DEAD, 1)]);
    kafka.close_topic("t.usage");
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let options = Options::new("work", vec![TOPIC.to_owned()]);
    let causing = Arc::new(Causing(vec![out]));
    let running = bus.consume::<RawValueBytes, _>(options, producer.clone(), causing, CancellationToken::new());
    producer.send_acked(record(0)).await.expect("taken");
    let ended = tokio::time::timeout(PATIENCE, running.expect("a consumer").stopped()).await;
    ended.expect("an end").expect_err("a failure")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_effects_fail_ends_with_an_error() {
    assert!(matches!(failure_of(record(PARTITIONS)).await, Error::NotAcknowledged { .. }));
    let ours = to(TopicName::Internal("usage"));
    assert!(matches!(failure_of(ours).await, Error::Refused { topic, .. } if topic == "t.usage"));
}

/// Found by reading: one team's topic that was deleted, or closed to the gateway, ended the service for all, and the next start
/// met the same record again. The first line is refused once the broker has been asked, the others at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_teams_topic_that_takes_no_record_costs_that_line_alone() {
    let kafka = Kafka::start(&[(TOPIC, PARTITIONS), (DEAD, 1), ("t.replies", 1)]);
    kafka.close_topic("t.out.search");
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let stop = CancellationToken::new();
    let options = Options { fetch_wait: Duration::from_millis(10), ..Options::new("work", vec![TOPIC.to_owned()]) };
    let effects = vec![to(TopicName::Full("t.out.search".to_owned())), to(TopicName::Internal("replies"))];
    let causing = Arc::new(Causing(effects));
    let running = bus.consume::<RawValueBytes, _>(options, producer.clone(), causing, stop.clone());
    for done in 1..=3 {
        producer.send_acked(record(0)).await.expect("taken");
        let bus = bus.clone();
        let there = tokio::task::spawn_blocking(move || {
            while read(&bus, DEAD).len() < done {
                std::thread::sleep(Duration::from_millis(10));
            }
            (read(&bus, DEAD), read(&bus, "t.replies").len())
        });
        let (dead, replies) = tokio::time::timeout(PATIENCE, there).await.expect("dead letters").expect("no panic");
        assert_eq!((dead.len(), replies), (done, done));
        let dead = Dead::from_record(dead.into_iter().next_back().expect("one"));
        assert_eq!((dead.stage(), dead.value()), (Some("produce"), b"work".as_slice()));
        assert!(dead.reason().is_some_and(|reason| reason.contains("topic t.out.search does not take a record")));
    }
    stop.cancel();
    running.expect("a consumer").stopped().await.expect("a good end");
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
