//! Gathers the events of a stream into chunks: the first content goes at once, later events wait at most 20 ms for
//! company, so that a fast stream costs few records and a slow one no time.

use std::time::Duration;
use tokio::time::Instant;
use tollgate_schemas::StreamEvent;

/// Longest time an event waits for company.
pub(crate) const WINDOW: Duration = Duration::from_millis(20);
/// A chunk is cut at this many bytes. In a record they may double, because they are quoted once more.
const CHUNK_MAX_BYTES: usize = 256 * 1024;
/// The longest single event. Twice this fits into a record. Before the first content no more than this is held: what is beyond goes
/// out.
pub(crate) const HELD_MAX_BYTES: usize = 1024 * 1024;

/// Events that have not been sent.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    events: Vec<StreamEvent>,
    bytes: usize,
    due: Option<Instant>,
    has_content: bool,
    is_open: bool,
}

impl Coalescer {
    /// Takes events. `content`: they carry something a caller is to see. Before the first content everything is held, as far as
    /// there is room, because a provider that fails so early is replaced by another, unseen.
    pub(crate) fn add(&mut self, events: Vec<StreamEvent>, content: bool, now: Instant) {
        self.bytes += events.iter().map(|event| event.data.len()).sum::<usize>();
        self.events.extend(events);
        let first = content && !self.has_content;
        self.has_content |= content;
        let most = if self.has_content || self.is_open { CHUNK_MAX_BYTES } else { HELD_MAX_BYTES };
        if first || self.bytes > most {
            self.due = Some(now);
        } else if self.is_open && !self.events.is_empty() {
            self.due.get_or_insert(now + WINDOW);
        }
    }

    /// When the held events should go; `None` if there is nothing to send.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether an event is held that is longer than a record could take.
    pub(crate) fn is_too_large(&self) -> bool {
        self.events.iter().any(|event| event.data.len() > HELD_MAX_BYTES)
    }

    /// The held events, to be sent now, in chunks that fit into a record each.
    pub(crate) fn take(&mut self) -> Vec<Vec<StreamEvent>> {
        self.is_open = true;
        self.due = None;
        self.bytes = 0;
        let mut chunks: Vec<Vec<StreamEvent>> = Vec::new();
        let mut room = 0;
        for event in std::mem::take(&mut self.events) {
            match chunks.last_mut() {
                Some(chunk) if event.data.len() <= room => {
                    room -= event.data.len();
                    chunk.push(event);
                }
                _ => {
                    room = CHUNK_MAX_BYTES.saturating_sub(event.data.len());
                    chunks.push(vec![event]);
                }
            }
        }
        chunks
    }

    /// Whether anything has been taken: the caller may have seen it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Vec<StreamEvent> {
        vec![StreamEvent { event: None, data: data.to_owned() }]
    }

    #[test]
    fn first_content_goes_at_once_with_what_came_before_it_and_the_rest_waits() {
        let (mut held, now) = (Coalescer::default(), Instant::now());
        held.add(event("role"), false, now);
        assert_eq!(held.due(), None);
        held.add(event("a"), true, now);
        assert_eq!(held.due(), Some(now));
        assert_eq!(held.take().concat().len(), 2);
        held.add(event("b"), true, now);
        held.add(event("c"), true, now + WINDOW / 2);
        assert_eq!(held.due(), Some(now + WINDOW));
        assert_eq!(held.take().concat().len(), 2);
        assert_eq!(held.due(), None);
        held.add(event(&"x".repeat(CHUNK_MAX_BYTES + 1)), true, now);
        assert_eq!(held.due(), Some(now));
        assert!(!held.is_too_large());
        (0..3).for_each(|_| held.add(event(&"y".repeat(CHUNK_MAX_BYTES / 2)), true, now));
        assert_eq!(held.take().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
        held.add(event(&"z".repeat(HELD_MAX_BYTES + 1)), true, now);
        assert!(held.is_too_large());
    }

    #[test]
    fn a_beginning_that_is_too_long_to_be_held_goes_out() {
        let (mut held, now) = (Coalescer::default(), Instant::now());
        let large = "x".repeat(HELD_MAX_BYTES / 2 + 1);
        held.add(event(&large), false, now);
        assert_eq!(held.due(), None);
        held.add(event(&large), false, now);
        assert_eq!((held.due(), held.is_too_large()), (Some(now), false));
        assert_eq!(held.take().len(), 2);
        held.add(event("more of it"), false, now);
        assert_eq!(held.due(), Some(now + WINDOW), "it is seen, so the rest is not held back");
        held.add(event("a"), true, now);
        assert_eq!(held.due(), Some(now), "the first content goes at once all the same");
        assert_eq!(held.take().concat().len(), 2);
        held.add(event(&"y".repeat(HELD_MAX_BYTES + 1)), false, now);
        assert!(held.is_too_large());
    }
}
