//! The configuration as it is now: the file, and over it what administrators have changed since, told by topic `control`.
//!
//! ```text
//! file ──────────────┐
//! control ─► Objects ─┴► overlay ─► Arc<Config> ─► every service
//! ```
//!
//! An object that stands on the topic wins over one of the same name in the file, and one that was removed there is gone though
//! the file holds it. [`Objects`] is the fold: pure, so that whoever reads the topic comes to the same result. A reader folds,
//! [`Control`] hands the result on.
//!
//! Deliberately absent: reading and writing the topic (whoever has a bus does), permissions (ingress), and resolving `${…}`:
//! what comes by topic is taken as it is written, so that nobody reads the environment through it.

mod derived;
mod lookup;
mod objects;
mod overlay;

pub use derived::Derived;
pub use lookup::{Object, Source};
pub use objects::{Entry, Objects, Verdict};
pub use overlay::check_shape;

use crate::config::{self, Config, Problem, Provider};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{oneshot, watch};
use tollgate_schemas::Change;

/// Changes whose makers wait for their verdict at the same time in one process.
const AWAITED_MAX: usize = 1_000;
/// Changes kept for those who ask what was changed.
pub const HISTORY_MAX: usize = 1_000;

/// The live configuration. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    base: Config,
    folded: Mutex<Folded>,
    current: watch::Sender<Arc<Config>>,
}

#[derive(Default)]
struct Folded {
    objects: Arc<Objects>,
    history: VecDeque<Past>,
    awaited: HashMap<uuid::Uuid, oneshot::Sender<Verdict>>,
    problems: Vec<Problem>,
    /// The base's, with the keys that their files have now; `None`: nothing has changed since the start.
    providers: Option<BTreeMap<String, Provider>>,
    caught_up: bool,
}

/// A change and what came of it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Past {
    pub version: i64,
    pub change: Arc<Change>,
    pub verdict: Verdict,
}

impl Control {
    /// The file alone: nothing has been read yet.
    pub fn new(base: Config) -> Self {
        let current = watch::Sender::new(Arc::new(base.clone()));
        Self(Arc::new(Shared { base, folded: Mutex::default(), current }))
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.0.current.borrow().clone()
    }

    /// The file, without what the topic says.
    pub fn base(&self) -> &Config {
        &self.0.base
    }

    /// Tells of each change of [`Control::config`].
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.0.current.subscribe()
    }

    /// Everything that stands on the topic.
    pub fn objects(&self) -> Arc<Objects> {
        self.folded().objects.clone()
    }

    /// The newest changes, oldest first; at most [`HISTORY_MAX`].
    pub fn history(&self) -> Vec<Past> {
        self.folded().history.iter().cloned().collect()
    }

    /// What of the objects could not be used, and why.
    pub fn problems(&self) -> Vec<Problem> {
        self.folded().problems.clone()
    }

    /// The verdict on a change that is about to be sent. `None`: too many are awaited.
    pub fn expect(&self, change_id: uuid::Uuid) -> Option<oneshot::Receiver<Verdict>> {
        let mut folded = self.folded();
        folded.awaited.retain(|_, waiter| !waiter.is_closed());
        if folded.awaited.len() >= AWAITED_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        folded.awaited.insert(change_id, sender);
        Some(receiver)
    }

    /// The configuration as it would be after a change, and what would be wrong with it.
    pub fn preview(&self, change: &Change) -> (Verdict, Vec<Problem>) {
        let mut objects = (*self.objects()).clone();
        let version = objects.next_version();
        let verdict = objects.apply(version, change, &self.0.base);
        let (_, problems) = overlay::lay(&self.0.base, &objects);
        (verdict, problems)
    }

    /// Takes the next record of the topic in.
    pub fn apply(&self, offset: i64, value: &[u8]) {
        let change: Change = match serde_json::from_slice(value) {
            Ok(change) => change,
            Err(error) => {
                tracing::error!(offset, %error, "a record of control does not parse and changes nothing");
                return;
            }
        };
        let mut folded = self.folded();
        let verdict = Arc::make_mut(&mut folded.objects).apply(offset + 1, &change, &self.0.base);
        if matches!(verdict, Verdict::Applied(_)) && folded.caught_up {
            self.rebuild(&mut folded);
            tracing::info!(
                kind = change.kind.as_str(),
                name = change.name,
                version = offset + 1,
                by = change.by.name,
                "control: changed"
            );
        }
        if let Some(waiter) = folded.awaited.remove(&change.change_id) {
            let _ = waiter.send(verdict.clone());
        }
        if folded.history.len() == HISTORY_MAX {
            folded.history.pop_front();
        }
        folded.history.push_back(Past { version: offset + 1, change: Arc::new(change), verdict });
    }

    /// Everything that was on the topic at the start has been read: from now on the configuration is what it says.
    pub fn caught_up(&self) {
        let mut folded = self.folded();
        folded.caught_up = true;
        self.rebuild(&mut folded);
    }

    /// Reads the files again that providers' keys stand in ([`crate::config::KeyFile`]). One that cannot be read is logged, and the
    /// key stays as it was.
    pub fn reread_keys(&self) {
        let files = &self.0.base.key_files;
        let read: Vec<_> = files.iter().map(config::KeyFile::read).collect();
        let mut folded = self.folded();
        let last = folded.providers.as_ref().unwrap_or(&self.0.base.providers);
        let mut providers = last.clone();
        for (file, key) in files.iter().zip(read) {
            match key {
                Ok(key) => file.put(&mut providers, key),
                Err(reason) => tracing::warn!(reason, "a provider's key stays as it is"),
            }
        }
        if providers == *last {
            return;
        }
        folded.providers = Some(providers);
        if folded.caught_up {
            tracing::info!("providers' keys have changed in their files");
            self.rebuild(&mut folded);
        }
    }

    fn rebuild(&self, folded: &mut Folded) {
        let mut base = Cow::Borrowed(&self.0.base);
        if let Some(providers) = &folded.providers {
            base.to_mut().providers.clone_from(providers);
        }
        let (config, problems) = overlay::lay(&base, &folded.objects);
        for problem in problems.iter().filter(|problem| !folded.problems.contains(problem)) {
            tracing::error!(%problem, "control: an object cannot be used as it is");
        }
        folded.problems = problems;
        self.0.current.send_replace(Arc::new(config));
    }

    fn folded(&self) -> MutexGuard<'_, Folded> {
        self.0.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
