//! Names and meanings of this service's metrics. Labels are check names and outcomes: a small, closed set.

use crate::pipeline::Verdict;
use std::time::Duration;

const CHECKS: &str = "tollgate_guardrail_checks_total";
const DURATION: &str = "tollgate_guardrail_duration_seconds";
const CUT_SHORT: &str = "tollgate_guardrail_ended_early_total";

/// Registers descriptions for `/metrics`.
pub(crate) fn describe() {
    metrics::describe_counter!(CHECKS, "checks by name and outcome; not_run is never counted as passed");
    metrics::describe_histogram!(DURATION, metrics::Unit::Seconds, "time that all checks of one body took");
    metrics::describe_counter!(CUT_SHORT, "requests ended before their checks, by error code");
}

/// Counts a verdict.
pub(crate) fn checked(stage: &'static str, verdict: &Verdict, took: Duration) {
    for (check, outcome) in &verdict.checks {
        metrics::counter!(CHECKS, "check" => *check, "outcome" => outcome.as_str()).increment(1);
    }
    metrics::histogram!(DURATION, "stage" => stage).record(took.as_secs_f64());
}

/// Counts a request that ended before it was checked.
pub(crate) fn ended_early(code: &'static str) {
    metrics::counter!(CUT_SHORT, "code" => code).increment(1);
}
