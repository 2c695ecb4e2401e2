//! How the end of a request is told: to the caller, and in its row.

use super::{AGAIN_AFTER, Done, End, Execution, Finished, cancelled, carried, count::costs_nothing, shadow};
use crate::{
    attempt::{Broken, ChunkSink, Ended},
    failure::{Class, Failure, RECOVERING},
};
use std::time::Duration;
use tollgate_schemas::{ApiError, ErrorCode, Request, Terminal, UsageRow, reply::DROPPED_HEADER};

/// Tells the caller what all calls for the request cost together, in US dollars.
const COST_HEADER: &str = "x-tollgate-cost-usd";

impl<S: ChunkSink> Execution<'_, S> {
    pub(super) async fn finish(self, end: End, mut usage: UsageRow) -> Finished {
        let (attempts, last) = (self.ledger.calls(), self.ledger.destination().map(str::to_owned));
        let is_counted = matches!(end, End::Counted);
        let (terminal, first_content_us, finish_reason) = match end {
            End::Answered(ended) => {
                let first = ended.first_content_us;
                let reason = ended.answer.as_ref().and_then(|answer| answer.finish_reason.clone());
                (self.answered(ended).await, first, reason)
            }
            End::Counted => (self.estimate(), None, None),
            End::Broken(_, ended) => {
                let first = ended.first_content_us;
                (self.interrupted(ended).await, first, None)
            }
            End::Cancelled => (Terminal::failed(&self.task.request.caller.team, cancelled()), None, None),
            End::Exhausted => (self.exhausted(), None, None),
            End::Expired | End::Parked(_) | End::HandedOver => {
                (Terminal::failed(&self.task.request.caller.team, self.task.request.expired_error()), None, None)
            }
        };
        let mut terminal =
            Terminal { destination: last, attempts: u32::try_from(attempts).unwrap_or(u32::MAX), ..terminal };
        self.ledger.fill(&mut usage, first_content_us, finish_reason);
        if is_counted {
            costs_nothing(&mut usage);
        }
        tell_cost(&mut terminal, &usage);
        let copies = shadow::copies(self.task.endpoint, self.task.request, &terminal);
        Finished { terminal, usage, is_checked: self.is_checked, copies }
    }

    async fn answered(&self, mut ended: Ended) -> Terminal {
        let dropped = std::mem::take(&mut ended.dropped);
        let lost = || ApiError::new(ErrorCode::Internal, "the answer was lost; this is a defect");
        let body = match ended.answer {
            Some(answer) => self.check_in(answer.body).await,
            None => Err(lost()),
        };
        match body {
            Ok(body) => {
                let mut terminal = Terminal { body: Some(body), ..self.blank() };
                if !dropped.is_empty() {
                    terminal.headers.insert(DROPPED_HEADER.to_owned(), dropped.join(", "));
                }
                terminal
            }
            Err(error) => {
                let mut terminal = Terminal::failed(&self.task.request.caller.team, error);
                terminal.forbid_retry();
                terminal
            }
        }
    }

    /// The caller has seen the beginning: it gets what there was, and why there is no more.
    async fn interrupted(&self, mut ended: Ended) -> Terminal {
        let error = match ended.broken.take() {
            Some(Broken::Failed(failure)) => match failure.class {
                Class::Timeout => {
                    ApiError::new(ErrorCode::ProviderTimeout, "the provider stopped in the middle of its answer")
                }
                Class::Deadline => failure.api_error(),
                _ => ApiError::new(ErrorCode::ProviderError, "the provider's stream broke in the middle of its answer"),
            },
            Some(Broken::HandedOver) => ApiError::new(
                ErrorCode::StreamInterrupted,
                "the worker that produced the stream was stopped; ask again",
            ),
            Some(Broken::Cancelled | Broken::Outrun) | None => cancelled(),
        };
        let body = match ended.answer {
            Some(answer) => self.task.executor.check_in(self.task.request, answer.body).await.ok(),
            None => None,
        };
        Terminal { status: error.code.status(), body, error: Some(error), ..self.blank() }
    }

    fn exhausted(&self) -> Terminal {
        let Some(failure) = self.failure.as_ref().or(self.inexpressible.as_ref()) else {
            // No call was made at all: there was nobody to call, or no time.
            let nobody = || ApiError::new(ErrorCode::ProviderError, "the endpoint has no destination");
            let is_empty = self.task.endpoint.destinations.is_empty();
            let error = if is_empty { nobody() } else { self.task.request.expired_error() };
            return Terminal::failed(&self.task.request.caller.team, error);
        };
        let error = match failure.class {
            // The last call's failure is no news, and a caller is better told when to come back.
            Class::Server | Class::Connect if self.are_all_open() => ApiError::new(ErrorCode::Overloaded, RECOVERING),
            _ => failure.api_error(),
        };
        let mut terminal = Terminal::failed(&self.task.request.caller.team, error);
        match failure.class {
            Class::Rejected | Class::ContextWindow | Class::ContentPolicy => {
                terminal.status = failure.status.unwrap_or(terminal.status);
            }
            // No call was made, so trying again multiplies nothing.
            Class::Inexpressible | Class::Deadline | Class::Busy | Class::Open => {}
            Class::Limited if failure.is_throttle() => {}
            // The gateway has tried as often as is sensible; an SDK that tries again would only multiply that.
            _ => terminal.forbid_retry(),
        }
        if let Some(wait) = self.retry_after(failure) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            terminal.headers.insert("retry-after".to_owned(), seconds.max(1).to_string());
        }
        terminal
    }

    fn are_all_open(&self) -> bool {
        self.task.endpoint.destinations.iter().all(|destination| destination.health.cooling().is_some())
    }

    /// When it makes sense to ask again: what the provider said, or when the first destination opens to calls.
    fn retry_after(&self, failure: &Failure) -> Option<Duration> {
        let cooling = self.task.endpoint.destinations.iter().filter_map(|d| d.health.cooling());
        let first = cooling.map(|cooling| cooling.reopens_in).min();
        match failure.class {
            Class::RateLimited | Class::Open => first.into_iter().chain(failure.retry_after).min(),
            Class::Server if failure.is_overload() => {
                first.into_iter().chain([failure.retry_after.unwrap_or(AGAIN_AFTER)]).min()
            }
            Class::Busy => Some(first.unwrap_or(AGAIN_AFTER)),
            Class::Limited => failure.retry_after.and_then(|asked| first.into_iter().chain([asked]).min()),
            Class::Server | Class::Timeout | Class::Connect => first.filter(|_| self.are_all_open()),
            Class::Refused
            | Class::Rejected
            | Class::ContextWindow
            | Class::ContentPolicy
            | Class::Inexpressible
            | Class::Deadline => None,
        }
    }

    fn blank(&self) -> Terminal {
        Terminal::answered(&self.task.request.caller.team)
    }
}

/// Tells the caller of an answer what it cost, if that is known.
pub(super) fn tell_cost(terminal: &mut Terminal, usage: &UsageRow) {
    if let (None, Some(usd)) = (&terminal.error, usage.cost_usd) {
        terminal.headers.insert(COST_HEADER.to_owned(), usd.normalize().to_string());
    }
}

/// An end without a call; those of earlier executions are in the row all the same.
pub(super) fn failed(request: &Request, mut usage: UsageRow, error: ApiError) -> Done {
    let ledger = carried(request);
    let mut terminal = Terminal::failed(&request.caller.team, error);
    terminal.attempts = u32::try_from(ledger.calls()).unwrap_or(u32::MAX);
    ledger.fill(&mut usage, None, None);
    Done::Ended(Box::new(Finished { terminal, usage, is_checked: false, copies: Vec::new() }))
}
