//! A reader on a mock cluster.

use super::*;
use crate::{
    Headers, Outgoing, Producer, Profile, TopicName,
    testing::{Kafka, PATIENCE},
};

async fn produce(producer: &Producer, payload: Vec<u8>) {
    let record = Outgoing {
        topic: TopicName::Full("t.log".to_owned()),
        partition: Some(0),
        key: None,
        headers: Headers::default(),
        payload,
        is_tombstone: false,
        relaxed: false,
    };
    producer.send_acked(record).await.expect("taken");
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
