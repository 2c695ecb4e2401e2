//! What an execution is about, and its calls.

use super::Executor;
use crate::{
    allowance::Allowance,
    attempt::{Call, ChunkSink, Ended, Limits, Signals},
    config::Endpoint,
    failure::Failure,
    patience::Patience,
    providers::{Asked, Fields, Wire, asks_for_later, refers_to_stored},
    spans,
};
use std::{borrow::Cow, time::Duration};
use tollgate_schemas::{ApiType, AttemptAction, Request};
use tracing::Instrument;

/// How long a call queues for a place among the destination's calls before something else is tried: the next destination, or
/// parking. Somebody who waits for the answer and has nowhere else to go queues for up to `timeout.first_byte`: who sets a
/// small `concurrency` for a model of his own wants a queue, not errors.
pub(super) const QUEUE_MAX: Duration = Duration::from_secs(5);
/// What an execution is about, from its beginning to its end.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub executor: &'a Executor,
    pub request: &'a Request,
    pub endpoint: &'a Endpoint,
    /// The model at each of the endpoint's destinations.
    pub models: &'a [Cow<'a, str>],
    /// The request's body.
    pub chat: &'a Fields,
    pub limits: Limits,
    pub signals: Signals<'a>,
}

/// A call to be made, and what is to be settled when it has ended.
pub(super) struct Running<'a> {
    pub call: Call<'a>,
    pub index: usize,
    pub action: AttemptAction,
    pub span: tracing::Span,
    pub allowance: Option<Allowance<'a>>,
}

impl Running<'_> {
    pub(super) async fn run<S: ChunkSink>(&mut self, patience: &mut Patience<'_>, sink: Option<&mut S>) -> Ended {
        let span = self.span.clone();
        self.call.run(patience, self.allowance.as_mut(), sink).instrument(span).await
    }
}

impl<'a> Task<'a> {
    /// A conversation that a provider keeps is not a shadow's to go on with.
    fn may_store(&self) -> bool {
        let endpoint = self.endpoint;
        endpoint.allows_store && endpoint.destinations.len() == 1 && self.request.shadow.is_none()
    }

    /// Why no destination can serve it, whether or not one is to be called now.
    pub(super) fn refusal(&self) -> Option<Failure> {
        if self.request.api_type != ApiType::Responses {
            return None;
        }
        let stored = || refers_to_stored(self.chat).filter(|_| !self.may_store());
        stored().or_else(|| asks_for_later(self.chat).filter(|_| !self.endpoint.drops_unsupported))
    }

    /// A call to a destination, to be made in the words of `wire`.
    pub(super) fn begin<'c>(
        &self,
        index: usize,
        wire: &'c dyn Wire,
        action: AttemptAction,
        signals: Signals<'c>,
    ) -> Running<'c>
    where
        'a: 'c,
    {
        let Self { executor, request, endpoint, models, chat, limits, .. } = *self;
        let destination = &*endpoint.destinations[index];
        let asked = Asked {
            chat,
            api_headers: &request.api_headers,
            upstream_model: &models[index],
            unsupported: &destination.unsupported,
            shown_model: &request.model,
            stream: request.stream,
            default_max_tokens: endpoint.default_max_tokens,
            may_store: self.may_store(),
            created: tollgate_schemas::now_us() / 1_000_000,
            request_id: request.request_id,
            begun: None,
        };
        let call = Call {
            destination,
            wire,
            asked,
            lane: request.lane,
            bytes: executor.bytes,
            limits,
            queue_max: QUEUE_MAX,
            is_forced: false,
            drops_unsupported: endpoint.drops_unsupported,
            holds_refusals: false,
            may_be_resumed: endpoint.resumes,
            signals,
        };
        let span = spans::call(&call, request.api_type);
        let allowance = executor.meters.allowance(&executor.router.limits, request, &call);
        Running { call, index, action, span, allowance }
    }
}
