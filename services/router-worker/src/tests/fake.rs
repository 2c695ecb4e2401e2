//! A provider on the loopback that says what it is told to, one reply per connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One reply: pieces of raw HTTP, each after a pause; then the connection closes, unless the reply hangs.
#[derive(Clone, Default)]
pub(super) struct Reply {
    pieces: Vec<(u64, Vec<u8>)>,
    hangs: bool,
}

impl Reply {
    /// A whole answer.
    pub(super) fn json(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        Self { pieces: vec![(0, text.into_bytes())], hangs: false }
    }

    /// An event stream whose end is the connection's.
    pub(super) fn stream(events: &[&str]) -> Self {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_up\r\nconnection: close\r\n\r\n";
        let events = events.iter().map(|event| (0, format!("data: {event}\n\n").into_bytes()));
        Self { pieces: [(0, head.as_bytes().to_vec())].into_iter().chain(events).collect(), hangs: false }
    }

    /// No answer at all.
    pub(super) fn hang() -> Self {
        Self { pieces: Vec::new(), hangs: true }
    }

    /// The same, with a pause before each piece after the second, and before the end.
    pub(super) fn slowly(mut self, pause_ms: u64) -> Self {
        self.pieces.iter_mut().skip(2).for_each(|(pause, _)| *pause = pause_ms);
        self.pieces.push((pause_ms, Vec::new()));
        self
    }

    /// The same, without closing the connection at the end.
    pub(super) fn and_hang(mut self) -> Self {
        self.hangs = true;
        self
    }
}

/// The provider: where it listens, and the requests it got, heads and bodies.
pub(super) struct Fake {
    pub(super) url: String,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/v1", listener.local_addr().expect("address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let mut replies = VecDeque::from(replies);
        tollgate_runtime::supervised("fake", async move {
            while let (Ok((stream, _)), Some(reply)) = (listener.accept().await, replies.pop_front()) {
                tollgate_runtime::supervised("fake", answer(stream, reply, seen.clone()));
            }
        });
        Self { url, requests }
    }

    pub(super) fn count(&self) -> usize {
        self.requests.lock().expect("lock").len()
    }
}

async fn answer(mut stream: TcpStream, reply: Reply, seen: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let text = loop {
        stream.read_buf(&mut bytes).await.expect("request");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let length = text
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        if let (Some((_, body)), Some(length)) = (text.split_once("\r\n\r\n"), length)
            && body.len() >= length
        {
            break text;
        }
    };
    seen.lock().expect("lock").push(text);
    for (pause_ms, piece) in reply.pieces {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if stream.write_all(&piece).await.is_err() {
            return;
        }
    }
    if reply.hangs {
        // Until the router hangs up.
        let _ = stream.read(&mut [0; 1]).await;
    }
}
