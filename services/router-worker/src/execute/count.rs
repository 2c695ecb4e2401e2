//! Counting tokens where the destination whose turn it is has no counting of its own: an estimate, without a call.
//!
//! The next destination is not asked instead: it is another model's tokeniser, and a provider that would not see the request itself.

use super::{End, Execution};
use crate::{attempt::ChunkSink, providers::token_count_estimate};
use rust_decimal::Decimal;
use tollgate_schemas::{ApiType, Body, PriceStatus, Terminal, UsageRow};

impl<S: ChunkSink> Execution<'_, S> {
    /// The end of a request for a count. `None`: it is about something else, go on.
    pub(super) fn counted(&self) -> Option<End> {
        (self.task.request.api_type == ApiType::CountTokens).then_some(End::Counted)
    }

    /// The estimate.
    pub(super) fn estimate(&self) -> Terminal {
        Terminal {
            body: Some(Body::Inline(token_count_estimate(self.task.chat))),
            ..Terminal::answered(&self.task.request.caller.team)
        }
    }
}

/// Nobody was called, so it costs nothing.
pub(super) fn costs_nothing(usage: &mut UsageRow) {
    if usage.attempts.is_empty() {
        (usage.cost_usd, usage.price_status) = (Some(Decimal::ZERO), Some(PriceStatus::Free));
    }
}
