//! A reader on a mock cluster.

use super::*;
use crate::{
    Headers, Outgoing, Producer, Profile, TopicName,
    producer::Ack,
    testing::{Kafka, PATIENCE},
};

fn record(partition: i32, payload: Vec<u8>) -> Outgoing {
    Outgoing {
        topic: TopicName::Full("t.log".to_owned()),
        partition: Some(partition),
        key: None,
        headers: Headers::default(),
        payload,
        is_tombstone: false,
        relaxed: false,
    }
}

async fn produce(producer: &Producer, payload: Vec<u8>) {
    producer.send_acked(record(0, payload)).await.expect("taken");
}

fn reader(bus: &Bus, stop: &CancellationToken) -> Ordered {
    bus.ordered("readers", "t.log", OnMissing::Oldest, stop.clone()).expect("a reader")
}

/// The next event but for the assignment, after which it goes on where the group was.
async fn next(ordered: &mut Ordered) -> Event {
    loop {
        match tokio::time::timeout(PATIENCE, ordered.next()).await.expect("an event").expect("it reads") {
            Event::Assigned(partition) => ordered.control().start(partition, None),
            event => return event,
        }
    }
}

/// Reads the one record there is and commits it; done when that is taken.
async fn read_and_commit(bus: &Bus) {
    let stop = CancellationToken::new();
    let mut ordered = reader(bus, &stop);
    match next(&mut ordered).await {
        Event::Record(record) => ordered.control().commit(record.partition, record.offset + 1),
        other => panic!("{other:?}"),
    }
    let bus = bus.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let progress = bus.progress("readers", "log").expect("its end");
        while !progress.is_done().expect("an answer") {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    tokio::time::timeout(PATIENCE, asked).await.expect("it is committed").expect("no panic");
    stop.cancel();
    ordered.stopped().await.expect("a good end");
}

/// Nothing follows on a partition that is quiet: the commit that was refused is sent again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_is_sent_again() {
    let kafka = Kafka::start(&[("t.log", 1)]);
    let bus = kafka.bus();
    produce(&bus.producer(Profile::Interactive).expect("a producer"), b"a line".to_vec()).await;
    kafka.refuse_commits(2);
    read_and_commit(&bus).await;
}

/// Found by reading: a reader that was away for longer than the topic's retention went on behind the gap without a word.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_it_was_read_is_told_of() {
    let kafka = Kafka::start(&[("t.log", 1)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    produce(&producer, b"a line".to_vec()).await;
    read_and_commit(&bus).await;
    // The mock cluster keeps 5 MiB of a partition.
    for _ in 0..8 {
        produce(&producer, vec![b'x'; 1 << 20]).await;
    }
    let stop = CancellationToken::new();
    let mut ordered = reader(&bus, &stop);
    let Event::Missing { partition: 0, count } = next(&mut ordered).await else { panic!("it is told of first") };
    let Event::Record(record) = next(&mut ordered).await else { panic!("then it goes on") };
    assert!(count > 0);
    assert_eq!(record.offset, 1 + i64::try_from(count).expect("a few"));
    stop.cancel();
    ordered.stopped().await.expect("a good end");
}

/// Reads on until this partition's last record has come.
async fn until_last(ordered: &mut Ordered, partition: i32) {
    loop {
        match next(ordered).await {
            Event::Record(record) if record.partition == partition && record.value == b"last" => return,
            _ => {}
        }
    }
}

/// Found by reading: see the test of the same name in `work/tests.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_full_when_it_left_is_read_when_it_comes_back() {
    let kafka = Kafka::start(&[("t.log", 2)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let (stop, leave) = (CancellationToken::new(), CancellationToken::new());
    let mut first = reader(&bus, &stop);
    for partition in [0, 1] {
        // What comes first begins the reading.
        let Some(Event::Assigned(assigned)) = first.next().await else { panic!("assignments come first") };
        first.control().start(assigned, None);
        for _ in 0..MAX_RECORDS {
            producer.send(record(partition, b"a line".to_vec()), Ack::None).await.expect("a place in the queue");
        }
        producer.send_acked(record(partition, b"last".to_vec())).await.expect("taken");
    }
    while first.events.len() < MAX_RECORDS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut second = reader(&bus, &leave);
    let leaving = loop {
        // Which one is revoked stands behind all that was read.
        [0, 1].into_iter().for_each(|partition| first.control().release(partition));
        let waited = tokio::time::timeout(Duration::from_millis(10), second.next()).await;
        if let Ok(Some(Event::Assigned(partition))) = waited {
            break partition;
        }
    };
    second.control().start(leaving, None);
    until_last(&mut first, 1 - leaving).await;
    leave.cancel();
    second.stopped().await.expect("a good end");
    until_last(&mut first, leaving).await;
    stop.cancel();
    first.stopped().await.expect("a good end");
}
