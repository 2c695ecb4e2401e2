//! Clients that misbehave, and the broker's own end.

use super::{
    super::{Answer, FetchedPartition, Limits, Refused, Request, connection::Closed, fetch_reply},
    support::{Script, echo, echo_now, play, request, until},
};
use crate::log::Slice;
use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::messages::ApiKey;
use proptest::{collection::vec, prelude::*};
use std::{future::pending, io::Write, rc::Rc, sync::Arc, time::Duration};

const SOON: Duration = Duration::from_millis(50);

fn fault(closed: &Closed, because: &str) {
    let reason = closed.fault().unwrap_or_else(|| panic!("{closed}"));
    assert!(reason.contains(because), "{reason}");
}

#[tokio::test]
async fn an_oversized_request_closes_after_the_answers_before_it() {
    let limits = Limits { request_bytes: 1_000, ..Limits::default() };
    let script = Script::new(|request| echo_now(&request));
    let closed = play(&limits, &script, async |mut client| {
        client.send(&[request(1, &[1; 900]), request(2, &[2; 1_000])].concat()).await;
        assert_eq!(client.receive_echo().await.0, 1);
        assert!(client.is_closed().await);
    })
    .await;
    fault(&closed, "beyond 1000");
}

#[tokio::test]
async fn other_protocols_are_sent_away() {
    for greeting in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\xff\xff\xff\xff"]
    {
        let script = Script::new(|request| echo_now(&request));
        let closed = play(&Limits::default(), &script, async |mut client| {
            client.send(greeting).await;
            assert!(client.is_closed().await);
        })
        .await;
        fault(&closed, "without TLS");
    }
}

#[tokio::test]
async fn half_a_request_times_out() {
    let limits = Limits { frame_timeout: SOON, ..Limits::default() };
    for half in [2, 50] {
        let script = Script::new(|request| echo_now(&request));
        let closed = play(&limits, &script, async |mut client| {
            client.send(&request(1, &[1; 90])[..half]).await;
            assert!(client.is_closed().await);
        })
        .await;
        fault(&closed, "had not arrived after 50ms");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_one_that_waits() {
    let limits = Limits { idle_timeout: SOON, ..Limits::default() };
    let script = Script::new(|request| {
        let answer = async move {
            tokio::time::sleep(4 * SOON).await;
            echo(&request)
        };
        Answer::Later(answer.boxed_local())
    });
    let closed = play(&limits, &script, async |mut client| {
        client.send(&request(1, b"slow")).await;
        assert_eq!(client.receive_echo().await.0, 1);
        assert!(client.is_closed().await);
    })
    .await;
    assert!(matches!(closed, Closed::Idle), "{closed}");
    assert_eq!(closed.fault(), None);
}

/// A reply of a file of this size, most of it a hole.
fn file_reply(request: &Request, file_bytes: u64, len: usize) -> Result<super::super::Reply, Refused> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"records").unwrap();
    file.set_len(file_bytes).unwrap();
    let records = Some(Slice { file: Arc::new(file), position: 0, len });
    let partition = FetchedPartition { index: 0, error_code: 0, high_watermark: 0, log_start_offset: 0, records };
    let request = Request { api: ApiKey::Fetch, version: 4, body: Bytes::new(), ..request.clone() };
    fetch_reply(&request, vec![("t".into(), vec![partition])])
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed() {
    let limits = Limits { write_timeout: SOON, ..Limits::default() };
    let script = Script::new(|request| Answer::Now(file_reply(&request, 1 << 28, 1 << 28).unwrap()));
    let closed = play(&limits, &script, async |mut client| {
        client.send(&request(1, b"")).await;
        until(|| script.gone.get() == 1).await;
    })
    .await;
    fault(&closed, "took nothing of its answer for 50ms");
}

#[tokio::test]
async fn nothing_follows_an_answer_that_cannot_go_on() {
    let script = Script::new(|request| match request.correlation_id {
        1 => Answer::Now(file_reply(&request, 100_000, 200_000).unwrap()),
        _ => echo_now(&request),
    });
    let closed = play(&Limits::default(), &script, async |mut client| {
        client.send(&[request(1, b""), request(2, b"")].concat()).await;
        let mut received = Vec::new();
        // What is there of the file, or nothing; never the second answer.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.0, &mut received).await;
        assert!(received.len() < 200_000);
        assert!(!received.windows(4).any(|bytes| bytes == [0, 0, 0, 2]));
    })
    .await;
    fault(&closed, "could not be read");
}

#[tokio::test]
async fn an_answer_that_fails_later_closes_in_its_turn() {
    let script = Script::new(|request| match request.correlation_id {
        2 => Answer::Later(async { Err(Refused::Close("no".to_owned())) }.boxed_local()),
        _ => echo_now(&request),
    });
    let closed = play(&Limits::default(), &script, async |mut client| {
        client.send(&[request(1, b""), request(2, b""), request(3, b"")].concat()).await;
        assert_eq!(client.receive_echo().await.0, 1);
        assert!(client.is_closed().await);
    })
    .await;
    fault(&closed, "no");
}

#[tokio::test]
async fn close_sends_what_is_ready_before_it() {
    let script = Script::new(|request| match request.correlation_id {
        1 => Answer::Later(async move { echo(&request) }.boxed_local()),
        2 => Answer::Later(pending().boxed_local()),
        3 => echo_now(&request),
        _ => Answer::Close("enough".to_owned()),
    });
    let closed = play(&Limits::default(), &script, async |mut client| {
        client.send(&(1..6).flat_map(|id| request(id, b"")).collect::<Vec<_>>()).await;
        assert_eq!(client.receive_echo().await.0, 1);
        assert!(client.is_closed().await);
    })
    .await;
    fault(&closed, "enough");
    assert_eq!(script.handled.get(), 4);
}

#[tokio::test]
async fn stop_ends_it_with_what_is_ready() {
    let script = Script::new(|request| match request.correlation_id {
        1 => echo_now(&request),
        _ => Answer::Later(pending().boxed_local()),
    });
    let closed = play(&Limits::default(), &script, async |mut client| {
        client.send(&[request(1, b""), request(2, b"")].concat()).await;
        until(|| script.handled.get() == 2).await;
        script.stop.cancel();
        assert_eq!(client.receive_echo().await.0, 1);
        assert!(client.is_closed().await);
    })
    .await;
    assert!(matches!(closed, Closed::Stopped), "{closed}");
}

#[tokio::test]
async fn a_client_that_leaves_drops_what_it_waited_for() {
    let waiting = Rc::new(());
    let held = Rc::downgrade(&waiting);
    let script = Script::new(move |_| {
        let waiting = waiting.clone();
        let answer = async move {
            let _waiting = waiting;
            pending().await
        };
        Answer::Later(answer.boxed_local())
    });
    let closed = play(&Limits::default(), &script, async |mut client| {
        client.send(&request(1, b"")).await;
        until(|| held.strong_count() == 2).await;
    })
    .await;
    assert!(matches!(closed, Closed::ByClient), "{closed}");
    assert_eq!(held.strong_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_ends_a_connection_and_nothing_else(bytes in vec(any::<u8>(), 1..2_000), framed in any::<bool>()) {
        let limits = Limits { frame_timeout: SOON, idle_timeout: SOON, ..Limits::default() };
        let script = Script::new(|request| echo_now(&request));
        let bytes = if framed { [&(bytes.len() as i32).to_be_bytes()[..], &bytes].concat() } else { bytes };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&limits, &script, async |mut client| {
            client.send(&bytes).await;
            while !client.is_closed().await {}
        }));
    }
}
