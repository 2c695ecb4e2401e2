//! Notices to the administrators' own systems ([`outbound`]), sent again until they are taken or given up.

use super::Desk;
use chrono::{SecondsFormat, Utc};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_admission::Alert;
use tollgate_runtime::{config::Webhook, outbound};

/// Notices that wait to be sent.
pub(super) const WAITING_MAX: usize = 1_000;
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a notice is sent again, the last of them before it is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// Something to be told.
pub(super) struct Notice {
    webhook: Option<String>,
    id: String,
    body: String,
}

impl Notice {
    pub(super) fn of(alert: &Alert) -> Self {
        let Alert { budget, subject, period, threshold, spent_usd } = alert;
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = json!({ "type": "budget.threshold_reached", "timestamp": at, "data": {
            "budget": budget.name, "usd": budget.usd.to_string(), "action": budget.action, "subject": subject,
            "period": period, "threshold": threshold, "spent_usd": spent_usd.to_string(),
        } });
        Self {
            webhook: budget.webhook.clone(),
            id: format!("msg_{}", uuid::Uuid::now_v7().simple()),
            body: body.to_string(),
        }
    }
}

/// Where notices go, by name; or why they cannot go there.
pub(crate) struct Targets(HashMap<String, Result<Arc<outbound::Target>, String>>);

impl Targets {
    pub(super) fn of(webhooks: &BTreeMap<String, Webhook>) -> Self {
        let each = webhooks.iter().map(|(name, webhook)| {
            let target = outbound::Target::webhook(&webhook.url, &webhook.secret, webhook.allow_private);
            (name.clone(), target.map(Arc::new))
        });
        Self(each.collect())
    }
}

/// Sends what comes until `stop`; each notice in a task of its own, so that one webhook holds up no other.
pub(super) async fn send(desk: Arc<Desk>, mut waiting: mpsc::Receiver<Notice>, stop: CancellationToken) {
    let places = Arc::new(tokio::sync::Semaphore::new(WAITING_MAX));
    while let Some(Some(notice)) = stop.run_until_cancelled(waiting.recv()).await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (desk, stop) = (desk.clone(), stop.clone());
        tollgate_runtime::supervised("webhook", async move {
            deliver(&desk, &notice, &stop).await;
            drop(place);
        });
    }
}

async fn deliver(desk: &Desk, notice: &Notice, stop: &CancellationToken) {
    let Some(name) = &notice.webhook else { return };
    for pause in std::iter::once(Duration::ZERO).chain(PAUSES) {
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let target = desk.rules.get().webhooks.0.get(name).cloned();
        let Some(target) = target else {
            tracing::error!(webhook = name, "there is no such webhook any more; a notice is dropped");
            return;
        };
        let taken = match target {
            Ok(target) => target.post(&notice.id, notice.body.clone(), &[], TIMEOUT).await.map(drop),
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => return,
            Err(error) => tracing::warn!(webhook = name, error, "a notice was not taken"),
        }
    }
    tracing::error!(webhook = name, notice = notice.body, "a notice is given up after {} tries", PAUSES.len() + 1);
}
