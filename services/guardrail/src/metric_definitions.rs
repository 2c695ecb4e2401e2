//! Names and meanings of this service's metrics. Labels are names of checks and judges and outcomes: a small set, which the
//! configuration closes.

use crate::judges::{Ruled, Ruling};
use crate::pipeline::{Judged, Verdict};
use std::time::Duration;

const CHECKS: &str = "tollgate_guardrail_checks_total";
const DURATION: &str = "tollgate_guardrail_duration_seconds";
const CUT_SHORT: &str = "tollgate_guardrail_ended_early_total";
const JUDGES: &str = "tollgate_guardrail_judges_seconds";
const FAILURES: &str = "tollgate_guardrail_judge_failures_total";
const REPEATS: &str = "tollgate_guardrail_judge_cache_hits_total";

/// Registers descriptions for `/metrics`.
pub(crate) fn describe() {
    metrics::describe_counter!(CHECKS, "checks by name and outcome; not_run and failed are never counted as passed");
    metrics::describe_histogram!(DURATION, metrics::Unit::Seconds, "time that all checks of one body took");
    metrics::describe_counter!(CUT_SHORT, "requests ended before their checks, by error code");
    metrics::describe_histogram!(JUDGES, metrics::Unit::Seconds, "time that a judge took for its ruling, or to fail");
    metrics::describe_counter!(FAILURES, "judges that did not rule, in time or at all");
    metrics::describe_counter!(REPEATS, "rulings that were given again");
}

/// Counts a verdict.
pub(crate) fn checked(stage: &'static str, verdict: &Verdict, took: Duration) {
    for checked in &verdict.checks {
        let (check, outcome) = (checked.name.to_string(), checked.outcome.as_str());
        metrics::counter!(CHECKS, "check" => check, "outcome" => outcome).increment(1);
    }
    metrics::histogram!(DURATION, "stage" => stage).record(took.as_secs_f64());
}

/// Counts a request that ended before it was checked.
pub(crate) fn ended_early(code: &'static str) {
    metrics::counter!(CUT_SHORT, "code" => code).increment(1);
}

/// Counts a judge's ruling.
pub(crate) fn ruled(judged: &Judged, ruled: &Ruled) {
    let name = || judged.seat.name().map(ToString::to_string).unwrap_or_default();
    metrics::histogram!(JUDGES, "judge" => name()).record(ruled.took.as_secs_f64());
    if matches!(ruled.ruling, Ruling::Failed(_)) {
        metrics::counter!(FAILURES, "judge" => name()).increment(1);
    }
}

/// Counts a ruling that was given again.
pub(crate) fn ruled_before(judge: &str) {
    metrics::counter!(REPEATS, "judge" => judge.to_owned()).increment(1);
}
