//! A refusal as the caller sees it: 429, with the tightest limit's figures, and when to come back if that helps.
//!
//! Headers: <https://platform.openai.com/docs/guides/rate-limits>. SDKs obey `retry-after-ms` before `retry-after`, and do not try
//! again where `x-should-retry` is false; Node's would sleep until the month ends, so a budget has no `retry-after`.

use tollgate_admission::{Figure, Figures, Reason, Refused, duration_text};
use tollgate_schemas::{ApiError, ErrorCode};

type Headers = Vec<(&'static str, String)>;

/// The reason's name in metrics.
pub(super) fn name(reason: &Reason) -> &'static str {
    match reason {
        Reason::Budget { .. } => "budget",
        Reason::Unpriced => "unpriced",
        Reason::TooLarge { .. } => "too_large",
        Reason::Rate { .. } => "rate",
        Reason::Concurrent { .. } => "concurrent",
    }
}

/// What the caller is told.
pub(super) fn error(refused: &Refused) -> ApiError {
    let mut headers = headers_of(&refused.figures);
    match refused.retry_after_ms() {
        Some(ms) => {
            headers.push(("retry-after", ms.div_ceil(1000).max(1).to_string()));
            headers.push(("retry-after-ms", ms.to_string()));
        }
        None => headers.push(("x-should-retry", "false".to_owned())),
    }
    let code = if refused.is_quota() { ErrorCode::InsufficientQuota } else { ErrorCode::RateLimitExceeded };
    ApiError { headers, ..ApiError::new(code, refused.message()) }
}

/// `x-ratelimit-*`.
pub(crate) fn headers_of(figures: &Figures) -> Headers {
    let of = |figure: &Option<Figure>, names: [&'static str; 3]| {
        let Some(Figure { limit, remaining, reset_ms }) = *figure else { return Vec::new() };
        names.into_iter().zip([limit.to_string(), remaining.to_string(), duration_text(reset_ms)]).collect()
    };
    let mut headers: Headers = of(
        &figures.requests,
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    );
    headers.extend(of(
        &figures.tokens,
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    ));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reason: Reason) -> (u16, Vec<(&'static str, String)>) {
        let figures = Figures { requests: Some(Figure { limit: 60, remaining: 0, reset_ms: 360_000 }), tokens: None };
        let error = error(&Refused { reason, figures });
        (error.code.status(), error.headers)
    }

    #[test]
    fn a_limit_says_when_to_come_back_and_a_budget_does_not() {
        let rate = Reason::Rate {
            meter: "m".into(),
            unit: tollgate_admission::plan::Unit::Requests,
            limit: 60,
            remaining: 0,
            per: "minute",
            reset_ms: 360_000,
            retry_after_ms: 1_200,
        };
        let (status, headers) = told(rate);
        assert_eq!(status, 429);
        for (name, value) in [("retry-after", "2"), ("retry-after-ms", "1200"), ("x-ratelimit-reset-requests", "6m0s")]
        {
            assert!(headers.contains(&(name, value.to_owned())), "{name} in {headers:?}");
        }
        let (status, headers) = told(Reason::Unpriced);
        assert_eq!(status, 429);
        assert!(headers.contains(&("x-should-retry", "false".to_owned())));
        assert!(headers.iter().all(|(name, _)| !name.starts_with("retry-after")));
    }
}
