//! What is passed on, what is refused, and that neither depends on how the bytes are cut.

use super::*;
use proptest::prelude::*;

fn fed(bytes: &[u8], cut: usize) -> (Vec<u8>, Result<usize, (usize, Refusal)>) {
    let (mut framing, mut out, mut heads) = (Framing::new(1024), Vec::new(), 0);
    for part in bytes.chunks(cut.max(1)) {
        match framing.feed(part, &mut out) {
            Ok(more) => heads += more,
            Err((more, refusal)) => return (out, Err((heads + more, refusal))),
        }
    }
    (out, Ok(heads))
}

const GOOD: [&str; 5] = [
    "GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\n\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding:  Chunked \r\n\r\n0\r\nx-trailer: 1\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
];

const BAD: [(&str, &str); 16] = [
    ("both", "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "both, the other way round",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ("one length twice", "POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("a list of lengths", "POST / HTTP/1.1\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("a signed length", "POST / HTTP/1.1\r\ncontent-length: +5\r\n\r\nhello"),
    ("obs-fold", "GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n"),
    ("a fold of the first header", "GET / HTTP/1.1\r\n x: a\r\n\r\n"),
    ("bare line feeds", "GET / HTTP/1.1\nhost: a\n\n"),
    ("a bare line feed at the end", "GET / HTTP/1.1\r\nhost: a\r\n\n"),
    ("a bare carriage return", "GET / HTTP/1.1\r\nx: a\rb: c\r\n\r\n"),
    ("a space before the colon", "POST / HTTP/1.1\r\ncontent-length : 5\r\n\r\nhello"),
    ("another coding", "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (
        "a disguised coding",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
];

#[test]
fn good_requests_pass_unchanged_one_after_the_other() {
    let all = GOOD.concat();
    for cut in 1..all.len() {
        assert_eq!(fed(all.as_bytes(), cut), (all.clone().into_bytes(), Ok(GOOD.len())), "cut at {cut}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_never_gets_through() {
    for (what, request) in BAD {
        for cut in 1..request.len() {
            let (out, result) = fed(format!("{}{request}", GOOD[1]).as_bytes(), cut);
            assert!(matches!(result, Err((1, Refusal::Ambiguous(_)))), "{what}: {result:?}");
            assert_eq!(out, GOOD[1].as_bytes(), "{what}");
        }
    }
    let broken = [
        "g\r\n",
        "\r\n",
        "-1\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n0",
        "0x3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "10000000000000000\r\n",
    ];
    for chunk in broken {
        let request = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        assert!(matches!(fed(request.as_bytes(), 7).1, Err((1, Refusal::Ambiguous(_)))), "{chunk:?}");
    }
}

#[test]
fn heads_are_bounded_and_tunnels_refused() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1024));
    for cut in [1, 100, 5000] {
        assert_eq!(fed(long.as_bytes(), cut).1, Err((0, Refusal::HeadTooLarge)));
        assert_eq!(fed(&long.as_bytes()[..1040], cut).1, Err((0, Refusal::HeadTooLarge)), "without its end");
    }
    assert_eq!(fed(b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 9).1, Err((0, Refusal::Method)));
}

#[test]
fn nothing_follows_a_request_to_a_proxy() {
    let proxied = "GET http://a/v1/models HTTP/1.1\r\nhost: a\r\n\r\n";
    let (out, result) = fed(format!("{proxied}{}", GOOD[0]).as_bytes(), 10);
    assert_eq!((out, result), (proxied.as_bytes().to_vec(), Ok(1)));
}

proptest! {
    #[test]
    fn never_panics_and_cuts_do_not_matter(bytes in "(GET|POST|[a-z ]| / HTTP/1\\.1|\r\n|\n|\r|content-length: [0-9]{1,2}|transfer-encoding: chunked|[0-9a-f]){0,40}", cut in 1usize..40) {
        let whole = fed(bytes.as_bytes(), bytes.len());
        prop_assert_eq!(&whole.1, &fed(bytes.as_bytes(), cut).1);
        if whole.1.is_ok() {
            prop_assert_eq!(whole.0, fed(bytes.as_bytes(), cut).0);
        }
    }
}
