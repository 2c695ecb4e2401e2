//! How many bytes of request bodies may be in memory at a time: from their first byte until they are published or stored. A
//! body is counted as it comes, so that one that was announced and never sent takes no room from others.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// What one body takes of it, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Bodies {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(max_bytes)))
    }

    /// Takes room for more bytes of the body that has `held`; false if there is none.
    pub(crate) fn take(&self, held: &mut Held, bytes: usize) -> bool {
        let more = u32::try_from(bytes).ok().and_then(|bytes| self.0.clone().try_acquire_many_owned(bytes).ok());
        let Some(more) = more else { return false };
        match &mut held.0 {
            Some(held) => held.merge(more),
            None => held.0 = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let (bodies, mut one, mut other) = (Bodies::new(10), Held::default(), Held::default());
        assert!(bodies.take(&mut one, 4) && bodies.take(&mut one, 4) && !bodies.take(&mut other, 4));
        assert!(bodies.take(&mut other, 2));
        drop(one);
        assert!(bodies.take(&mut other, 8) && !bodies.take(&mut other, 1));
    }
}
