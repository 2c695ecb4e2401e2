//! A call of any of the APIs (`ApiType`), under its own path, under those of other gateways (`named`), or Google's (`google`).
//!
//! Sources: <https://platform.openai.com/docs/api-reference>, <https://platform.claude.com/docs/en/api/messages>.

use super::{
    REQUEST_ID, background, body,
    error::{Failure, respond, set_headers, tell_headers},
    stream::{self, Form, Sent},
};
use crate::{
    Admission, Door, Gateway, Pending,
    admit::{Call, Path},
    background::Accepted,
    reserve::headers_of,
};
use axum::{
    extract::{ConnectInfo, OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tollgate_schemas::{
    ApiError, ApiType, CacheUse, Caller, ErrorCode, RequestId, Terminal, TraceContext, headers, now_us,
};
use tracing::Instrument;

const USER_AGENT_MAX_CHARS: usize = 256;
const IDEMPOTENCY_KEY_MAX_CHARS: usize = 255;

/// Headers with tags; the second is Databricks' (<https://docs.databricks.com/aws/en/ai-gateway/>).
const TAG_HEADERS: [&str; 2] = ["x-tollgate-tags", "databricks-ai-gateway-request-tags"];

/// What a caller makes of kept answers.
const CACHE: &str = "x-tollgate-cache";
/// What a request cost, in US dollars.
pub(super) const COST: &str = "x-tollgate-cost-usd";

/// The route of an API, whose bodies name their model.
pub(super) fn route(api: ApiType) -> MethodRouter<Arc<Gateway>> {
    post(move |State(gateway): State<Arc<Gateway>>, request: Request| traced(gateway, Path::Api(api), request))
}

/// Answers a request within its span.
pub(super) async fn traced(gateway: Arc<Gateway>, path: Path, request: Request) -> Result<Response, Failure> {
    let parent = trace_parent(request.headers());
    let (span, trace) = tollgate_bus::producer_span(&format!("POST {}", path.pattern()), parent.as_ref());
    answer(gateway, path, request, trace).instrument(span).await
}

async fn answer(gateway: Arc<Gateway>, path: Path, request: Request, trace: TraceContext) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let identity = gateway.config().identify(&parts.headers).await?;
    let request_id = parts.extensions.get::<RequestId>().copied().unwrap_or_else(RequestId::new);
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
    let caller = Caller {
        ip_address: address,
        user_agent: text(&parts.headers, header::USER_AGENT.as_str(), USER_AGENT_MAX_CHARS),
        url: Some(uri.path().to_owned()),
        ..identity.caller()
    };
    let form = parts.extensions.get::<Form>().copied().unwrap_or(Form::Events);
    let (door, shape) = (Door::Http { idempotency_key: idempotency_key(&parts.headers)? }, path.errors());
    let accepted = async {
        let (body, held) = body::json(&parts.headers, body, (&gateway.bodies, gateway.config().body_max_bytes)).await?;
        let Call { api_type, called, body, mut tags } = path.call(body)?;
        tags.extend(header_tags(&parts.headers)?);
        let api_headers = crate::admit::api_headers(api_type, |name| Some(joined(&parts.headers, name)));
        let reply = gateway.reply_to();
        let cache = cache_use(&parts.headers)?;
        let door = &door;
        let admission = Admission { request_id, api_type, called, api_headers, body, tags, cache, caller, reply, door };
        let request = gateway.admit(admission)?;
        let (stream, accepted) = (request.stream.then(|| Sent::of(&request, form, shape)), Accepted::of(&request));
        let pending = gateway.submit_holding(request, &trace, held).await?;
        Ok::<_, Failure>((pending, stream, accepted))
    };
    let (pending, stream, accepted) = tokio::select! {
        biased;
        accepted = accepted => accepted?,
        () = gateway.stops.over.cancelled() => return Err(stopping().into()),
    };
    let repeated = pending.is_repeat().then_some(pending.id());
    let limits = headers_of(&pending.figures, shape, now_us() / 1000);
    let mut answered = match (stream, accepted) {
        (_, Some(accepted)) => background::queued(&gateway, &pending, &accepted).await,
        (Some(sent), None) => stream::respond_with_stream(pending, sent).await,
        (None, None) => whole(pending).await,
    };
    if let Ok(response) = &mut answered {
        tell_headers(response, &limits);
    }
    let Some(id) = repeated else { return answered };
    let mut response = answered.into_response();
    tell(&mut response, id, None, None);
    let yes = HeaderValue::from_static("true");
    response.headers_mut().insert("x-tollgate-idempotent-replay", yes);
    // It was billed once.
    response.headers_mut().remove(COST);
    if !response.status().is_success() {
        // The same key gets the same answer.
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    Ok(response)
}

/// Waits for the end and answers with it.
async fn whole(mut pending: Pending) -> Result<Response, Failure> {
    match pending.terminal().await? {
        Some(terminal) => finished(pending.gateway(), pending.id(), &terminal).await,
        None => Err(still_running(&pending).into()),
    }
}

/// The response for a terminal: its body as it came, or its error.
pub(super) async fn finished(gateway: &Gateway, id: RequestId, terminal: &Terminal) -> Result<Response, Failure> {
    let mut response = match (&terminal.error, gateway.body_of(id, terminal).await?) {
        (Some(error), _) => respond(terminal.status, &terminal.headers, error),
        (None, Some(body)) => {
            let status = StatusCode::from_u16(terminal.status).unwrap_or(StatusCode::OK);
            let mut response = (status, body.get().to_owned()).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            set_headers(&mut response, &terminal.headers);
            response
        }
        (None, None) => return Err(ApiError::new(ErrorCode::Internal, "the answer has no body").into()),
    };
    tell(&mut response, id, terminal.destination.as_deref(), Some(terminal.attempts));
    Ok(response)
}

/// Sets the headers that say what happened.
pub(super) fn tell(response: &mut Response, id: RequestId, destination: Option<&str>, attempts: Option<u32>) {
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(REQUEST_ID, id.to_string());
    if let Some(destination) = destination {
        set("x-tollgate-destination", destination.to_owned());
    }
    if let Some(attempts) = attempts {
        set("x-tollgate-attempts", attempts.to_string());
    }
}

/// The replica's time was over before the request was published.
fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "this replica is stopping; try again")
}

