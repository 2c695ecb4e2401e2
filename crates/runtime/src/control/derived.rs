//! What a service makes of the configuration, made again at each change.

use super::Control;
use crate::{Config, supervised};
use std::{fmt::Display, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A value made of the configuration as it is now. Whoever has got one goes on with it to the end of its own work. Cheap to clone.
pub struct Derived<T>(watch::Sender<Arc<T>>);

impl<T> Clone for Derived<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Derived<T> {
    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        Self(watch::Sender::new(Arc::new(value)))
    }

    /// The value for now.
    pub fn get(&self) -> Arc<T> {
        self.0.borrow().clone()
    }

    /// Tells of each later value.
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    fn set(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }
}

impl Control {
    /// A value that `make` makes of the configuration and, at each change until `stop`, of the new one and the last value. A
    /// configuration that `make` refuses is logged, and changes nothing; the first one must do.
    pub fn derive<T: Send + Sync + 'static, E: Display + Send + 'static>(
        &self,
        what: &'static str,
        stop: &CancellationToken,
        make: impl Fn(&Arc<Config>, Option<&T>) -> Result<T, E> + Send + 'static,
    ) -> Result<Derived<T>, E> {
        let mut changes = self.subscribe();
        changes.mark_unchanged();
        let derived = Derived::fixed(make(&self.config(), None)?);
        let (control, kept, stop) = (self.clone(), derived.clone(), stop.clone());
        supervised(what, async move {
            while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
                match make(&control.config(), Some(&kept.get())) {
                    Ok(value) => kept.set(value),
                    Err(error) => {
                        tracing::error!(%error, "the changed configuration cannot be used for {what}; the last one stays")
                    }
                }
            }
        });
        Ok(derived)
    }
}
