//! Limits of destinations: a provider call takes what it may need before it leaves, and settles what it used.
//!
//! The counting is `tollgate_admission`'s; a call is a reservation of its own, so a retry takes again. With `admission.store: memory`
//! each router counts by itself and begins anew when it starts; with Valkey all of them count together.

use crate::{
    Error,
    attempt::Call,
    failure::{Class, Failure},
};
use std::time::Duration;
use tollgate_admission::{
    Decision, DestinationLimits, Outage, Reason, Refused, Reservation, Settlement, Store, estimate, plan::counted,
    verdict::CONCURRENT_RETRY_MS,
};
use tollgate_runtime::Config;
use tollgate_schemas::{Attempt, Request, now_us};

/// Where provider calls are given room, or not.
#[derive(Debug)]
pub(crate) struct Meters {
    store: Store,
    outage: Outage,
}

impl Meters {
    /// Those of the store that the configuration names. Must be called on a Tokio runtime.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let store = Store::open(config.admission.store.expose(), &config.gateway)?;
        // In memory only calls of this process count. A Valkey is looked after by ingress.
        store.begin_anew();
        Ok(Self { store, outage: Outage::new(config.admission.on_store_failure) })
    }

    /// What a call asks for; `None` if its destination has no limits. Its tokens are those that admission has estimated, or are
    /// estimated here.
    pub(crate) fn allowance(
        &self,
        limits: &DestinationLimits,
        request: &Request,
        call: &Call<'_>,
    ) -> Option<Allowance<'_>> {
        let tokens = || match request.reserved {
            Some(reserved) => reserved.input_tokens.saturating_add(reserved.output_tokens),
            None => {
                let estimate = estimate::of(request.api_type, &call.asked.chat.to_json());
                estimate.input_tokens.saturating_add(estimate.output(call.asked.default_max_tokens.into()))
            }
        };
        let reservation = limits.reservation(&request.endpoint, &call.destination.name, request.deadline_ms, tokens)?;
        Some(Allowance { meters: self, reservation, is_taken: false })
    }
}

/// What one call takes of its destination's limits.
#[derive(Debug)]
pub(crate) struct Allowance<'a> {
    meters: &'a Meters,
    reservation: Reservation,
    is_taken: bool,
}

impl Allowance<'_> {
    /// Takes it, all or nothing.
    pub(crate) async fn take(&mut self) -> Result<(), Failure> {
        match self.meters.store.admit(&self.reservation, now_us() / 1000).await {
            Ok(Decision::Admitted(_) | Decision::Repeated) => self.is_taken = true,
            Ok(Decision::Refused(refused)) => return Err(refusal(&refused)),
            Err(error) if self.meters.outage.allows("provider calls", &error) => {}
            Err(_) => {
                return Err(Failure {
                    retry_after: Some(Duration::from_millis(CONCURRENT_RETRY_MS)),
                    ..Failure::new(Class::Limited, "the limits of the provider cannot be checked at present")
                });
            }
        }
        Ok(())
    }

    /// Settles it: by what the call used, if it left for the provider; else all of it is given back.
    pub(crate) async fn settle(self, attempt: Option<&Attempt>) {
        if !self.is_taken {
            return;
        }
        let (id, now_ms) = (self.reservation.id, now_us() / 1000);
        let settled = match attempt {
            Some(attempt) => {
                let tokens = counted(attempt.input_tokens).saturating_add(counted(attempt.output_tokens));
                let settlement = Settlement::of_attempt(id, tokens, counted(attempt.cache_read_input_tokens));
                self.meters.store.settle(&settlement, now_ms).await.map(drop)
            }
            None => self.meters.store.release(id, now_ms).await,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "what a call took of its destination's limits cannot be settled; it runs out by itself");
        }
    }
}

/// Without `retry_after`: no waiting helps.
fn refusal(refused: &Refused) -> Failure {
    let (retry_after_ms, message) = match &refused.reason {
        Reason::Rate { retry_after_ms, .. } | Reason::Concurrent { retry_after_ms, .. } => {
            (Some(*retry_after_ms), "every destination's limit is reached; try again later")
        }
        _ => (None, "the request asks for more tokens than the limits of its destinations allow at once"),
    };
    Failure { retry_after: retry_after_ms.map(Duration::from_millis), ..Failure::new(Class::Limited, message) }
}
