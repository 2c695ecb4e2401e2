//! A refusal as the caller sees it: 429, with the tightest limit's figures, and when to come back if that helps.
//!
//! Headers: <https://platform.openai.com/docs/guides/rate-limits> and <https://platform.claude.com/docs/en/api/rate-limits>. SDKs obey
//! `retry-after-ms` before `retry-after`, and do not try again where `x-should-retry` is false; Node's would sleep until the month
//! ends, so a budget has no `retry-after`.

use tollgate_admission::{Figure, Figures, Reason, Refused, duration_text};
use tollgate_schemas::{ApiError, ErrorCode, error::Shape};

type Headers = Vec<(&'static str, String)>;

/// Names of the limit, of what is left of it, and of when all of it is free: of requests, and of tokens.
type Names = [[&'static str; 3]; 2];

/// OpenAI's, whose resets are durations; callers of APIs that have none of their own get these too.
const USUAL: Names = [
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
];
/// Anthropic's, whose resets are times.
const ANTHROPIC: Names = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"],
];

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

/// What the caller is told, whose API has errors of this shape.
pub(super) fn error(refused: &Refused, shape: Shape, now_ms: i64) -> ApiError {
    let mut headers = headers_of(&refused.figures, shape, now_ms);
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

/// What is left of the tightest limits, as callers of an API whose errors have this shape know it.
pub(crate) fn headers_of(figures: &Figures, shape: Shape, now_ms: i64) -> Headers {
    let is_anthropic = shape == Shape::Anthropic;
    let all = if is_anthropic { ANTHROPIC } else { USUAL };
    let mut headers = Headers::new();
    for (names, figure) in all.into_iter().zip([figures.requests, figures.tokens]) {
        let Some(Figure { limit, remaining, reset_ms }) = figure else { continue };
        let reset = if is_anthropic { time_text(now_ms, reset_ms) } else { duration_text(reset_ms) };
        headers.extend(names.into_iter().zip([limit.to_string(), remaining.to_string(), reset]));
    }
    headers
}

/// The second that is over `after_ms` milliseconds from now, as RFC 3339 has it.
fn time_text(now_ms: i64, after_ms: u64) -> String {
    let at_s = now_ms.saturating_add_unsigned(after_ms).saturating_add(999).div_euclid(1000);
    let at = chrono::DateTime::from_timestamp(at_s, 0).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: Figures =
        Figures { requests: Some(Figure { limit: 60, remaining: 0, reset_ms: 360_000 }), tokens: None };

    fn told(reason: Reason) -> (u16, Vec<(&'static str, String)>) {
        let error = error(&Refused { reason, figures: FIGURES }, Shape::OpenAi, 0);
        (error.code.status(), error.headers)
    }

    #[test]
    fn callers_of_anthropics_api_read_its_own_headers() {
        let figures = Figures { tokens: Some(Figure { limit: 9, remaining: 4, reset_ms: 1 }), ..FIGURES };
        let headers = headers_of(&figures, Shape::Anthropic, 1_795_400_000_000);
        let expected = [
            ("anthropic-ratelimit-requests-limit", "60"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-23T02:19:20Z"),
            ("anthropic-ratelimit-tokens-limit", "9"),
            ("anthropic-ratelimit-tokens-remaining", "4"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-23T02:13:21Z"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
        let names: Vec<&str> = headers_of(&figures, Shape::Google, 0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, USUAL.concat());
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
