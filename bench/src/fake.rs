//! A provider of OpenAI's chat format that streams at once, in this process: so little of HTTP/1.1 that what is measured is who
//! calls it.
//!
//! A field of the body says what stream is wanted, `"fake": { "chunks": 300, "pause_ms": 0 }`. Tollgate passes it on, as it does
//! every field of this format that it does not know.
//!
//! Source of the events: <https://platform.openai.com/docs/api-reference/chat/streaming>. Deliberately absent: answers that are no
//! stream, errors, and requests without a length, which no caller here sends.

use anyhow::Context;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tollgate_runtime::supervised;

/// The text of every chunk: a token.
pub(crate) const TEXT: &str = "lorem ";

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A running provider. Dropping it ends it.
pub(crate) struct Provider {
    address: SocketAddr,
    _ends: DropGuard,
}

/// A stream as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Chunks with text.
    pub(crate) chunks: usize,
    /// Before each chunk but the first.
    pub(crate) pause_ms: u64,
}

impl Wanted {
    /// A chat body, changed to ask this `model` for it.
    pub(crate) fn asked_of(self, model: &str, body: &str) -> anyhow::Result<String> {
        let mut body = serde_json::from_str::<Value>(body)?;
        body["model"] = model.into();
        body["stream"] = true.into();
        body["fake"] = json!({ "chunks": self.chunks, "pause_ms": self.pause_ms });
        Ok(body.to_string())
    }

    fn read(body: &[u8]) -> anyhow::Result<Self> {
        let body = serde_json::from_slice::<Value>(body)?;
        let number = |name: &str| body["fake"][name].as_u64();
        let chunks = number("chunks").context("the body does not say how many chunks are wanted")?;
        Ok(Self { chunks: usize::try_from(chunks)?, pause_ms: number("pause_ms").unwrap_or(0) })
    }
}

impl Provider {
    /// On a free port of this machine.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        supervised("fake provider", serve(listener, stop.clone()));
        Ok(Self { address, _ends: stop.drop_guard() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("the fake provider takes no connections any more: {error}");
                return;
            }
        };
        let stop = stop.clone();
        supervised("fake connection", async move {
            if let Some(Err(error)) = stop.run_until_cancelled(connection(stream)).await {
                eprintln!("the fake provider lost a connection: {error:#}");
            }
        });
    }
}

async fn connection(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(body) = request(&mut stream).await? {
        answer(&mut stream, Wanted::read(&body)?).await?;
    }
    Ok(())
}

/// The next request's body; `None` when the caller has closed the connection.
async fn request(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<u8>>> {
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

async fn answer(stream: &mut BufReader<TcpStream>, wanted: Wanted) -> io::Result<()> {
    let delta = |delta: Value, finish: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        piece(&event(&json!([choice]), &Value::Null))
    };
    let text = delta(json!({ "content": TEXT }), None);
    let begin = format!("{HEAD}{}{text}", delta(json!({ "role": "assistant", "content": "" }), None));
    stream.write_all(begin.as_bytes()).await?;
    for _ in 1..wanted.chunks {
        if wanted.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wanted.pause_ms)).await;
        }
        stream.write_all(text.as_bytes()).await?;
    }
    let (read, written) = (256, wanted.chunks);
    let usage = json!({ "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written });
    let (finish, usage) = (delta(json!({}), Some("stop")), piece(&event(&json!([]), &usage)));
    // an empty piece ends the body
    let end = format!("{finish}{usage}{}{}", piece("data: [DONE]\n\n"), piece(""));
    stream.write_all(end.as_bytes()).await
}

fn event(choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1_795_400_000,
        "model": "fake",
        "choices": choices,
        "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

/// A piece of a body that comes in pieces (RFC 9112, 7.1).
fn piece(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let wanted = Wanted { chunks: 3, pause_ms: 2 };
        let body = wanted.asked_of("chat", r#"{"model":"bench","messages":[]}"#).expect("an object");
        assert_eq!(Wanted::read(body.as_bytes()).expect("asked for"), wanted);
        let body = serde_json::from_str::<Value>(&body).expect("JSON");
        assert_eq!((&body["model"], &body["stream"]), (&json!("chat"), &json!(true)));
        assert!(Wanted::read(b"{}").is_err());
    }

    #[test]
    fn pieces_have_their_length_before_them() {
        assert_eq!(piece("0123456789abcdef\n"), "11\r\n0123456789abcdef\n\r\n");
        assert_eq!(piece(""), "0\r\n\r\n");
    }
}
