//! `GET /v1/requests/{id}`: the answer of an earlier request, for its team; `DELETE` ends it early.

use super::{Path, error::Failure};
use crate::Gateway;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tollgate_runtime::MAX_CLOCK_SKEW_MS;
use tollgate_schemas::{ApiError, ErrorCode, ReplyEvent, RequestId, Terminal, job::JobResponse, now_us};

/// How long a cancellation's caller waits for stored results to say that the request has ended.
const ENDED_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let identity = gateway.config().identify(&headers).await?;
    let id: RequestId = id.parse().map_err(|_| not_found())?;
    let Some(terminal) = found(&gateway, id).await? else {
        if gateway.waits(id, &identity.team) {
            let running = json!({ "id": id, "object": "request", "status": "in_progress" });
            return Ok((StatusCode::ACCEPTED, Json(running)).into_response());
        }
        return Err(not_found().into());
    };
    // Another team's request looks like one that does not exist.
    if terminal.team != identity.team {
        return Err(not_found().into());
    }
    document(&gateway, id, &terminal).await
}

/// `DELETE`: asks whoever owns the request to end it. Whether it exists is known only once it has ended, so an id that could be
/// one is answered like a running request; so is another team's, which goes on. One that has ended stays as it is, and its
/// document is the answer if it is at hand: to end a request needs no stored results.
pub(super) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let team = &gateway.config().identify(&headers).await?.team;
    let id: RequestId = id.parse().map_err(|_| not_found())?;
    let config = gateway.config();
    if !is_known(id, config.results_window.max(config.longest_deadline), now_us() / 1000) {
        return Err(not_found().into());
    }
    let trace = super::answer::trace_parent(&headers).unwrap_or_default();
    gateway.cancel(id, team, &trace).await?;
    let ended = async {
        let terminal = found(&gateway, id).await.ok()?.filter(|terminal| terminal.team == *team)?;
        document(&gateway, id, &terminal).await.ok()
    };
    if let Ok(Some(document)) = tokio::time::timeout(ENDED_TIMEOUT, ended).await {
        return Ok(document);
    }
    let cancelling = json!({ "id": id, "object": "request", "status": "cancelling" });
    Ok((StatusCode::ACCEPTED, Json(cancelling)).into_response())
}

/// Whether a request of this id may be alive or have a result: not if it is older than either lasts, or from the future.
fn is_known(id: RequestId, lasts: Duration, now_ms: i64) -> bool {
    let lasts_ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2);
    (now_ms - lasts_ms - MAX_CLOCK_SKEW_MS..=now_ms + MAX_CLOCK_SKEW_MS).contains(&id.unix_ms())
}

pub(super) async fn found(gateway: &Gateway, id: RequestId) -> Result<Option<Box<Terminal>>, ApiError> {
    let found = gateway.results.find(id).await.map_err(|error| {
        tracing::error!(%error, "stored results cannot be read");
        ApiError::new(ErrorCode::Overloaded, "stored results cannot be read now; try again")
    })?;
    Ok(found.and_then(|reply| if let ReplyEvent::Terminal(terminal) = reply.event { Some(terminal) } else { None }))
}

async fn document(gateway: &Gateway, id: RequestId, terminal: &Terminal) -> Result<Response, Failure> {
    let body = gateway.body_of(id, terminal).await?;
    let error = terminal.error.as_ref().map(|error| error.openai()["error"].take());
    let status = if error.is_some() { "failed" } else { "completed" };
    let (status_code, dropped) = (terminal.status, terminal.dropped());
    let response = body.map(|body| JobResponse { status_code, request_id: id, body, dropped });
    let document = json!({ "id": id, "object": "request", "status": status, "status_code": status_code, "response": response, "error": error });
    Ok(Json(document).into_response())
}

fn not_found() -> ApiError {
    let message = "no finished request of yours has this id; it may still be running (ask again), or be older than the window of stored results";
    ApiError::new(ErrorCode::RequestNotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_job_is_known_for_as_long_as_it_may_live() {
        let (id, hour) = (RequestId::new(), Duration::from_secs(3600));
        let after = |hours: i64| id.unix_ms() + hours * 3_600_000;
        assert!(is_known(id, hour * 24, after(23)) && !is_known(id, hour * 24, after(25)));
        assert!(!is_known(id, hour, after(2)) && !is_known(id, hour, after(-1)));
    }
}
