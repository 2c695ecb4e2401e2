//! Order, pipelining, sizes: what a well-behaved client sees.

use super::super::connection::serve;
use super::{
    super::{Answer, FetchedPartition, Limits, Refused, Request, connection::Closed, fetch_reply, limits::Budget},
    support::{Script, connect, echo, echo_now, play, request, until},
};
use crate::log::Slice;
use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::{
    messages::{ApiKey, ApiVersionsResponse, FetchResponse},
    protocol::{Decodable, StrBytes},
};
use proptest::{collection::vec, prelude::*};
use std::{io::Write, rc::Rc, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The body says how to answer: never, at once, or so many milliseconds later. Frames arrive in pieces of any size.
    #[test]
    fn replies_keep_the_order_of_requests(
        kinds in vec(0_u8..8, 1..80),
        pieces in vec(1_usize..400, 1..20),
        pending_requests in 1_usize..40,
    ) {
        let limits = Limits { pending_requests, ..Limits::default() };
        let script = Script::new(|request: Request| match request.body[4] {
            0 => Answer::Nothing,
            1..4 => echo_now(&request),
            later => Answer::Later(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(later - 4))).await;
                echo(&request)
            }.boxed_local()),
        });
        let all: Vec<u8> = kinds.iter().enumerate().flat_map(|(id, kind)| request(id as i32, &[*kind; 90])).collect();
        let due = kinds.iter().enumerate().filter(|(_, kind)| **kind > 0);
        let closed = runtime().block_on(play(&limits, &script, async |mut client| {
            let (mut rest, mut sizes) = (&all[..], pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, others) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                client.send(piece).await;
                tokio::task::yield_now().await;
                rest = others;
            }
            for (id, kind) in due {
                assert_eq!(client.receive_echo().await, (id as i32, Bytes::from(vec![*kind; 90])));
            }
            until(|| script.handled.get() == kinds.len()).await;
        }));
        prop_assert!(matches!(closed, Closed::ByClient));
    }
}

