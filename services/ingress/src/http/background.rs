//! `GET /v1/responses/{id}` and `POST /v1/responses/{id}/cancel`: answers that were asked for in the background.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/get>, `…/cancel`. Deliberately absent: answers that nobody asked for in the
//! background, which are at `/v1/requests/{id}` and at the provider that may have stored them; streams; deletion, which is the window's.

use super::{
    Failure, Path, Query,
    answer::{self, trace_parent},
    requests::found,
};
use crate::{
    Gateway, Pending,
    admit::{self, AZURE, AZURE_RESPONSES, SERVING, below},
    background::{Accepted, request_of},
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tollgate_runtime::config::JOB_DEADLINE;
use tollgate_schemas::{ApiError, ApiType, ErrorCode, RequestId, Terminal, now_us};

/// How long a cancellation's caller waits for the end.
const ENDED_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after a request's deadline its end may still be on its way to stored results. Storage that is away is an error.
const STORED_WITHIN: Duration = Duration::from_secs(3600);

/// How an answer is asked for.
#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    stream: bool,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    let path = below(ApiType::Responses);
    let bases = [
        ApiType::Responses.path().to_owned(),
        format!("{SERVING}{path}"),
        format!("{AZURE}{path}"),
        AZURE_RESPONSES.to_owned(),
    ];
    let of = |all: Router<Arc<Gateway>>, base: String| {
        all.route(&format!("{base}/{{id}}"), get(retrieve)).route(&format!("{base}/{{id}}/cancel"), post(cancel))
    };
    // Databricks' path of an endpoint by the name of the API would be taken for an answer's.
    let named = |State(gateway), request: Request| {
        answer::traced(gateway, admit::Path::Invocations("responses".to_owned()), request)
    };
    bases.into_iter().fold(Router::new(), of).route(&format!("{SERVING}{path}/invocations"), post(named))
}

/// What a caller gets at once: the response that it can ask for. A repeat of one that was not asked for in the background is
/// from now on.
pub(super) async fn queued(gateway: &Gateway, pending: &Pending, accepted: &Accepted) -> Result<Response, Failure> {
    let id = pending.id();
    if pending.is_repeat() {
        accepted.keep(&gateway.results, id).await?;
    }
    let mut response = Json(accepted.response(id, "queued", None)).into_response();
    answer::tell(&mut response, id, None, None);
    Ok(response)
}

async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (id, accepted) = known(&gateway, &id, &headers).await?;
    if form.stream {
        let message =
            "an answer in the background comes when it is whole; leave out `stream`, and ask again until it has ended";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message).param("stream").into());
    }
    match found(&gateway, id).await? {
        Some(terminal) => ended(&gateway, id, &accepted, &terminal).await,
        None => Ok(not_ended(id, &accepted)),
    }
}

/// Whoever has ended keeps its end, which is the answer.
async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (id, accepted) = known(&gateway, &id, &headers).await?;
    gateway.cancel(id, &accepted.team, &trace_parent(&headers).unwrap_or_default()).await?;
    match tokio::time::timeout(ENDED_TIMEOUT, gateway.ended(id, &accepted.team)).await {
        Ok(terminal) => ended(&gateway, id, &accepted, &terminal).await,
        Err(_) => Ok(not_ended(id, &accepted)),
    }
}

/// The caller's request of that id. Another team's looks like one that does not exist.
async fn known(gateway: &Gateway, id: &str, headers: &HeaderMap) -> Result<(RequestId, Accepted), Failure> {
    let identity = gateway.config().identify(headers).await?;
    let absent = || {
        let message =
            "no answer of yours in the background has this id; it may be older than the window of stored results";
        ApiError::new(ErrorCode::RequestNotFound, message)
    };
    let id = request_of(id).ok_or_else(absent)?;
    let accepted = Accepted::find(&gateway.results, id).await?.filter(|accepted| accepted.team == identity.team);
    Ok((id, accepted.ok_or_else(absent)?))
}

/// The response for a request that no stored result has ended.
fn not_ended(id: RequestId, accepted: &Accepted) -> Response {
    let lost = lost(id, now_us() / 1000);
    let status = if lost.is_some() { "failed" } else { "in_progress" };
    Json(accepted.response(id, status, lost.as_ref())).into_response()
}

/// Why a request that has no stored end will never have one, if its time is over: whoever asks until it has ended would ask for as
/// long as it is remembered.
fn lost(id: RequestId, now_ms: i64) -> Option<ApiError> {
    let lasts_ms = i64::try_from((JOB_DEADLINE + STORED_WITHIN).as_millis()).unwrap_or(i64::MAX);
    (now_ms - id.unix_ms() > lasts_ms).then(|| {
        let message =
            "the request's time is over and its end was not kept; its row in the usage table says what became of it";
        ApiError::new(ErrorCode::Internal, message)
    })
}

/// The answer as its provider gave it, or why there is none.
async fn ended(
    gateway: &Gateway,
    id: RequestId,
    accepted: &Accepted,
    terminal: &Terminal,
) -> Result<Response, Failure> {
    let Some(error) = &terminal.error else { return answer::finished(gateway, id, terminal).await };
    let response = match error.code {
        ErrorCode::Cancelled => accepted.response(id, "cancelled", None),
        _ => accepted.response(id, "failed", Some(error)),
    };
    let mut response = Json(response).into_response();
    answer::tell(&mut response, id, terminal.destination.as_deref(), Some(terminal.attempts));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_did_not_come_in_time_will_not_come() {
        let (id, hour_ms) = (RequestId::new(), 3_600_000);
        let after = |hours: i64| lost(id, id.unix_ms() + hours * hour_ms).map(|error| error.code);
        assert_eq!((after(-1), after(0), after(24), after(25)), (None, None, None, None));
        assert_eq!((after(26), after(48)), (Some(ErrorCode::Internal), Some(ErrorCode::Internal)));
    }
}
