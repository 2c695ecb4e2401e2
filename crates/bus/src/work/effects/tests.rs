//! One record through its handler on a mock cluster: what becomes of it in `dead-letters`, and when it counts as done.

use super::*;
use crate::{
    Headers, Profile, RawValueBytes, TopicName,
    dead_letters::Dead,
    record::VALUE_MAX_BYTES,
    testing::{Kafka, PATIENCE, incoming, read},
};
use tokio_util::sync::CancellationToken;

const DEAD: &str = "t.dead-letters";
const ENDS: &str = "t.ends";

/// Does what it is told to, and ends poison with a record of its own.
struct Told<F>(F);

impl<T: Send + 'static, R, F> Handler<T> for Told<F>
where
    F: Fn(Incoming<T>, Emitter) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    async fn handle(&self, record: Incoming<T>, emitter: Emitter) -> Outcome {
        (self.0)(record, emitter).await
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        vec![out(ENDS, record.value.clone())]
    }
}

fn out(topic: &str, payload: Vec<u8>) -> Outgoing {
    Outgoing {
        topic: TopicName::Full(topic.to_owned()),
        partition: None,
        key: None,
        headers: Headers::default(),
        payload,
        is_tombstone: false,
        relaxed: false,
    }
}

/// What came of a record.
struct Came {
    end: End,
    /// Bytes in flight afterwards.
    bytes: usize,
    dead: Vec<Dead>,
    ends: Vec<Vec<u8>>,
}

async fn handled<T: FromRecord, H: Handler<T>>(record: Incoming<Vec<u8>>, handler: H) -> Came {
    let kafka = Kafka::start(&[(DEAD, 1), (ENDS, 1)]);
    let bus = kafka.bus();
    let producer = bus.producer(Profile::Interactive).expect("a producer");
    let total = Arc::<AtomicUsize>::default();
    let (done, completions) = mpsc::channel();
    let share = Share::new(record.bytes(), [Arc::default(), total.clone()]);
    let work = Arc::new(Work::new(((Arc::from("t.work"), 3), 1, record.offset), share, done));
    let emitter = Emitter::new(producer.clone(), work.clone(), CancellationToken::new());
    handle_one(Arc::new(handler), record, "t.group".to_owned(), emitter, work).await;
    let came = tokio::task::spawn_blocking(move || {
        let completed = completions.recv_timeout(PATIENCE).expect("an end");
        drop(producer);
        Came {
            end: completed.result.expect("effects that are acknowledged"),
            bytes: total.load(Ordering::Relaxed),
            dead: read(&bus, DEAD).into_iter().map(Dead::from_record).collect(),
            ends: read(&bus, ENDS).into_iter().map(|record| record.value).collect(),
        }
    });
    came.await.expect("no panic")
}

