//! From what a store read to what a caller is told: admitted or refused, by which limit, and the figures of the tightest ones.

use crate::{
    money,
    plan::{BudgetText, Fund, Hold, Reservation, Take, Unit},
};
use rust_decimal::Decimal;
use std::sync::Arc;

/// How long to wait for a place when too many requests run at once; nobody knows when one ends.
pub const CONCURRENT_RETRY_MS: u64 = 1_000;

/// What a store found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub done: Done,
    /// One per [`Reservation::rates`]; after taking, if it was taken.
    pub rates: Vec<RateReading>,
    /// How many hold one, one per [`Reservation::holds`], before this one.
    pub holds: Vec<u64>,
    /// Spent and reserved, one per [`Reservation::funds`], before this one.
    pub funds: Vec<(u64, u64)>,
}

/// What a store did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Refused,
    Taken,
    /// It was taken, or even settled, before.
    Repeated,
}

/// One rate meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateReading {
    pub used: u64,
    /// Until the amount fits: 0 now, `None` never.
    pub wait_ms: Option<u64>,
    pub reset_ms: u64,
}

/// The answer to a reservation.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Everything was taken.
    Admitted(Figures),
    /// The same id was admitted before; nothing more was taken.
    Repeated,
    /// Nothing was taken.
    Refused(Refused),
}

/// The tightest limits of a request, for `x-ratelimit-*` headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// `x-ratelimit-{limit,remaining,reset}-requests`.
    pub requests: Option<Figure>,
    /// `x-ratelimit-{limit,remaining,reset}-tokens`.
    pub tokens: Option<Figure>,
}

/// One limit's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The most in a window.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Until all of it is free, milliseconds; [`duration_text`] writes it as the header wants it.
    pub reset_ms: u64,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Why: the tightest of what refused it.
    pub reason: Reason,
    /// The headers.
    pub figures: Figures,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// A blocking budget has no room for it. Waiting does not help.
    Budget {
        /// Which.
        budget: Option<Arc<BudgetText>>,
        /// Spend in the period, US dollars.
        spent_usd: Decimal,
        /// Reserved by requests that run.
        reserved_usd: Decimal,
        /// When the period ends, milliseconds since the Unix epoch.
        end_ms: Option<i64>,
    },
    /// A blocking budget applies, the endpoint has a destination without a price, and the team's `on_unpriced` is `deny`.
    Unpriced,
    /// It alone is more than the limit: no waiting helps, a smaller request does.
    TooLarge {
        /// The meter.
        meter: String,
        /// What it counts.
        unit: Unit,
        /// What was asked for.
        amount: u64,
        /// The limit.
        limit: u64,
        /// `second`, `minute`, `hour` or `day`.
        per: &'static str,
    },
    /// A limit on requests or tokens is used up.
    Rate {
        /// The meter.
        meter: String,
        /// What it counts.
        unit: Unit,
        /// The limit.
        limit: u64,
        /// What is left of it.
        remaining: u64,
        /// `second`, `minute`, `hour` or `day`.
        per: &'static str,
        /// Until all of it is free, milliseconds.
        reset_ms: u64,
        /// When a retry fits if nobody else comes, milliseconds from now.
        retry_after_ms: u64,
    },
    /// As many requests run as may.
    Concurrent {
        /// The meter.
        meter: String,
        /// The limit.
        limit: u64,
        /// When to try again, milliseconds from now.
        retry_after_ms: u64,
    },
}

impl Refused {
    /// `retry-after-ms`; `None` if waiting does not help. `retry-after` is this in seconds, rounded up.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self.reason {
            Reason::Rate { retry_after_ms, .. } | Reason::Concurrent { retry_after_ms, .. } => Some(retry_after_ms),
            Reason::Budget { .. } | Reason::Unpriced | Reason::TooLarge { .. } => None,
        }
    }

    /// Whether money is the reason: 429 `insufficient_quota`. Else 429 `rate_limit_exceeded`.
    pub fn is_quota(&self) -> bool {
        matches!(self.reason, Reason::Budget { .. } | Reason::Unpriced)
    }

    /// What a caller is told. Names the limit, never somebody else's figures.
    pub fn message(&self) -> String {
        let tokens = |unit: &Unit| if *unit == Unit::Requests { "requests" } else { "tokens" };
        match &self.reason {
            Reason::Budget { budget: Some(budget), .. } => format!(
                "the budget `{}` ({} US dollars per {}) has no room for this request; ask an administrator to raise it, or wait for its next period",
                budget.name,
                budget.usd,
                crate::period::name(budget.per)
            ),
            Reason::Budget { budget: None, .. } => "a budget has no room for this request".to_owned(),
            Reason::Unpriced => "this model has no price and a budget applies to you; ask an administrator to set a price, or on_unpriced: allow".to_owned(),
            Reason::TooLarge { unit, amount, limit, per, .. } => format!(
                "this request needs {amount} {} and the limit is {limit} per {per}; send a shorter prompt or a lower max_tokens",
                tokens(unit)
            ),
            Reason::Rate { unit, limit, per, retry_after_ms, .. } => format!(
                "the limit of {limit} {} per {per} is used up; try again in {}",
                tokens(unit),
                duration_text(*retry_after_ms)
            ),
            Reason::Concurrent { limit, .. } => {
                format!("{limit} requests run at once, which is the limit; try again when one has ended")
            }
        }
    }
}

