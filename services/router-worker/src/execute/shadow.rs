//! Copies of requests for an endpoint's shadows: of which requests, what they say, and where they are worked on.
//!
//! A copy is a request of its own, of the batch lane, that has one destination and ends with its usage row. Nothing of the request
//! that it is made of waits for it or hears of it. Deliberately absent: a comparison of the two answers, which nobody keeps.

use super::Executor;
use crate::{
    config::{Endpoint, Shadow},
    route::order::sticky,
};
use std::sync::Arc;
use tollgate_schemas::{
    ApiError, ApiType, CacheUse, Caller, ErrorCode, Lane, OnDisconnect, ReplyTo, Request, RequestId, Terminal, now_us,
};

impl Executor {
    /// The endpoint of a request; that of a copy has the shadow as its only destination.
    pub(super) fn endpoint(&self, request: &Request) -> Result<Arc<Endpoint>, ApiError> {
        let gone = |what: &str, name: &str| {
            let message = format!("the {what} `{name}` has been removed since the request was accepted");
            ApiError::new(ErrorCode::ModelNotFound, message).param("model")
        };
        let endpoint = self.router.endpoint(&request.endpoint).ok_or_else(|| gone("endpoint", &request.endpoint))?;
        let Some(name) = &request.shadow else { return Ok(endpoint) };
        let shadow = endpoint.shadows.iter().find(|shadow| shadow.name == *name);
        shadow.map(|shadow| shadow.alone.clone()).ok_or_else(|| gone("shadow", name))
    }
}

/// The copies of a request that has ended, if it was answered: for each shadow whose share it falls into, which its id decides.
pub(super) fn copies(endpoint: &Endpoint, request: &Request, terminal: &Terminal) -> Vec<Request> {
    // A count says nothing of a model.
    let is_asked = request.lane != Lane::Judge && request.api_type != ApiType::CountTokens;
    if endpoint.shadows.is_empty() || terminal.error.is_some() || !is_asked {
        return Vec::new();
    }
    let id = request.request_id.to_string();
    let drawn = endpoint.shadows.iter().filter(|shadow| sticky(&id, &shadow.name) < shadow.share);
    drawn.map(|shadow| copy(endpoint, shadow, request)).collect()
}

fn copy(endpoint: &Endpoint, shadow: &Shadow, request: &Request) -> Request {
    let accepted_us = now_us();
    let total_ms = i64::try_from(endpoint.timeout.total.0).unwrap_or(i64::MAX / 2);
    Request {
        request_id: RequestId::of_child(request.request_id, &shadow.name),
        lane: Lane::Batch,
        endpoint: request.endpoint.clone(),
        model: request.model.clone(),
        api_type: request.api_type,
        stream: false,
        body: request.body.clone(),
        api_headers: request.api_headers.clone(),
        caller: Caller { team: shadow.team.clone(), ..Caller::default() },
        reply: ReplyTo::NOBODY,
        tags: shadow.tags.clone(),
        accepted_us,
        deadline_ms: accepted_us / 1000 + total_ms,
        cache: CacheUse::Bypass,
        on_disconnect: OnDisconnect::Finish,
        parent_request_id: Some(request.request_id),
        shadow: Some(shadow.name.clone()),
        batch_id: None,
        idempotency_key: None,
        // Its input has been checked once.
        guardrail_outcome: None,
        guardrails: Vec::new(),
        policy_version: None,
        // Nobody reads its answer.
        restore: Default::default(),
        masked: Vec::new(),
        // It did not come by the door.
        reserved: None,
        waiting: None,
    }
}