#[tokio::test]
async fn a_long_poll_is_told_of_the_request_behind_it() {
    let script = Script::new(|_| Answer::Nothing);
    let weak = Rc::downgrade(&script);
    script.set(move |request| {
        let script = weak.upgrade().unwrap();
        if request.correlation_id == 2 {
            return echo_now(&request);
        }
        let poll = async move {
            script.on_hurry.notified().await;
            echo(&request)
        };
        Answer::Later(poll.boxed_local())
    });
    play(&Limits::default(), &script, async |mut client| {
        client.send(&request(1, b"first")).await;
        until(|| script.handled.get() == 1).await;
        assert_eq!(script.hurried.get(), 0);
        client.send(&request(2, b"second")).await;
        assert_eq!(client.receive_echo().await.0, 1);
        assert_eq!(client.receive_echo().await.0, 2);
        assert_eq!(script.hurried.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn no_more_requests_than_the_bound_are_pending() {
    let limits = Limits { pending_requests: 4, ..Limits::default() };
    let gate = Rc::new(Semaphore::new(0));
    let opened = gate.clone();
    let script = Script::new(move |request| {
        let gate = gate.clone();
        let answer = async move {
            gate.acquire().await.unwrap().forget();
            echo(&request)
        };
        Answer::Later(answer.boxed_local())
    });
    play(&limits, &script, async |mut client| {
        let all: Vec<u8> = (0..20).flat_map(|id| request(id, b"x")).collect();
        client.send(&all).await;
        until(|| script.handled.get() == 4).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(script.handled.get(), 4);
        opened.add_permits(1);
        assert_eq!(client.receive_echo().await.0, 0);
        until(|| script.handled.get() == 5).await;
        opened.add_permits(19);
        for id in 1..20 {
            assert_eq!(client.receive_echo().await.0, id);
        }
    })
    .await;
}

#[tokio::test]
async fn large_requests_and_replies_pass() {
    let script = Script::new(|request| echo_now(&request));
    play(&Limits::default(), &script, async |mut client| {
        for size in [0, 1, 16 * 1024, 64 * 1024 - 12, 64 * 1024, 3_000_000, 5] {
            let body: Vec<u8> = (0..size).map(|n| n as u8).collect();
            // Writing and reading at once, as neither side buffers it all.
            let (mut reading, mut writing) = client.0.split();
            let sent = request(size, &body);
            let write = tokio::io::AsyncWriteExt::write_all(&mut writing, &sent);
            let mut back = vec![0; 4 + 4 + 2 + 2 + 4 + body.len()];
            let read = tokio::io::AsyncReadExt::read_exact(&mut reading, &mut back);
            tokio::try_join!(write, read).unwrap();
            assert!(back[16..] == body, "{size}");
        }
    })
    .await;
}

/// A Fetch request of version 4 for nothing; the script knows what to give.
fn fetch_request() -> Vec<u8> {
    let body = [0; 4 + 4 + 4 + 4 + 1 + 4];
    [&[0, 0, 0, 10 + 21, 0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff], &body[..]].concat()
}

/// Answers Fetch with this file, once whole and once in small parts.
fn fetched(request: &Request, slice: &Slice) -> Result<super::super::Reply, Refused> {
    let part = |index: i32, position: u64, len: usize| FetchedPartition {
        index,
        error_code: 0,
        high_watermark: 1,
        log_start_offset: 0,
        records: Some(Slice { position, len, ..slice.clone() }),
    };
    let small = (0..50).map(|n| part(n, n as u64, 100)).collect();
    let topics = vec![("whole".into(), vec![part(0, 0, slice.len)]), (StrBytes::from_static_str("small"), small)];
    fetch_reply(request, topics)
}

#[tokio::test]
async fn files_larger_than_a_chunk_arrive_whole_at_a_slow_client() {
    let contents: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&contents).unwrap();
    let slice = Slice { file: Arc::new(file), position: 0, len: contents.len() };
    let script = Script::new(move |request| Answer::Now(fetched(&request, &slice).unwrap()));
    play(&Limits::default(), &script, async |mut client| {
        for _ in 0..2 {
            client.send(&fetch_request()).await;
        }
        until(|| script.handled.get() == 2).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        for _ in 0..2 {
            let mut reply = client.receive().await.slice(4..);
            let decoded = FetchResponse::decode(&mut reply, 4).unwrap();
            assert!(reply.is_empty());
            assert!(decoded.responses[0].partitions[0].records.as_ref().unwrap() == &contents);
            for (n, partition) in decoded.responses[1].partitions.iter().enumerate() {
                assert!(partition.records.as_ref().unwrap() == &contents[n..n + 100]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_api_versions_is_answered_in_version_0() {
    let script = Script::new(|_| Answer::Nothing);
    play(&Limits::default(), &script, async |mut client| {
        client.send(&[0, 0, 0, 10, 0, 18, 0, 77, 0, 0, 0, 5, 0xff, 0xff]).await;
        let mut reply = client.receive().await;
        assert_eq!(reply.split_to(4)[..], [0, 0, 0, 5]);
        let decoded = ApiVersionsResponse::decode(&mut reply, 0).unwrap();
        assert_eq!((decoded.error_code, decoded.api_keys.len()), (35, 27));
        assert!(decoded.api_keys.iter().any(|api| api.api_key == ApiKey::ApiVersions as i16));
        assert_eq!(script.handled.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn connections_share_the_memory_for_large_requests() {
    let limits = Limits { budget: Budget::new(100_000), ..Limits::default() };
    let (first, second) = (Script::new(|request| echo_now(&request)), Script::new(|request| echo_now(&request)));
    let large = request(1, &[7; 80_000]);
    let (mut one, one_far) = connect().await;
    let (mut two, two_far) = connect().await;
    let serve_one = serve(one_far, first.clone(), Rc::new(()), &limits, first.stop.clone());
    let serve_two = serve(two_far, second.clone(), Rc::new(()), &limits, second.stop.clone());
    let clients = async {
        one.send(&large[..20_000]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Small ones do not wait.
        two.send(&request(1, b"small")).await;
        assert_eq!(two.receive_echo().await.1, "small");
        two.send(&large).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(second.handled.get(), 1);
        drop(one);
        assert_eq!(two.receive_echo().await.1.len(), 80_000);
        drop(two);
    };
    tokio::join!(serve_one, serve_two, clients);
    assert_eq!((first.handled.get(), second.handled.get()), (0, 2));
}