impl Reading {
    /// What the caller is told.
    pub(crate) fn decision(&self, reservation: &Reservation) -> Decision {
        match self.done {
            Done::Taken => Decision::Admitted(self.figures(reservation)),
            Done::Repeated => Decision::Repeated,
            Done::Refused => {
                Decision::Refused(Refused { reason: self.reason(reservation), figures: self.figures(reservation) })
            }
        }
    }

    fn figures(&self, reservation: &Reservation) -> Figures {
        let tightest = |requests: bool| {
            let rates = reservation.rates.iter().zip(&self.rates);
            let figures = rates.filter(|(take, _)| (take.unit == Unit::Requests) == requests).map(figure);
            figures.min_by_key(|figure| (figure.remaining, std::cmp::Reverse(figure.reset_ms)))
        };
        Figures { requests: tightest(true), tokens: tightest(false) }
    }

    /// Money first, because waiting does not help; then what can never fit; then the longest wait.
    fn reason(&self, reservation: &Reservation) -> Reason {
        let mut funds = reservation.funds.iter().zip(&self.funds);
        if let Some((fund, (spent, reserved))) =
            funds.find(|(fund, (spent, reserved))| !fund_fits(fund, *spent, *reserved, reservation.nano))
        {
            return Reason::Budget {
                budget: fund.budget.clone(),
                spent_usd: money::usd(*spent),
                reserved_usd: money::usd(*reserved),
                end_ms: fund.end_ms,
            };
        }
        let rates = reservation.rates.iter().zip(&self.rates);
        let longest = rates.max_by_key(|(_, read)| read.wait_ms.unwrap_or(u64::MAX));
        let full = reservation.holds.iter().zip(&self.holds).find(|(hold, held)| !hold_fits(hold, **held));
        match (longest, full) {
            (Some((take, read)), _) if read.wait_ms.is_none() => Reason::TooLarge {
                meter: take.meter.clone(),
                unit: take.unit,
                amount: take.amount,
                limit: take.limit,
                per: take.per(),
            },
            (Some((take, read)), full) if read.wait_ms > full.map_or(Some(0), |_| Some(CONCURRENT_RETRY_MS)) => {
                let Figure { limit, remaining, reset_ms } = figure((take, read));
                Reason::Rate {
                    meter: take.meter.clone(),
                    unit: take.unit,
                    limit,
                    remaining,
                    per: take.per(),
                    reset_ms,
                    retry_after_ms: read.wait_ms.unwrap_or_default(),
                }
            }
            (_, full) => Reason::Concurrent {
                meter: full.map(|(hold, _)| hold.meter.clone()).unwrap_or_default(),
                limit: full.map_or(0, |(hold, _)| hold.limit),
                retry_after_ms: CONCURRENT_RETRY_MS,
            },
        }
    }
}

fn figure((take, read): (&Take, &RateReading)) -> Figure {
    Figure { limit: take.limit, remaining: take.limit.saturating_sub(read.used), reset_ms: read.reset_ms }
}

/// Whether one more may run.
pub(crate) fn hold_fits(hold: &Hold, held: u64) -> bool {
    held < hold.limit
}

/// Whether a budget has room.
pub(crate) fn fund_fits(fund: &Fund, spent: u64, reserved: u64, nano: u64) -> bool {
    let used = spent.saturating_add(reserved);
    if fund.strict { used.saturating_add(nano) <= fund.ceiling_nano } else { used < fund.ceiling_nano }
}

/// Milliseconds as OpenAI's headers write them: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m30s`.
pub fn duration_text(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let seconds = format!("{}.{:03}", ms / 1000 % 60, ms % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (20_000, "20s"),
            (360_000, "6m0s"),
            (3_630_000, "1h0m30s"),
            (86_400_001, "24h0m0.001s"),
        ] {
            assert_eq!(duration_text(ms), text);
        }
    }
}
