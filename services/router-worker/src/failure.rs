//! Why a provider call gave no answer, in the classes the planner decides by.

use crate::health::Cooling;
use std::time::Duration;
use tollgate_schemas::{ApiError, ErrorCode};

/// Longest provider message that is passed on, in characters.
const MESSAGE_MAX_CHARS: usize = 2_000;

/// What a caller hears whose request finds every circuit open.
pub(crate) const RECOVERING: &str = "every provider failed lately and is left alone for a while; try again later";

/// What kind of failure it was. The planner knows nothing else about providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// 429: too many requests.
    RateLimited,
    /// 5xx, 529, a redirect, or an answer that makes no sense.
    Server,
    /// No answer in time (408 too).
    Timeout,
    /// No connection, or one that broke before an answer.
    Connect,
    /// 401, 402, 403, exhausted quota: the gateway's credential is refused, not the caller's.
    Refused,
    /// Any other 4xx: the provider says the request is wrong.
    Rejected,
    /// The request cannot be said in this provider's language; no call was made.
    Inexpressible,
    /// The request's deadline passed.
    Deadline,
    /// The destination's own bound on concurrent calls gave no place in time; no call was made.
    Busy,
    /// The destination's circuit is open; no call was made.
    Open,
    /// The destination's own limits on requests and tokens have no room; no call was made.
    Limited,
}

impl Class {
    /// Whether a call left for the provider, or could have.
    pub(crate) fn is_call(self) -> bool {
        !matches!(self, Class::Inexpressible | Class::Busy | Class::Open | Class::Limited)
    }
}

/// A provider call that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What kind.
    pub class: Class,
    /// The provider's HTTP status, if it gave one.
    pub status: Option<u16>,
    /// The provider's own error code or type, for the usage row; at most 64 characters.
    pub code: Option<String>,
    /// For people. Passed to the caller only for [`Class::Rejected`], [`Class::Inexpressible`] and [`Class::Limited`].
    pub message: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// It is a matter of the credential, and the provider has another one that may be used at once.
    pub other_credential: bool,
}

impl Failure {
    /// A failure without a provider's answer.
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            code: None,
            message: message.into(),
            param: None,
            retry_after: None,
            request_id: None,
            other_credential: false,
        }
    }

    /// A request field that cannot be said in the provider's language; `why` follows its name.
    pub(crate) fn inexpressible(param: impl Into<String>, why: &str) -> Self {
        let param = param.into();
        let message = format!("`{param}` {why}");
        Self { param: Some(param), ..Self::new(Class::Inexpressible, message) }
    }

    /// A provider's answer that makes no sense: it is treated as the provider's fault, like a 5xx.
    pub(crate) fn malformed(what: &str) -> Self {
        Self {
            code: Some("malformed_response".to_owned()),
            ..Self::new(Class::Server, format!("the provider sent {what}"))
        }
    }

    /// A failure with an HTTP status, classified by it alone.
    pub(crate) fn of_status(status: u16, message: impl Into<String>) -> Self {
        let class = match status {
            429 => Class::RateLimited,
            408 | 504 => Class::Timeout,
            401..=403 => Class::Refused,
            400..=499 => Class::Rejected,
            _ => Class::Server,
        };
        let message: String = message.into();
        let message = message.chars().take(MESSAGE_MAX_CHARS).collect::<String>();
        Self { status: Some(status), ..Self::new(class, message) }
    }

    /// No call was made, because the destination's circuit is open.
    pub(crate) fn open(cooling: Cooling) -> Self {
        Self {
            // What a call would have met.
            status: cooling.is_rate_limit.then_some(429),
            retry_after: Some(cooling.reopens_in),
            ..Self::new(Class::Open, "the destination is not called at present")
        }
    }

    /// Whether the same request may do better later, though nothing about it or the destination changes: the provider has too
    /// much to do (429, 503, Anthropic's 529), cannot be reached at all, or is kept from being called.
    pub(crate) fn is_throttle(&self) -> bool {
        match self.class {
            Class::RateLimited | Class::Busy | Class::Open => true,
            // Else it is too large for the limit at any time.
            Class::Limited => self.retry_after.is_some(),
            Class::Server => self.is_overload(),
            // A broken connection has a code: the provider was there and may have done work.
            Class::Connect => self.code.is_none(),
            _ => false,
        }
    }

    /// The provider says that it has too much to do, whoever asks.
    pub(crate) fn is_overload(&self) -> bool {
        self.class == Class::Server && matches!(self.status, Some(503 | 529))
    }

    /// What the usage row shows as the attempt's error.
    pub(crate) fn error_code(&self) -> String {
        let fallback = match self.class {
            Class::RateLimited => "rate_limited",
            Class::Server => "server_error",
            Class::Timeout => "timeout",
            Class::Connect => "connection_failed",
            Class::Refused => "credential_refused",
            Class::Rejected => "rejected",
            Class::Inexpressible => "inexpressible",
            Class::Deadline => "deadline_exceeded",
            Class::Busy => "busy",
            Class::Open => "circuit_open",
            Class::Limited => "limited",
        };
        self.code.as_deref().unwrap_or(fallback).chars().take(64).collect()
    }

    /// The error a caller sees when this failure is the last word. A provider's refusal of the gateway's credential, and
    /// whatever it says about it, stays inside.
    pub(crate) fn api_error(&self) -> ApiError {
        let throttling = || (ErrorCode::RateLimitExceeded, "every provider is throttling; try again later".to_owned());
        let (code, message) = match self.class {
            Class::RateLimited => throttling(),
            Class::Open if self.status == Some(429) => throttling(),
            Class::Open => (ErrorCode::Overloaded, RECOVERING.to_owned()),
            Class::Server if self.is_overload() => {
                (ErrorCode::Overloaded, "every provider is overloaded; try again later".to_owned())
            }
            Class::Busy => (
                ErrorCode::Overloaded,
                "every destination has as many calls under way as it takes; try again later".to_owned(),
            ),
            Class::Limited => (ErrorCode::RateLimitExceeded, self.message.clone()),
            Class::Timeout => (ErrorCode::ProviderTimeout, "no provider answered in time".to_owned()),
            Class::Server | Class::Connect | Class::Refused => (
                ErrorCode::ProviderError,
                "every provider failed; see the gateway's usage table for each attempt".to_owned(),
            ),
            Class::Rejected => (ErrorCode::ProviderRejected, self.message.clone()),
            Class::Inexpressible => (ErrorCode::InvalidRequest, self.message.clone()),
            Class::Deadline => {
                (ErrorCode::DeadlineExceeded, "the request's deadline passed before a provider had answered".to_owned())
            }
        };
        let error = ApiError::new(code, message);
        match &self.param {
            Some(param) if matches!(self.class, Class::Rejected | Class::Inexpressible) => error.param(param.clone()),
            _ => error,
        }
    }
}