/// The wait ran out.
pub(super) fn still_running(pending: &Pending) -> ApiError {
    let id = pending.id();
    ApiError::new(
        ErrorCode::StillRunning,
        format!("the request {id} is still running; fetch its answer with GET /v1/requests/{id}"),
    )
}

/// The caller's key. One that cannot be told apart from others is refused rather than cut.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_MAX_CHARS).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let message =
                format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_MAX_CHARS} printable ASCII characters");
            Err(ApiError::new(ErrorCode::InvalidRequest, message).param("Idempotency-Key"))
        }
    }
}

/// The tags of all headers that have some.
fn header_tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for name in TAG_HEADERS.into_iter().rev() {
        for value in headers.get_all(name) {
            // What is not text is wrong in the same way.
            tags.extend(crate::admit::named_tags(value.to_str().unwrap_or("?"), name)?);
        }
    }
    Ok(tags)
}

/// `x-tollgate-cache: refresh | bypass`, else what `cache-control` says of the same (RFC 9111, 5.2.1).
fn cache_use(headers: &HeaderMap) -> Result<CacheUse, ApiError> {
    if let Some(value) = headers.get(CACHE) {
        return value.to_str().ok().and_then(CacheUse::named).ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidRequest, "x-tollgate-cache must be use, refresh or bypass").param(CACHE)
        });
    }
    let says = |directive: &str| {
        let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(directive))
    };
    Ok(match (says("no-store"), says("no-cache")) {
        (true, _) => CacheUse::Bypass,
        (_, true) => CacheUse::Refresh,
        _ => CacheUse::Use,
    })
}

/// All lines of a header; several mean the same as one with commas.
fn joined(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn text(headers: &HeaderMap, name: &str, max_chars: usize) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(max_chars).collect()).filter(|text: &String| !text.is_empty())
}

pub(super) fn trace_parent(all: &HeaderMap) -> Option<TraceContext> {
    let state = all.get(headers::TRACESTATE).and_then(|v| v.to_str().ok());
    TraceContext::parse(all.get(headers::TRACEPARENT)?.to_str().ok()?, state)
}
