//! Calendar periods of budgets: which one an instant belongs to, and when it ends.
//!
//! A period is named by the local date it begins on, so finding it never needs a local time that may not exist or exist twice.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use tollgate_runtime::config::Per;

/// How long a counter is kept after its period has ended, for rows that come late: 3 days.
pub(crate) const KEEP_MS: i64 = 3 * 86_400_000;
/// How long a counter of all time is kept when nothing is added to it: 400 days.
pub(crate) const TOTAL_KEEP_MS: i64 = 400 * 86_400_000;

/// The periods a budget can have.
pub(crate) const PERIODS: [Per; 4] = [Per::Day, Per::Week, Per::Month, Per::Total];

/// One calendar period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    /// Names it: `day/2026-11-29`, `week/2026-11-23` (a Monday), `month/2026-11`, `total`; `…/Europe/Berlin` outside UTC.
    pub label: String,
    /// When it ends; `None`: never.
    pub end_ms: Option<i64>,
}

/// The name of a period as in the configuration.
pub(crate) fn name(per: Per) -> &'static str {
    match per {
        Per::Second => "second",
        Per::Minute => "minute",
        Per::Hour => "hour",
        Per::Day => "day",
        Per::Week => "week",
        Per::Month => "month",
        Per::Total => "total",
    }
}

/// The period of `at_ms` (milliseconds since the Unix epoch). Anything shorter than a day counts as a day: the configuration
/// check refuses such budgets.
pub(crate) fn period(per: Per, zone: Tz, at_ms: i64) -> Period {
    let utc: DateTime<Utc> = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    let date = utc.with_timezone(&zone).date_naive();
    let first = date.with_day(1).unwrap_or(date);
    let monday = date - Days::new(u64::from(date.weekday().num_days_from_monday()));
    let (mut label, next) = match per {
        Per::Total => return Period { label: "total".to_owned(), end_ms: None },
        Per::Month => (format!("month/{}", first.format("%Y-%m")), first.checked_add_months(Months::new(1))),
        Per::Week => (format!("week/{monday}"), monday.checked_add_days(Days::new(7))),
        _ => (format!("day/{date}"), date.checked_add_days(Days::new(1))),
    };
    if zone != Tz::UTC {
        label.push('/');
        label.push_str(zone.name());
    }
    Period { label, end_ms: next.map(|next| midnight_ms(next, zone)) }
}

/// When a local date begins; at the first local time it has, if the clocks skip midnight.
fn midnight_ms(date: NaiveDate, zone: Tz) -> i64 {
    let mut local = date.and_time(NaiveTime::MIN);
    // No zone skips more than a day (Samoa, 2011).
    for _ in 0..=24 * 4 {
        if let Some(found) = zone.from_local_datetime(&local).earliest() {
            return found.timestamp_millis();
        }
        local += chrono::TimeDelta::minutes(15);
    }
    date.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
}

/// The zone of a budget; UTC if it names none or one that does not exist (which the configuration check refuses).
pub(crate) fn zone(name: Option<&str>) -> Tz {
    name.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().expect("time").timestamp_millis()
    }

    fn label(per: Per, zone: &str, text: &str) -> String {
        period(per, super::zone(Some(zone)), at(text)).label
    }

    #[test]
    fn periods_begin_where_their_zone_says() {
        assert_eq!(label(Per::Day, "UTC", "2026-11-29T23:59:59Z"), "day/2026-11-29");
        assert_eq!(label(Per::Day, "Europe/Berlin", "2026-11-29T23:30:00Z"), "day/2026-11-30/Europe/Berlin");
        assert_eq!(label(Per::Week, "UTC", "2026-11-29T23:30:00Z"), "week/2026-11-23");
        assert_eq!(label(Per::Week, "UTC", "2026-11-30T00:00:00Z"), "week/2026-11-30");
        assert_eq!(label(Per::Month, "America/New_York", "2026-12-01T04:59:59Z"), "month/2026-11/America/New_York");
        assert_eq!(label(Per::Month, "UTC", "2026-12-01T00:00:00Z"), "month/2026-12");
        assert_eq!(label(Per::Total, "Asia/Tokyo", "2026-12-01T00:00:00Z"), "total");
    }

    #[test]
    fn ends_follow_the_clock_changes() {
        let berlin = zone(Some("Europe/Berlin"));
        let day = |text: &str| period(Per::Day, berlin, at(text)).end_ms;
        assert_eq!(day("2026-03-28T23:00:00Z"), Some(at("2026-03-29T22:00:00Z")), "a day of 23 hours");
        assert_eq!(day("2026-10-24T22:00:00Z"), Some(at("2026-10-25T23:00:00Z")), "a day of 25 hours");
        // Midnight of 2018-11-04 does not exist there.
        let sao_paulo = zone(Some("America/Sao_Paulo"));
        assert_eq!(period(Per::Day, sao_paulo, at("2018-11-03T12:00:00Z")).end_ms, Some(at("2018-11-04T03:00:00Z")));
    }

    proptest! {
        #[test]
        fn a_period_holds_its_instants_and_ends_where_the_next_begins(
            ms in 0i64..4_000_000_000_000, per in 0usize..3, zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Africa/Cairo"]),
        ) {
            let (per, zone) = (PERIODS[per], super::zone(Some(zone)));
            let one = period(per, zone, ms);
            let end = one.end_ms.expect("ends");
            prop_assert!(end > ms);
            prop_assert_eq!(&period(per, zone, end - 1).label, &one.label);
            prop_assert_ne!(period(per, zone, end).label, one.label);
        }
    }
}