/// The one dead letter, whose stage is this.
fn the_dead<'a>(came: &'a Came, stage: &str) -> &'a Dead {
    let [dead] = came.dead.as_slice() else { panic!("{} dead letters", came.dead.len()) };
    assert_eq!((dead.stage(), came.end, came.bytes), (Some(stage), End::Done, 0));
    let origin = dead.origin().expect("an origin");
    assert_eq!((origin.topic.as_str(), origin.partition, origin.offset), ("t.work", 3, 41));
    assert_eq!(dead.key(), Some(b"key".as_slice()));
    dead
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_dead_letter_and_an_end() {
    let told = Told(|_: Incoming<RawValueBytes>, _| async { panic!("as told") });
    let came = handled::<RawValueBytes, _>(incoming(b"original"), told).await;
    let dead = the_dead(&came, "panic");
    assert_eq!((dead.value(), dead.omitted_bytes()), (b"original".as_slice(), None));
    assert_eq!(came.ends, [b"original"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_parse_is_a_dead_letter_and_an_end() {
    let told = Told(|_: Incoming<u64>, _| async { Outcome::default() });
    let came = handled::<u64, _>(incoming(b"no number"), told).await;
    assert_eq!(the_dead(&came, "parse").value(), b"no number");
    assert_eq!(came.ends, [b"no number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_is_too_large_makes_a_dead_letter_of_its_cause() {
    let told = Told(|_: Incoming<RawValueBytes>, _| async {
        Outcome::emit(vec![out(ENDS, vec![b'x'; VALUE_MAX_BYTES + 1]), out(ENDS, b"small".to_vec())])
    });
    let came = handled::<RawValueBytes, _>(incoming(b"original"), told).await;
    let dead = the_dead(&came, "produce");
    assert_eq!(dead.value(), b"original");
    assert!(dead.reason().is_some_and(|reason| reason.contains("over the bound")), "{:?}", dead.reason());
    assert_eq!(came.ends, [b"small".as_slice(), b"original"], "the other effects are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_is_too_large_to_copy_leaves_a_stub() {
    let told = Told(|_: Incoming<u64>, _| async { Outcome::default() });
    let poison = incoming(&vec![b'x'; VALUE_MAX_BYTES + 1]);
    let bytes = poison.value.len();
    let came = handled::<u64, _>(poison, told).await;
    let dead = the_dead(&came, "parse");
    assert!(dead.is_tombstone() && dead.omitted_bytes().is_some_and(|omitted| omitted >= bytes as u64));
    assert!(dead.reason().is_some_and(|reason| reason.starts_with("it is too large to be copied")));
    assert!(dead.headers().iter().any(|header| header == ("mine", Some(b"\xfe".as_slice()))));
    assert!(came.ends.is_empty(), "what ends it was too large as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_at_all_stays_so_in_a_dead_letter_and_its_redrive() {
    let mut record = incoming(b"");
    record.is_tombstone = true;
    record.headers = Headers::from_iter([("null".to_owned(), None), ("empty".to_owned(), Some(Vec::new()))]);
    let told = Told(|_: Incoming<RawValueBytes>, _| async { Outcome::dead(DeadLetter::new("job", "not a job")) });
    let came = handled::<RawValueBytes, _>(record.clone(), told).await;
    let dead = the_dead(&came, "job");
    let back = dead.redriven().expect("a whole record");
    for (is_tombstone, headers) in [(dead.is_tombstone(), dead.headers()), (back.is_tombstone, &back.headers)] {
        let kept: Vec<_> = headers.iter().take(2).collect();
        assert_eq!((is_tombstone, kept), (true, record.headers.iter().collect()));
    }

    let kafka = Kafka::start(&[("t.work", 1)]);
    let bus = kafka.bus();
    bus.producer(Profile::Interactive).expect("a producer").send_acked(back).await.expect("taken");
    let there = tokio::task::spawn_blocking(move || read(&bus, "t.work")).await.expect("no panic");
    let [there] = there.as_slice() else { panic!("{} records", there.len()) };
    assert_eq!((there.is_tombstone, &there.key), (true, &record.key));
    assert_eq!(there.headers.iter().take(2).collect::<Vec<_>>(), record.headers.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_handler_let_go_of_is_not_in_its_dead_letter() {
    let told = Told(|record: Incoming<RawValueBytes>, emitter: Emitter| async move {
        drop(record);
        assert!(emitter.bytes() >= b"original".len());
        emitter.release_bytes();
        emitter.release_bytes();
        assert_eq!(emitter.bytes(), 0);
        Outcome::dead(DeadLetter::new("job", "not a job"))
    });
    let came = handled::<RawValueBytes, _>(incoming(b"original"), told).await;
    let dead = the_dead(&came, "job");
    assert!(dead.is_tombstone() && dead.omitted_bytes() == Some(8), "{:?}", dead.omitted_bytes());
    assert!(dead.reason().is_some_and(|reason| reason.starts_with("its value was let go of")));
    assert_eq!(came.ends, [b""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_back_is_not_done() {
    let told = Told(|_: Incoming<RawValueBytes>, _| async { Outcome::hand_back() });
    let came = handled::<RawValueBytes, _>(incoming(b"original"), told).await;
    assert_eq!((came.end, came.dead.len(), came.bytes), (End::HandedBack, 0, 0));
}

/// Notes, when it is dropped, whether the end of its record is known.
struct Guard(Arc<Mutex<mpsc::Receiver<Completed>>>, Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        let is_known = self.0.lock().expect("no panic").try_recv().is_ok_and(|completed| completed.result.is_err());
        self.1.store(is_known, Ordering::Relaxed);
    }
}

/// Found by reading: a delivery again that waits for the first one's guard was told before the first one's failure was, so it
/// could be committed although nothing of the record's effects is there.
#[test]
fn whoever_waits_for_a_record_is_told_after_its_failure() {
    let (done, completions) = mpsc::channel();
    let is_known = Arc::<AtomicBool>::default();
    let guard = Guard(Arc::new(Mutex::new(completions)), is_known.clone());
    let work = Work::new(((Arc::from("t.work"), 3), 1, 41), Share::new(0, Default::default()), done);
    *work.held.lock().expect("no panic") = Some(Box::new(guard));
    work.acknowledged(Err(Error::Stopped("test".to_owned())));
    assert!(is_known.load(Ordering::Relaxed));
}
