//! Which provider to try next: a pure decision over what has happened so far.
//!
//! The first destination is drawn by weight; after it come the fallbacks in their order. `retry.on` says which failures
//! are worth another try at the same destination; whatever the class, a failure that is not the caller's fault goes on to
//! the next one. A request the provider calls wrong ends at once, because the next provider would be asked the same.

use crate::failure::Class;
use std::time::Duration;
use tollgate_runtime::config::{Retry, RetryOn};
use tollgate_schemas::AttemptAction;

/// A provider may ask for this much patience; if it asks for more, the next destination is tried.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// No back-off is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What came of a try, as far as the next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Index into the plan's order of destinations.
    pub destination: usize,
    /// How it failed.
    pub class: Class,
    /// The provider's status, if it gave one.
    pub status: Option<u16>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Call a destination after a pause.
    Try {
        /// Index of the destination.
        destination: usize,
        /// Why.
        action: AttemptAction,
        /// The pause.
        after: Duration,
    },
    /// Nothing more can be done; the last failure is the answer.
    GiveUp,
}

/// The order of destinations: one drawn by weight, then every fallback. `random` is in 0.0..1.0.
///
/// The result holds indexes into the weighted destinations followed by the fallbacks. It is empty only if there are no
/// destinations.
pub(crate) fn order(weights: &[u32], fallbacks: usize, random: f64) -> Vec<usize> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    // Weights of zero all round mean nothing; the first is as good as any.
    let mut point = (random.clamp(0.0, 1.0) * total as f64) as u64;
    let mut chosen = 0;
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        chosen = index;
        match point.checked_sub(u64::from(*weight)) {
            Some(rest) => point = rest,
            None => break,
        }
    }
    let first = (!weights.is_empty()).then_some(chosen);
    first.into_iter().chain(weights.len()..weights.len() + fallbacks).collect()
}

/// The next step. `left` is the time until the request's deadline, `random` in 0.0..1.0 spreads the back-off.
pub(crate) fn next(order: &[usize], policy: &Retry, history: &[Outcome], left: Duration, random: f64) -> Step {
    if left.is_zero() {
        return Step::GiveUp;
    }
    let Some(last) = history.last() else {
        return order.first().map_or(Step::GiveUp, |first| Step::Try {
            destination: *first,
            action: AttemptAction::InitialAttempt,
            after: Duration::ZERO,
        });
    };
    // A request that could not be said in a provider's language was never sent to it.
    let calls = history.iter().filter(|outcome| outcome.class != Class::Inexpressible).count();
    if matches!(last.class, Class::Rejected | Class::Deadline) || calls >= policy.max_attempts as usize {
        return Step::GiveUp;
    }
    let here = history.iter().filter(|outcome| outcome.destination == last.destination).count();
    if here < policy.attempts as usize && is_worth_retrying(policy, last) {
        let after = pause(policy, last, here, random);
        if after <= RETRY_AFTER_MAX && after < left {
            return Step::Try { destination: last.destination, action: AttemptAction::Retry, after };
        }
    }
    let at = order.iter().position(|destination| *destination == last.destination);
    match at.and_then(|at| order.get(at + 1)) {
        // Nothing has been called yet, so what comes is still the first attempt.
        Some(next) if calls == 0 => {
            Step::Try { destination: *next, action: AttemptAction::InitialAttempt, after: Duration::ZERO }
        }
        Some(next) => Step::Try { destination: *next, action: AttemptAction::Fallback, after: Duration::ZERO },
        None => Step::GiveUp,
    }
}

fn is_worth_retrying(policy: &Retry, last: &Outcome) -> bool {
    let status = last.status.is_some_and(|status| policy.on.contains(&RetryOn::Status(status)));
    match last.class {
        Class::RateLimited => status,
        Class::Server => status || policy.on.contains(&RetryOn::ServerError),
        Class::Timeout | Class::Connect => status || policy.on.contains(&RetryOn::Timeout),
        Class::Refused | Class::Rejected | Class::Inexpressible | Class::Deadline => false,
    }
}

/// What the provider asks for, else the back-off, doubled each time, between half and the whole of it.
fn pause(policy: &Retry, last: &Outcome, tries: usize, random: f64) -> Duration {
    if let Some(asked) = last.retry_after {
        return asked;
    }
    let doubling = 1u32 << (tries - 1).min(16) as u32;
    let backoff = policy.backoff.duration().saturating_mul(doubling).min(BACKOFF_MAX);
    backoff.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
