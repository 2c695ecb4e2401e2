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
use tollgate_schemas::{ApiError, ApiType, ErrorCode, RequestId, Terminal};

/// How long a cancellation's caller waits for the end.
const ENDED_TIMEOUT: Duration = Duration::from_secs(3);

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
        None => Ok(Json(accepted.response(id, "in_progress", None)).into_response()),
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
        Err(_) => Ok(Json(accepted.response(id, "in_progress", None)).into_response()),
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
