//! The HTTP listener: its own accept loop, so that everything a peer can take is bounded.
//!
//! ```text
//! accept ─► (TLS) ─► guard: strict framing, heads in time ─► hyper ─► per request: ids of the peer, bodies in time ─► router
//! ```
//!
//! Bounds: connections, bytes and time of a request's head, time between two parts of its body. HTTP/1.1 and HTTP/2, the latter
//! by prior knowledge or ALPN. A connection over the bound is told so with 503 (over TLS: closed) and never waits in a queue.
//!
//! Deliberately absent: the size of bodies (whoever reads them knows what is sensible), and what is served.

mod framing;
mod guard;
mod service;
mod state;
mod tls;

use crate::{config::Http, supervised};
use axum::Router;
use guard::Guard;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use service::PerRequest;
use state::Connection;
use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tls::Tls;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a connection may stand between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often an HTTP/2 connection is looked at for that.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Connections over the bound that are told so at the same time; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long such a one may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How much larger a head hyper reads than the bound: one between the two is refused with the API's error document.
const HEAD_SLACK_BYTES: usize = 16 << 10;

/// What hyper holds of a connection in either direction; it must hold a whole head.
const BUFFER_MAX_BYTES: usize = 400 << 10;

/// What a peer may take.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "`http` in tollgate.example.yaml")]
pub struct Bounds {
    pub connections_max: usize,
    pub header_max_bytes: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
}

impl Bounds {
    /// As configured.
    pub fn of(http: &Http) -> Self {
        Self {
            connections_max: http.connections_max.min(Semaphore::MAX_PERMITS),
            header_max_bytes: http.header_max_bytes,
            header_timeout: http.header_timeout.duration(),
            body_timeout: http.body_timeout.duration(),
        }
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    bounds: Bounds,
    tls: Option<Tls>,
    stop: CancellationToken,
}

/// Serves a router until `stop`, then finishes what has begun. Fails only if TLS cannot be set up.
pub async fn serve(listener: TcpListener, router: Router, http: &Http, stop: CancellationToken) -> io::Result<()> {
    // Also when this future is dropped.
    let over = stop.child_token();
    let _over = over.clone().drop_guard();
    let tls = match &http.tls {
        Some(files) => Some(Tls::start(files.clone(), over.clone()).await?),
        None => None,
    };
    let server = Server { router, bounds: Bounds::of(http), tls, stop: stop.clone() };
    let places = Arc::new(Semaphore::new(server.bounds.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            metrics::gauge!("tollgate_http_connections").increment(1.0);
            let server = server.clone();
            let connection = async move {
                server.connection(stream, peer).await;
                metrics::gauge!("tollgate_http_connections").decrement(1.0);
                drop(place);
            };
            supervised("connection", connections.track_future(connection));
        } else {
            metrics::counter!("tollgate_http_connections_refused_total").increment(1);
            if let (None, Ok(place)) = (&server.tls, refusals.clone().try_acquire_owned()) {
                supervised("refusal", async move {
                    let _ = timeout(REFUSAL_TIMEOUT, full(stream)).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // Of one connection, not of the listener.
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "no connection can be accepted; is the number of open files too small?");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Tells a peer that there is no room, and lets it hear that before the connection goes.
async fn full(mut stream: TcpStream) -> io::Result<()> {
    let error = tollgate_schemas::ApiError::new(
        tollgate_schemas::ErrorCode::Overloaded,
        "http.connections_max connections are open already; try again in a moment",
    );
    let body = error.openai().to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         x-request-id: {}\r\nconnection: close\r\n\r\n",
        body.len(),
        tollgate_schemas::RequestId::new()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        // A stream would stall 40 ms without it.
        let _ = stream.set_nodelay(true);
        let head_due = Instant::now() + self.bounds.header_timeout;
        let Some(tls) = self.tls.clone() else {
            let begun = self.in_time(head_due, speaks_http2(&stream)).await;
            if let Some(Ok(http2)) = begun {
                self.speak(stream, peer, http2, head_due).await;
            }
            return;
        };
        let begun = self.in_time(head_due, tls.accept(stream)).await;
        match begun {
            Some(Ok((stream, http2))) => self.speak(stream, peer, http2, head_due).await,
            Some(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
            None => {}
        }
    }

    /// The result, unless it takes too long or the server stops before.
    async fn in_time<T>(&self, due: Instant, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            result = timeout_at(due, work) => result.ok(),
        }
    }

    async fn speak<S>(self, stream: S, peer: SocketAddr, http2: bool, head_due: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connection, bounds) = (Arc::new(Connection::new()), self.bounds);
        let service = PerRequest { router: self.router, peer, connection: connection.clone(), bounds };
        if http2 {
            let mut builder = http2::Builder::new(Executor);
            builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
            builder.max_header_list_size(u32::try_from(bounds.header_max_bytes + HEAD_SLACK_BYTES).unwrap_or(u32::MAX));
            builder.keep_alive_interval(IDLE_TIMEOUT);
            let conn = builder.serve_connection(TokioIo::new(stream), service);
            return speak_http2(conn, &connection, &self.stop).await;
        }
        let guard = Guard::new(stream, connection, bounds.header_max_bytes, bounds.header_timeout, head_due);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).max_header_size(bounds.header_max_bytes + HEAD_SLACK_BYTES);
        builder.max_buf_size(BUFFER_MAX_BYTES.max(bounds.header_max_bytes + HEAD_SLACK_BYTES));
        // Between two requests; what has begun is timed by the guard.
        builder.header_read_timeout(IDLE_TIMEOUT.max(bounds.header_timeout * 2));
        let mut conn = pin!(builder.serve_connection(TokioIo::new(guard), service));
        tokio::select! {
            result = conn.as_mut() => return told(&result),
            () = self.stop.cancelled() => conn.as_mut().graceful_shutdown(),
        }
        told(&conn.await);
    }
}

fn told(result: &hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn speak_http2<S>(
    conn: http2::Connection<TokioIo<S>, PerRequest, Executor>,
    connection: &Connection,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut conn = pin!(conn);
    let idle = async {
        while connection.idle() < IDLE_TIMEOUT {
            tokio::time::sleep(IDLE_LOOK_EVERY).await;
        }
    };
    tokio::select! {
        result = conn.as_mut() => return told(&result),
        () = stop.cancelled() => conn.as_mut().graceful_shutdown(),
        () = idle => {
            conn.as_mut().graceful_shutdown();
            // Nothing is under way, so the peer has nothing to wait for either.
            if let Ok(result) = timeout(IDLE_LOOK_EVERY, conn).await {
                told(&result);
            }
            return;
        }
    }
    told(&conn.await);
}

/// Waits for the first bytes. `PRI` is how HTTP/2 begins by prior knowledge, and no method begins so.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut begin = [0; 3];
    let read = stream.peek(&mut begin).await?;
    Ok(&begin[..read] == b"PRI")
}

/// Spawns what HTTP/2 spawns: one task for each request.
#[derive(Clone)]
struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        supervised("http2", work);
    }
}
