//! Which topics are read: those of the teams that there are now. A team that gets a topic is heard at once; a change elsewhere
//! disturbs no reader.

use super::Jobs;
use crate::{Error, config::IngressConfig};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, Profile, RawValueBytes, TeamTopics, work::Options};
use tollgate_runtime::{Readiness, control::Derived, supervised};

/// How long to wait before new topics are tried again that could not be created.
const CREATE_AGAIN: Duration = Duration::from_secs(1);

type Probe = Box<dyn Fn() -> bool + Send>;

/// The reader of all doors, whichever they are.
pub(crate) struct Doors(JoinHandle<Option<Result<(), Error>>>);

impl Doors {
    /// Begins reading. The topics of the start must exist.
    pub(super) fn open(
        config: Derived<IngressConfig>,
        bus: Bus,
        handler: Arc<Jobs>,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let probe: Arc<Mutex<Option<Probe>>> = Arc::default();
        let asked = probe.clone();
        readiness.require("job topics", move || {
            asked.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|probe| probe())
        });
        let doorman = Doorman { config, bus, handler, probe, stop };
        let open = doorman.read(doorman.topics())?;
        Ok(Self(supervised("doors", doorman.keep(open))))
    }

    /// Waits for the end, after the stop token was cancelled.
    pub(crate) async fn stopped(self) -> Result<(), Error> {
        self.0.await.ok().flatten().unwrap_or(Err(Error::Thread))
    }
}

struct Doorman {
    config: Derived<IngressConfig>,
    bus: Bus,
    handler: Arc<Jobs>,
    probe: Arc<Mutex<Option<Probe>>>,
    stop: CancellationToken,
}

/// A reader of some topics, and what ends it.
struct Open {
    topics: BTreeSet<String>,
    ended: JoinHandle<Option<Result<(), Error>>>,
    stop: CancellationToken,
}

impl Open {
    async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.ended).await.ok().flatten().unwrap_or(Err(Error::Thread))
    }
}

impl Doorman {
    fn topics(&self) -> BTreeSet<String> {
        self.config.get().doors.keys().cloned().collect()
    }

    fn read(&self, topics: BTreeSet<String>) -> Result<Open, Error> {
        let stop = self.stop.child_token();
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        *probe = None;
        if topics.is_empty() {
            let stopped = stop.clone();
            let ended = supervised("no doors", async move {
                stopped.cancelled().await;
                Ok(())
            });
            return Ok(Open { topics, ended, stop });
        }
        let options = Options::new("ingress", topics.iter().cloned().collect());
        let producer = self.bus.producer(Profile::Bulk)?;
        let running = self.bus.consume::<RawValueBytes, _>(options, producer, self.handler.clone(), stop.clone())?;
        *probe = Some(Box::new(running.probe()));
        let ended = supervised("open doors", async move { Ok(running.stopped().await?) });
        Ok(Open { topics, ended, stop })
    }

    async fn keep(self, mut open: Open) -> Result<(), Error> {
        let mut changes = self.config.subscribe();
        loop {
            tokio::select! {
                ended = open.ended() => return ended,
                Ok(()) = changes.changed() => {}
            }
            let wanted = self.topics();
            if wanted != open.topics {
                self.create(&wanted).await;
                open.stop.cancel();
                open.ended().await?;
                tracing::info!(topics = wanted.len(), "the teams' topics have changed; reading those there are now");
                open = self.read(wanted)?;
            }
        }
    }

    /// Creates the topics of teams that have just got some, however long it takes.
    async fn create(&self, wanted: &BTreeSet<String>) {
        let config = self.config.get();
        let doors = config.doors.iter().filter(|(requests, _)| wanted.contains(*requests));
        let teams: Vec<TeamTopics> = doors
            .map(|(requests, door)| TeamTopics { requests: requests.clone(), replies: door.replies.clone() })
            .collect();
        while let Err(error) = self.bus.ensure_topics(&teams).await {
            tracing::error!(%error, "a team's topics cannot be created; trying again");
            if self.stop.run_until_cancelled(tokio::time::sleep(CREATE_AGAIN)).await.is_none() {
                return;
            }
        }
    }
}
