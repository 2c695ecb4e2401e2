//! An answer that was kept, given again; and the keeping.

use super::{Executor, Finished, carried, count::costs_nothing, ending::tell_cost};
use crate::{
    cache::{Cache, Kept, Key},
    config::Endpoint,
    providers::{Fields, refers_to_stored},
};
use std::time::Duration;
use tollgate_schemas::{
    ApiError, CacheUse, ErrorCode, Lane, Request, Terminal, UsageRow, now_us, reply::DROPPED_HEADER,
};

/// Tells the caller what came of kept answers: `hit`, `miss` or `bypass`.
const CACHE_HEADER: &str = "x-tollgate-cache";

/// Where the answer to a request is kept.
pub(super) struct Place<'a> {
    cache: &'a Cache,
    key: Key,
    ttl: Duration,
    wish: CacheUse,
}

impl<'a> Place<'a> {
    /// `None`: the endpoint keeps no answers. A judge's verdict is none of its answers; and what a conversation says that its provider
    /// keeps is not in the request, so that the same one is another turn.
    pub(super) fn of(cache: &'a Cache, endpoint: &Endpoint, request: &Request, chat: &Fields) -> Option<Self> {
        let kept = endpoint.cache.filter(|_| request.lane != Lane::Judge && refers_to_stored(chat).is_none())?;
        let key = Key::of(kept.scope, request, chat);
        Some(Self { cache, key, ttl: kept.ttl.duration(), wish: request.cache })
    }

    /// What is kept there, if the request takes it.
    pub(super) async fn take(&self) -> Option<Kept> {
        if self.wish == CacheUse::Use { self.cache.get(&self.key).await } else { None }
    }

    /// Keeps the answer of a request that has ended, if it is to be.
    pub(super) async fn keep(self, answer: Option<Kept>, finished: &mut Finished) {
        let is_bypassed = self.wish == CacheUse::Bypass;
        let word = if is_bypassed { "bypass" } else { "miss" };
        finished.terminal.headers.insert(CACHE_HEADER.to_owned(), word.to_owned());
        if let Some(answer) = answer.filter(|_| !is_bypassed && finished.terminal.error.is_none()) {
            let (destination, dropped) = (finished.terminal.destination.clone(), finished.terminal.dropped());
            let kept = Kept { cost_usd: finished.usage.cost_usd, destination, dropped, ..answer };
            self.cache.put(self.key, kept, self.ttl).await;
        }
    }
}

impl Executor {
    /// Ends a request with a kept answer. Nobody is called, so it costs nothing; what it would have cost is saved. What the first caller
    /// was told of the answer is told again.
    pub(super) async fn again(&self, request: &Request, mut usage: UsageRow, kept: Kept, is_checked: bool) -> Finished {
        metrics::counter!("tollgate_cache_hits_total", "endpoint" => request.endpoint.clone()).increment(1);
        let Kept { body, finish_reason, cost_usd, destination, dropped, .. } = kept;
        let mut terminal = match self.check_in(request, body).await {
            Ok(body) => Terminal { body: Some(body), ..Terminal::answered(&request.caller.team) },
            Err(error) => {
                tracing::error!(%error, request_id = %request.request_id, "a kept answer cannot be stored");
                let message = "the answer is too large for a record and could not be written to object storage";
                Terminal::failed(&request.caller.team, ApiError::new(ErrorCode::Internal, message))
            }
        };
        terminal.headers.insert(CACHE_HEADER.to_owned(), "hit".to_owned());
        if !dropped.is_empty() {
            terminal.headers.insert(DROPPED_HEADER.to_owned(), dropped.join(", "));
        }
        terminal.destination = destination;
        let ledger = carried(request);
        terminal.attempts = u32::try_from(ledger.calls()).unwrap_or(u32::MAX);
        ledger.fill(&mut usage, Some(now_us()), finish_reason);
        (usage.cache_hit, usage.saved_usd) = (true, cost_usd);
        costs_nothing(&mut usage);
        tell_cost(&mut terminal, &usage);
        Finished { terminal, usage, is_checked, copies: Vec::new() }
    }
}
