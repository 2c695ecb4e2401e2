//! A reader on a mock cluster.

use super::*;
use crate::{
    Headers, Outgoing, Profile, TopicName,
    testing::{Kafka, PATIENCE},
};

/// Nothing follows on a partition that is quiet: the commit that was refused is sent again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_is_sent_again() {
    let kafka = Kafka::start(&[("t.log", 1)]);
    let bus = kafka.bus();
    let record = Outgoing {
        topic: TopicName::Full("t.log".to_owned()),
        partition: Some(0),
        key: None,
        headers: Headers::default(),
        payload: b"a line".to_vec(),
        is_tombstone: false,
        relaxed: false,
    };
    bus.producer(Profile::Interactive).expect("a producer").send_acked(record).await.expect("taken");
    kafka.refuse_commits(2);
    let stop = CancellationToken::new();
    let mut ordered = bus.ordered("readers", "t.log", OnMissing::Oldest, stop.clone()).expect("a reader");
    loop {
        match tokio::time::timeout(PATIENCE, ordered.next()).await.expect("an event").expect("it reads") {
            Event::Assigned(partition) => ordered.control().start(partition, None),
            Event::Record(record) => break ordered.control().commit(record.partition, record.offset + 1),
            other => panic!("{other:?}"),
        }
    }
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
