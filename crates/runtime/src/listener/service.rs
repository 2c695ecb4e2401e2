//! What every request of a connection goes through before it reaches the router, and its answer on the way back.

use super::{Bounds, state::Connection};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header},
    response::IntoResponse,
};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};
use tollgate_schemas::{ApiError, ErrorCode, RequestId};

/// How much of a body that nobody wanted is read after its answer is made, and for how long, so that the connection can carry the
/// next request. A body that has more closes the connection, and the answer says so.
const REST_MAX_BYTES: u64 = 256 * 1024;
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// The service of one connection.
#[derive(Clone)]
pub(super) struct PerRequest {
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) connection: Arc<Connection>,
    pub(super) bounds: Bounds,
}

impl hyper::service::Service<Request<Incoming>> for PerRequest {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let refused = self.connection.begin();
        // Whatever becomes of the answer, its end is noted.
        let answering = Answering(self.connection.clone());
        let version = request.version();
        if let Some(refusal) = refused {
            let response = failure(&ApiError::new(refusal.code(), refusal.message()), version);
            return Box::pin(std::future::ready(Ok(response.map(|body| answering.body(body)))));
        }
        let too_large = head_bytes(request.uri(), request.headers()) > self.bounds.header_max_bytes;
        let this = self.clone();
        Box::pin(async move {
            let mut response = if too_large {
                let message = format!("the request's headers are larger than {} bytes", this.bounds.header_max_bytes);
                failure(&ApiError::new(ErrorCode::HeadersTooLarge, message), version)
            } else {
                this.routed(request).await
            };
            if this.connection.is_closing() && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| answering.body(body)))
        })
    }
}

impl PerRequest {
    async fn routed(&self, request: Request<Incoming>) -> Response<Body> {
        let (unread, version, timeout) = (Arc::new(Unread::default()), request.version(), self.bounds.body_timeout);
        // Who expects to be told to go on has not begun to send the body.
        let waits = request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|body| Body::new(Timely::new(body, timeout, unread.clone())));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = match tower_call(self.router.clone(), request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        match unread.take() {
            Rest::None => {}
            Rest::Late => {
                // Whoever read the body could only say that it broke off.
                let message = format!("no part of the body came for {timeout:?}; send it without pauses");
                return failure(&ApiError::new(ErrorCode::RequestTimeout, message), version);
            }
            Rest::Body(rest) => {
                // Otherwise hyper closes the connection without a word, under a client that has sent its next request.
                if version < Version::HTTP_2 && (waits || !finished(rest).await) {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
        }
        response
    }
}

/// Reads what is left of a body within its bounds; whether that was all.
async fn finished(mut rest: Incoming) -> bool {
    let read = async {
        let mut left = REST_MAX_BYTES;
        while rest.size_hint().lower() <= left {
            match std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
                None => return true,
                Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64)),
                Some(Err(_)) => return false,
            }
            if left == 0 {
                return false;
            }
        }
        false
    };
    tokio::time::timeout(REST_TIMEOUT, read).await.unwrap_or(false)
}

async fn tower_call(router: Router, request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
    use hyper::service::Service;
    hyper_util::service::TowerToHyperService::new(router).call(request).await
}

/// An error of the listener. The connection does not go on: what is left of the request is not read.
fn failure(error: &ApiError, version: Version) -> Response<Body> {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = [("x-request-id", RequestId::new().to_string())];
    let mut response = (status, id, Json(error.openai())).into_response();
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// About what the head took on the wire.
fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    headers.iter().fold(path, |bytes, (name, value)| bytes + name.as_str().len() + value.len() + 4)
}

/// What became of a body that was not read to its end.
#[derive(Default)]
enum Rest {
    #[default]
    None,
    /// Its next part did not come in time.
    Late,
    /// Nobody wanted the rest.
    Body(Incoming),
}

#[derive(Default)]
struct Unread(Mutex<Rest>);

impl Unread {
    fn put(&self, rest: Rest) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }

    fn take(&self) -> Rest {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request's body whose next part must come in time; what is not read of it is put aside.
struct Timely {
    /// None: it is over, or late.
    body: Option<Incoming>,
    timeout: Duration,
    /// From when on a part is waited for.
    due: Option<Pin<Box<Sleep>>>,
    unread: Arc<Unread>,
}

impl Timely {
    fn new(body: Incoming, timeout: Duration, unread: Arc<Unread>) -> Self {
        Self { body: Some(body), timeout, due: None, unread }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.due = None;
                if !matches!(frame, Some(Ok(_))) {
                    this.body = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let timeout = this.timeout;
                let due = this.due.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
                if due.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.body = None;
                this.unread.put(Rest::Late);
                Poll::Ready(Some(Err("the body did not come in time".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        if let Some(rest) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.unread.put(Rest::Body(rest));
        }
    }
}

/// A request that is being answered; its drop is the end.
struct Answering(Arc<Connection>);

impl Answering {
    fn body(self, body: Body) -> Body {
        Body::new(Answer { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Answer {
    body: Body,
    _answering: Answering,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
