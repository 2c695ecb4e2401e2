//! The router's metrics. Labels are bounded: names from the configuration, HTTP statuses, a few words.

use crate::{
    attempt::Ended,
    execute::{Done, Finished},
};
use std::time::Duration;
use tollgate_schemas::{Attempt, Lane, Request};

/// Counts and times one provider call.
pub(crate) fn attempt(attempt: &Attempt, ended: &Ended) {
    let status = match (attempt.status_code, attempt.error_code.as_deref()) {
        (Some(status), _) => status.to_string(),
        (None, Some("timeout" | "deadline_exceeded")) => "timeout".to_owned(),
        (None, Some(word @ ("cancelled" | "outrun"))) => word.to_owned(),
        (None, _) => "failed".to_owned(),
    };
    let (provider, destination) = (attempt.provider.clone(), attempt.destination.clone());
    metrics::counter!("tollgate_provider_requests_total",
        "provider" => provider.clone(), "destination" => destination.clone(), "status" => status)
    .increment(1);
    let seconds = Duration::from_millis(u64::try_from(attempt.latency_ms).unwrap_or(0)).as_secs_f64();
    metrics::histogram!("tollgate_provider_request_duration_seconds",
        "provider" => provider.clone(), "destination" => destination.clone())
    .record(seconds);
    if let (Some(first), Some(sent)) = (ended.first_content_us, ended.sent_us) {
        metrics::histogram!("tollgate_provider_time_to_first_token_seconds",
            "provider" => provider, "destination" => destination.clone())
        .record((first - sent) as f64 / 1e6);
    }
    for (kind, count) in [("input", attempt.input_tokens), ("output", attempt.output_tokens)] {
        let count = count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        metrics::counter!("tollgate_tokens_total", "destination" => destination.clone(), "type" => kind)
            .increment(count);
    }
}

/// Counts one request that ended, is put aside to wait, or was broken off because this process ends.
pub(crate) fn done(lane: Lane, done: &Done) {
    let lane = lane.as_str();
    match done {
        Done::Ended(finished) => {
            let status = finished.terminal.status.to_string();
            metrics::counter!("tollgate_router_requests_total", "lane" => lane, "status" => status)
        }
        Done::Parked(parked) => {
            metrics::counter!("tollgate_router_parked_total", "topic" => parked.topic.spec.name)
        }
        Done::HandedOver(_) => metrics::counter!("tollgate_router_handed_over_total", "lane" => lane),
    }
    .increment(1);
}

/// Counts one copy of a request that is made for a shadow.
pub(crate) fn copied(copy: &Request) {
    let shadow = copy.shadow.clone().unwrap_or_default();
    metrics::counter!("tollgate_router_shadows_total", "endpoint" => copy.endpoint.clone(), "shadow" => shadow)
        .increment(1);
}

/// Counts a copy that has ended without an answer; of any other request nothing.
pub(crate) fn copy_ended(request: &Request, finished: &Finished) {
    let Some(shadow) = request.shadow.clone().filter(|_| finished.terminal.error.is_some()) else { return };
    let endpoint = request.endpoint.clone();
    metrics::counter!("tollgate_router_shadows_failed_total", "endpoint" => endpoint, "shadow" => shadow).increment(1);
}

/// Counts one call that was not made, because the destination's circuit is open (`circuit_open`) or it has no place (`busy`).
pub(crate) fn turned_away(destination: &str, reason: String) {
    metrics::counter!("tollgate_router_turned_away_total", "destination" => destination.to_owned(), "reason" => reason)
        .increment(1);
}

/// A parked request that this process holds; dropping it is the end of its wait.
pub(crate) struct Waiting(());

impl Waiting {
    /// Counts one more.
    pub(crate) fn begin() -> Self {
        metrics::gauge!("tollgate_router_waiting").increment(1.0);
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!("tollgate_router_waiting").decrement(1.0);
    }
}

/// A request under way on a lane; dropping it is its end.
pub(crate) struct InFlight(Lane);

impl InFlight {
    /// Counts one more.
    pub(crate) fn begin(lane: Lane) -> Self {
        metrics::gauge!("tollgate_router_in_flight", "lane" => lane.as_str()).increment(1.0);
        Self(lane)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("tollgate_router_in_flight", "lane" => self.0.as_str()).decrement(1.0);
    }
}
