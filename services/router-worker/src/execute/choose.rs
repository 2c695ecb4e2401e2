//! In which order a request tries the destinations of its endpoint.

use super::Task;
use crate::{
    config::{Destination, Share},
    ledger,
    load::Pace,
    route::order::{Candidate, order, sticky},
    tokens::Tokens,
};
use rust_decimal::prelude::ToPrimitive;
use std::{borrow::Cow, sync::Arc};
use tokio::time::Instant;
use tollgate_admission::estimate;
use tollgate_runtime::config::{Routing, Sticky};

impl Task<'_> {
    /// Indexes of the endpoint's destinations, the fallbacks last.
    pub(super) fn order(&self) -> Vec<usize> {
        let (endpoint, now) = (self.endpoint, Instant::now());
        let tokens = if endpoint.routing == Routing::Cheapest { self.tokens() } else { Tokens::default() };
        let candidate = |((share, destination), model): ((&Share, &Arc<Destination>), &Cow<'_, str>)| Candidate {
            priority: share.priority,
            weight: share.weight,
            rank: match endpoint.routing {
                Routing::Weighted => 0.0,
                Routing::Cheapest => self.price(destination, model, &tokens),
                Routing::Fastest => destination.load.slowness(self.pace(), now),
                Routing::LeastBusy => destination.load.under_way() as f64 / f64::from(share.weight.max(1)),
            },
        };
        let known = endpoint.shares.iter().zip(&endpoint.destinations).zip(self.models);
        let candidates: Vec<Candidate> = known.map(candidate).collect();
        let caller = self.stays();
        let draw = |index: usize| match caller {
            Some(caller) => sticky(caller, &endpoint.destinations[index].name),
            None => fastrand::f64(),
        };
        let mut order = order(&candidates, draw);
        order.extend(endpoint.shares.len()..endpoint.destinations.len());
        order
    }

    /// Whose requests this one is to follow. Who is not known by what is asked for is known by the next larger thing.
    fn stays(&self) -> Option<&str> {
        let caller = &self.request.caller;
        let user = || caller.end_user.as_deref().or(caller.user_id.as_deref());
        let key = || caller.key_id.as_deref().unwrap_or(&caller.team);
        match self.endpoint.sticky? {
            Sticky::Key => Some(key()),
            Sticky::User => Some(user().unwrap_or_else(key)),
        }
    }

    fn pace(&self) -> Pace {
        if self.request.stream { Pace::FirstContent } else { Pace::Whole }
    }

    /// What the request may use, as admission has estimated it, or as it would.
    fn tokens(&self) -> Tokens {
        let (input, output) = match self.request.reserved {
            Some(reserved) => (reserved.input_tokens, reserved.output_tokens),
            None => {
                let estimate = estimate::of(self.request.api_type, &self.chat.to_json());
                (estimate.input_tokens, estimate.output(self.endpoint.default_max_tokens.into()))
            }
        };
        Tokens { input, output, ..Tokens::default() }
    }

    /// US dollars; what has no price is the dearest.
    fn price(&self, destination: &Destination, model: &str, tokens: &Tokens) -> f64 {
        let (router, now_us) = (&self.executor.router, tollgate_schemas::now_us());
        let cost = ledger::cost(router, (destination, model), None, now_us, tokens);
        cost.usd.and_then(|usd| usd.to_f64()).unwrap_or(f64::INFINITY)
    }
}
