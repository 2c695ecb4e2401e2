//! Tells other router-workers which destinations are not to be called for a while, and hears it from them: topic `cooldowns`.
//!
//! Without it each replica would find out by itself, with as many calls that fail. A hint that is lost costs no more than that, so
//! nothing waits for it: what cannot be sent at once is dropped.

use crate::{
    Error,
    config::Router,
    health::{Cooling, News},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Ack, Bus, Outgoing, Profile, broadcast::Start};
use tollgate_runtime::control::Derived;
use tollgate_schemas::{Cooldown, TraceContext, left_until, now_us, topic};
use uuid::Uuid;

/// News on their way to the topic at the same time.
const NEWS_MAX: usize = 256;

/// Tells of one destination.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    endpoint: String,
    destination: String,
    gossip: Gossip,
}

/// Where news go.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    sender: mpsc::Sender<Cooldown>,
    boot_id: Uuid,
}

impl Gossip {
    /// Speaks of a destination.
    pub(crate) fn of(&self, endpoint: &str, destination: &str) -> Teller {
        Teller { endpoint: endpoint.to_owned(), destination: destination.to_owned(), gossip: self.clone() }
    }
}

impl Teller {
    /// Never waits.
    pub(crate) fn tell(&self, news: News) {
        let (until_ms, is_asked, is_rate_limit) = match news {
            News::Closed => (0, false, false),
            News::Opened(Cooling { reopens_in, is_asked, is_rate_limit }) => {
                let ms = i64::try_from(reopens_in.as_millis()).unwrap_or(i64::MAX);
                ((now_us() / 1000).saturating_add(ms), is_asked, is_rate_limit)
            }
        };
        let Self { endpoint, destination, gossip } = self.clone();
        let cooldown = Cooldown { endpoint, destination, until_ms, is_asked, is_rate_limit, boot_id: gossip.boot_id };
        if gossip.sender.try_send(cooldown).is_err() {
            tracing::debug!(destination = self.destination, "other router-workers are not told of a cool-down");
        }
    }
}

/// What the news of a record are, at a time in milliseconds since the Unix epoch. `None`: they are old.
fn news(cooldown: &Cooldown, now_ms: i64) -> Option<News> {
    if cooldown.until_ms == 0 {
        return Some(News::Closed);
    }
    let reopens_in = left_until(cooldown.until_ms, now_ms);
    let Cooldown { is_asked, is_rate_limit, .. } = *cooldown;
    (!reopens_in.is_zero()).then_some(News::Opened(Cooling { reopens_in, is_asked, is_rate_limit }))
}

/// The two ends of what this process has to tell.
pub(crate) fn gossip() -> (Gossip, mpsc::Receiver<Cooldown>) {
    let (sender, receiver) = mpsc::channel(NEWS_MAX);
    (Gossip { sender, boot_id: Uuid::now_v7() }, receiver)
}

/// Sends what is told until `stop`.
pub(crate) fn speak(bus: &Bus, mut told: mpsc::Receiver<Cooldown>, stop: CancellationToken) -> Result<(), Error> {
    let producer = bus.producer(Profile::Bulk)?;
    tollgate_runtime::supervised("cooldowns", async move {
        while let Some(Some(cooldown)) = stop.run_until_cancelled(told.recv()).await {
            let key = format!("{}/{}", cooldown.endpoint, cooldown.destination);
            let id = Uuid::now_v7().to_string();
            let sent = match Outgoing::keyed(&topic::COOLDOWNS, (&key, &id), &cooldown, &TraceContext::new()) {
                Ok(record) => producer.send(record, Ack::None).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "other router-workers are not told of a cool-down");
            }
        }
    });
    Ok(())
}

/// Hears what the others tell until `stop`. Blocks until it listens.
pub(crate) fn listen(
    bus: &Bus,
    gossip: &Gossip,
    router: Derived<Router>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let own = gossip.boot_id;
    let each = move |record: tollgate_bus::broadcast::Raw<'_>| {
        let cooldown: Cooldown = match serde_json::from_slice(record.value()) {
            Ok(cooldown) => cooldown,
            Err(error) => {
                tracing::warn!(%error, "a cool-down does not parse and is skipped");
                return;
            }
        };
        if cooldown.boot_id != own
            && let Some(news) = news(&cooldown, now_us() / 1000)
        {
            router.get().hear(&cooldown.endpoint, &cooldown.destination, news);
        }
    };
    bus.broadcast(&bus.full_name(topic::COOLDOWNS.spec.name), &[], Start::Beginning, stop, each)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_told_is_heard_as_long_as_it_holds() {
        let (gossip, mut told) = gossip();
        let cooling = Cooling { reopens_in: Duration::from_secs(9), is_asked: true, is_rate_limit: true };
        gossip.of("chat", "gpt").tell(News::Opened(cooling));
        let cooldown = told.try_recv().expect("told");
        assert_eq!((cooldown.endpoint.as_str(), cooldown.destination.as_str()), ("chat", "gpt"));
        let now_ms = cooldown.until_ms - 4_000;
        let heard = News::Opened(Cooling { reopens_in: Duration::from_secs(4), ..cooling });
        assert_eq!(news(&cooldown, now_ms), Some(heard));
        assert_eq!(news(&cooldown, cooldown.until_ms), None);
        gossip.of("chat", "gpt").tell(News::Closed);
        assert_eq!(news(&told.try_recv().expect("told"), now_ms), Some(News::Closed));
        (0..NEWS_MAX + 1).for_each(|_| gossip.of("chat", "gpt").tell(News::Closed));
    }
}
