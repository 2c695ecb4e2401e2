//! Why a provider call gave no answer, in the classes the planner decides by.

use crate::health::Cooling;
use std::time::Duration;
use tollgate_runtime::config::Trigger;
use tollgate_schemas::{ApiError, ErrorCode};

/// Longest provider message that is passed on, in characters.
const MESSAGE_MAX_CHARS: usize = 2_000;

/// Why a field is refused that the provider has no word for.
pub(crate) const NO_EQUIVALENT: &str =
    "has no equivalent at this model's provider; leave it out or use another endpoint";

/// What a caller hears whose request finds every circuit open.
pub(crate) const RECOVERING: &str = "every provider failed lately and is left alone for a while; try again later";

const TOO_LONG_CODES: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
const TOO_LONG_WORDS: [&str; 14] = [
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "context window",
    "input token count",
    "input is too long",
    "too many input tokens",
    "too many tokens: total number of tokens",
    "too many tokens: size limit exceeded",
    "prompt token count",
    "maximum prompt length",
    "`inputs` must have less than",
    "`max_new_tokens` must be <=",
    "longer than the model's context length",
];
const POLICY_CODES: [&str; 3] = ["content_filter", "content_policy_violation", "invalid_prompt"];
const POLICY_WORDS: [&str; 4] = [
    "content management policy",
    "content filtering policy",
    "violating our usage policy",
    "contentpolicyviolationerror",
];

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
    /// The request is longer than the model takes.
    ContextWindow,
    /// The provider or its model will not speak of it: a 4xx, or an answer that says no more than that.
    ContentPolicy,
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

    /// What a fallback's `on` calls it, if it lies in the request and another model may take it all the same.
    pub(crate) fn of_request(self) -> Option<Trigger> {
        match self {
            Class::ContextWindow => Some(Trigger::ContextWindow),
            Class::ContentPolicy => Some(Trigger::ContentPolicy),
            _ => None,
        }
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
    /// For people. Passed to the caller only if [`Failure::is_of_request`], and of [`Class::Limited`].
    pub message: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// That field may be left out wherever it stands: the rest makes sense without it.
    pub is_optional: bool,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// It is a matter of the credential, and the provider has another one that may be used at once.
    pub other_credential: bool,
    /// The answer has a part that is larger than is taken, as large requests cause it: no sign of how the destination is.
    pub is_size: bool,
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
            is_optional: false,
            retry_after: None,
            request_id: None,
            other_credential: false,
            is_size: false,
        }
    }

    /// A request field that cannot be said in the provider's language; `why` follows its name.
    pub(crate) fn inexpressible(param: impl Into<String>, why: &str) -> Self {
        let param = param.into();
        let message = format!("`{param}` {why}");
        Self { param: Some(param), ..Self::new(Class::Inexpressible, message) }
    }

    /// A request field that the provider has no word for, and that a request makes sense without.
    pub(crate) fn no_equivalent(param: impl Into<String>) -> Self {
        Self { is_optional: true, ..Self::inexpressible(param, NO_EQUIVALENT) }
    }

    /// A provider's answer that makes no sense: it is treated as the provider's fault, like a 5xx.
    pub(crate) fn malformed(what: &str) -> Self {
        Self {
            code: Some("malformed_response".to_owned()),
            ..Self::new(Class::Server, format!("the provider sent {what}"))
        }
    }

    /// The same of one that makes sense, but for its size.
    pub(crate) fn too_large(what: &str) -> Self {
        Self { is_size: true, ..Self::malformed(what) }
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

    /// Tells the requests that are too long for the model, or that it will not speak of, from those that are wrong: by the
    /// provider's code, and where there is none by its words, which are the only sign that most give. Sources: OpenAI's and Azure's
    /// error codes (`context_length_exceeded`, `content_filter`, `content_policy_violation`, `invalid_prompt`), llama.cpp's
    /// (`exceed_context_size_error`), and the messages of Anthropic, vLLM, Gemini, Bedrock, Mistral, Cohere, Databricks, xAI, Hugging
    /// Face's TGI (Together's too), SGLang and LiteLLM.
    pub(crate) fn refined(self) -> Self {
        if self.class != Class::Rejected {
            return self;
        }
        let (code, said) = (self.code.as_deref().unwrap_or_default(), self.message.to_ascii_lowercase());
        let is = |codes: &[&str], words: &[&str]| codes.contains(&code) || words.iter().any(|word| said.contains(word));
        let class = if is(&TOO_LONG_CODES, &TOO_LONG_WORDS) {
            Class::ContextWindow
        } else if is(&POLICY_CODES, &POLICY_WORDS) {
            Class::ContentPolicy
        } else {
            Class::Rejected
        };
        Self { class, ..self }
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

    /// The provider says no to this request, or it cannot be said to it: the caller may read why.
    pub(crate) fn is_of_request(&self) -> bool {
        matches!(self.class, Class::Rejected | Class::Inexpressible) || self.class.of_request().is_some()
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
            Class::ContextWindow => "context_length_exceeded",
            Class::ContentPolicy => "content_policy_violation",
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
            Class::ContextWindow => (ErrorCode::ContextLengthExceeded, self.message.clone()),
            Class::ContentPolicy => (ErrorCode::ContentPolicyViolation, self.message.clone()),
            Class::Inexpressible => (ErrorCode::InvalidRequest, self.message.clone()),
            Class::Deadline => {
                (ErrorCode::DeadlineExceeded, "the request's deadline passed before a provider had answered".to_owned())
            }
        };
        let error = ApiError::new(code, message);
        match &self.param {
            Some(param) if self.is_of_request() => error.param(param.clone()),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_not_spoken_of_is_told_from_what_is_wrong() {
        let class = |status, code: Option<&str>, message: &str| {
            let failure = Failure { code: code.map(str::to_owned), ..Failure::of_status(status, message) };
            failure.refined().class
        };
        for message in [
            "prompt is too long: 208310 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            "This model's maximum context length is 8192 tokens. However, you requested 10000 tokens",
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
            "Input is too long for requested model.",
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000",
            "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs.",
            "Bad request: rpc error: code = InvalidArgument desc = prompt token count (4595) cannot exceed 4096.",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",
            "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
        ] {
            assert_eq!(class(400, None, message), Class::ContextWindow, "{message}");
        }
        assert_eq!(class(400, Some("context_length_exceeded"), ""), Class::ContextWindow);
        assert_eq!(class(400, Some("content_filter"), ""), Class::ContentPolicy);
        assert_eq!(class(400, None, "Output blocked by content filtering policy"), Class::ContentPolicy);
        let litellm = "litellm.ContentPolicyViolationError: content_filter_policy";
        assert_eq!(class(400, Some("400"), litellm), Class::ContentPolicy);
        for message in [
            "`temperature` must be at most 2",
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output for this model",
            "Bad request: rpc error: code = InvalidArgument desc = max_tokens (10000) cannot exceed 8192.",
        ] {
            assert_eq!(class(400, None, message), Class::Rejected, "{message}");
        }
        assert_eq!(class(429, Some("context_length_exceeded"), ""), Class::RateLimited);
    }
}
