//! Limits and budgets at the doors: what a request may take is reserved before it is published, and settled by its usage row.
//!
//! ```text
//! request ─► estimate ─► policy ─► store: taken, or refused ─► published
//! usage ─► settle ─► store, alerts ─► webhooks        storage: snapshot ◄─► rebuild ◄─ usage, requests
//! ```
//!
//! The rules and the counting are `tollgate_admission`'s; this connects them to requests, Kafka and storage. Deliberately absent:
//! limits of destinations, which only the router can keep.

mod rebuild;
mod refusal;
mod settle;
mod webhook;

use crate::Error;
use std::{collections::HashMap, sync::Arc};
use tokio_util::sync::CancellationToken;
use tollgate_admission::{Ask, Decision, Figures, Outage, Policy, Store, Who, estimate};
use tollgate_runtime::{Config, Control, control::Derived};
use tollgate_schemas::{ApiError, Body, ErrorCode, Request, Reserved, now_us};

pub(crate) use rebuild::Keeper;
pub(crate) use refusal::headers_of;

/// The rules of one configuration.
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    /// No request takes anything.
    pub(crate) idle: bool,
    /// Output tokens by endpoint where the caller sets no maximum.
    reserve_output: HashMap<String, u64>,
    webhooks: webhook::Targets,
}

impl Rules {
    fn of(config: &Config) -> Self {
        let limits = config.endpoints.iter().any(|it| !it.limits.is_empty())
            || config.teams.iter().any(|it| !it.limits.is_empty() || !it.budgets.is_empty())
            || config.users.iter().any(|it| !it.limits.is_empty())
            || config.keys.iter().any(|it| !it.limits.is_empty());
        Self {
            policy: Policy::compile(config),
            idle: !limits && config.budgets.is_empty(),
            reserve_output: config.endpoints.iter().map(|it| (it.name.clone(), it.reserve_output.into())).collect(),
            webhooks: webhook::Targets::of(&config.webhooks),
        }
    }
}

/// Where requests are given room, or not.
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) rules: Derived<Rules>,
    outage: Outage,
}

impl Desk {
    /// With the store that the configuration names. It counts as down until the [`Keeper`] has brought it up to date.
    pub(crate) fn open(control: &Control, stop: &CancellationToken) -> Result<Self, Error> {
        let config = control.base();
        let made = |config: &Arc<Config>, _: Option<&Rules>| Ok::<_, Error>(Rules::of(config));
        Ok(Self {
            store: Store::open(config.admission.store.expose(), &config.gateway)?,
            rules: control.derive("limits and budgets", stop, made)?,
            outage: Outage::new(config.admission.on_store_failure),
        })
    }

    /// Takes what a request may need, all of it or nothing. What a strict budget was asked for caps its output. Returns the figures
    /// of the tightest limits; an error has them too, as headers.
    pub(crate) async fn reserve(&self, request: &mut Request) -> Result<Figures, ApiError> {
        let rules = self.rules.get();
        if rules.idle {
            return Ok(Figures::default());
        }
        let Body::Inline(body) = &request.body else { return Ok(Figures::default()) };
        let estimate = estimate::of(request.api_type, body.get());
        let reserved = rules.reserve_output.get(&request.endpoint).copied().unwrap_or_default();
        let output_tokens = estimate.output(reserved);
        let ask = ask(request, estimate.input_tokens, output_tokens);
        let (now_ms, shape) = (now_us() / 1000, request.api_type.errors());
        let plan = rules.policy.plan(&ask, now_ms).map_err(|refused| refusal::error(&refused, shape, now_ms))?;
        if plan.reservation.is_empty() {
            return Ok(Figures::default());
        }
        let figures = match self.store.admit(&plan.reservation, now_ms).await {
            Ok(Decision::Admitted(figures)) => figures,
            Ok(Decision::Repeated) => Figures::default(),
            Ok(Decision::Refused(refused)) => {
                metrics::counter!("tollgate_admission_refused_total", "reason" => refusal::name(&refused.reason))
                    .increment(1);
                return Err(refusal::error(&refused, shape, now_ms));
            }
            Err(error) if self.outage.allows("requests", &error) => Figures::default(),
            Err(_) => {
                let message = "limits and budgets cannot be checked at present; try again in a moment";
                return Err(ApiError::new(ErrorCode::Overloaded, message));
            }
        };
        request.reserved = Some(Reserved {
            input_tokens: estimate.input_tokens,
            output_tokens,
            max_output_tokens: plan.output_tokens_max.map(|most| most / estimate.choices),
        });
        Ok(figures)
    }

    /// Gives back what a request took that was not published after all.
    pub(crate) async fn release(&self, id: tollgate_schemas::RequestId) {
        if self.rules.get().idle {
            return;
        }
        if let Err(error) = self.store.release(id.0, now_us() / 1000).await {
            tracing::warn!(%error, request_id = %id, "what a request had reserved cannot be given back; it runs out by itself");
        }
    }
}

/// What a request asks for.
fn ask(request: &Request, input_tokens: u64, output_tokens: u64) -> Ask<'_> {
    let caller = &request.caller;
    Ask {
        id: request.request_id.0,
        who: Who {
            team: &caller.team,
            key_id: caller.key_id.as_deref(),
            user: caller.user_id.as_deref(),
            endpoint: &request.endpoint,
            tags: &request.tags,
        },
        deadline_ms: request.deadline_ms,
        input_tokens,
        output_tokens,
    }
}
