//! Settling: every usage row is handed to the store, once and in order, and thresholds that it crosses are told.

use super::{Desk, webhook::Notice};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate_admission::{Alert, Error, Source};
use tollgate_schemas::{UsageRow, now_us};

/// How long to wait before a store that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// A record of `usage`; none if it is no row.
pub(super) struct Row {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) row: Option<Box<UsageRow>>,
}

/// How far each partition has been handed in.
pub(super) struct Settling {
    desk: Arc<Desk>,
    notices: mpsc::Sender<Notice>,
    pub(super) after: BTreeMap<i32, i64>,
}

/// The store needs something else first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It has lost its counters.
    Rebuild,
    /// It has not counted what was before: read on after these offsets.
    From(BTreeMap<i32, i64>),
}

impl Settling {
    pub(super) fn new(desk: Arc<Desk>, notices: mpsc::Sender<Notice>, after: BTreeMap<i32, i64>) -> Self {
        Self { desk, notices, after }
    }

    /// Hands a row in, however long the store takes to answer.
    pub(super) async fn settle(&mut self, Row { partition, offset, row }: Row) -> Result<(), Again> {
        let after = self.after.get(&partition).copied().unwrap_or(-1);
        if let Some(row) = row {
            let source = Source { partition, after, offset };
            let settlement = self.desk.rules.get().policy.settlement(&row, Some(source));
            loop {
                match self.desk.store.settle(&settlement, now_us() / 1000).await {
                    Ok(alerts) => {
                        alerts.iter().for_each(|alert| self.tell(alert));
                        break;
                    }
                    Err(Error::Rebuilding) => return Err(Again::Rebuild),
                    Err(Error::Gap { partition, counted }) => {
                        let mut from = self.after.clone();
                        from.insert(partition, counted);
                        return Err(Again::From(from));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a usage row cannot be settled; trying again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
        self.after.insert(partition, offset);
        Ok(())
    }

    fn tell(&self, alert: &Alert) {
        let Alert { budget, subject, period, threshold, spent_usd } = alert;
        let percent = threshold * 100.0;
        tracing::warn!(
            budget = budget.name, subject, period, %spent_usd, usd = %budget.usd,
            "{percent}% of a budget is spent"
        );
        metrics::counter!("tollgate_budget_alerts_total").increment(1);
        if self.notices.try_send(Notice::of(alert)).is_err() {
            tracing::error!(budget = budget.name, "as many notices wait as may; this one stands in the log alone");
        }
    }
}
