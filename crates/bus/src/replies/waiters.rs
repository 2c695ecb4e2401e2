//! Who waits for which answer on this replica, and handing replies over. In memory, bounded, no I/O.
//!
//! A stream is bound to the first execution it forwards. A slow reader's queue is bounded too: what does not fit is
//! dropped, because the terminal carries the whole answer and the missing end is served from it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::{mpsc, oneshot};
use tollgate_schemas::{ExecutionId, Origin, Reply, ReplyEvent, RequestId, StreamEvent, Terminal};

/// Chunks queued for one slow reader.
const QUEUE_MAX: usize = 1024;

/// What a waiter receives.
#[derive(Debug)]
pub enum Event {
    /// The next events of the stream, in order, without a gap.
    Chunk(Vec<StreamEvent>, Option<Origin>),
    /// The request was not published; nothing follows.
    Unpublished,
    /// The end. `interrupted`: chunks of another execution had been forwarded.
    Terminal {
        /// The end itself.
        terminal: Box<Terminal>,
        /// How many chunk records had been queued for the waiter.
        forwarded: u32,
        /// Chunks of another execution than the terminal's were forwarded.
        interrupted: bool,
    },
}

/// All waiters. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waiters(Arc<Mutex<HashMap<RequestId, Slot>>>);

struct Slot {
    team: String,
    sender: mpsc::Sender<Event>,
    bound: Option<ExecutionId>,
    next_seq: u32,
    /// Chunks that overtook an earlier one.
    early: HashMap<u32, (Vec<StreamEvent>, Option<Origin>)>,
    /// The queue was full, or a chunk came too early: nothing but the terminal follows.
    cut: bool,
    /// Repeats that want the same end.
    joined: Vec<oneshot::Sender<Box<Terminal>>>,
}

impl Waiters {
    /// Begins to wait. `None` at the bound.
    pub fn register(&self, id: RequestId, team: &str, max: usize) -> Option<mpsc::Receiver<Event>> {
        // One place more than chunks may use, so that the terminal always fits.
        let (sender, receiver) = mpsc::channel(QUEUE_MAX + 1);
        let mut slots = self.0.lock().ok()?;
        if slots.len() >= max {
            return None;
        }
        slots.insert(
            id,
            Slot {
                team: team.to_owned(),
                sender,
                bound: None,
                next_seq: 0,
                early: HashMap::new(),
                cut: false,
                joined: Vec::new(),
            },
        );
        Some(receiver)
    }

    /// The end that somebody of the team waits for here, too. It comes to nothing if that one stops waiting. The caller bounds
    /// how many join.
    pub fn join(&self, id: RequestId, team: &str) -> Option<oneshot::Receiver<Box<Terminal>>> {
        let mut slots = self.0.lock().ok()?;
        let slot = slots.get_mut(&id).filter(|slot| slot.team == team)?;
        let (sender, receiver) = oneshot::channel();
        slot.joined.push(sender);
        Some(receiver)
    }

    /// Stops waiting.
    pub fn forget(&self, id: RequestId) {
        if let Ok(mut slots) = self.0.lock() {
            slots.remove(&id);
        }
    }

    /// The end of a request of the team, for whoever wants nothing else of it: another wait for the same one is joined. `None` at the
    /// bound.
    pub fn ending(&self, id: RequestId, team: &str, max: usize) -> Option<Ending> {
        if let Some(joined) = self.join(id, team) {
            return Some(Ending(Wait::Joined(joined)));
        }
        let events = self.register(id, team, max)?;
        Some(Ending(Wait::Own { waiters: self.clone(), id, events }))
    }

    /// Whether somebody of the team waits for it here.
    pub fn waits(&self, id: RequestId, team: &str) -> bool {
        self.0.lock().is_ok_and(|slots| slots.get(&id).is_some_and(|slot| slot.team == team))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.lock().map_or(0, |slots| slots.len())
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells a waiter that its request was not published.
    pub fn fail(&self, id: RequestId) {
        if let Some(slot) = self.0.lock().ok().and_then(|mut slots| slots.remove(&id)) {
            let _ = slot.sender.try_send(Event::Unpublished);
        }
    }

    /// Hands a reply to its waiter, if there is one.
    pub fn deliver(&self, reply: Reply) {
        let Ok(mut slots) = self.0.lock() else { return };
        match reply.event {
            ReplyEvent::Chunk { seq, events, origin } => {
                if let Some(slot) = slots.get_mut(&reply.request_id) {
                    slot.chunk(reply.execution_id, seq, events, origin);
                }
            }
            ReplyEvent::Terminal(terminal) => {
                if let Some(slot) = slots.remove(&reply.request_id) {
                    let interrupted = slot.bound.is_some_and(|bound| bound != reply.execution_id);
                    for joined in slot.joined {
                        let _ = joined.send(terminal.clone());
                    }
                    // Fails only if the waiter has just gone.
                    let _ = slot.sender.try_send(Event::Terminal { terminal, forwarded: slot.next_seq, interrupted });
                }
            }
        }
    }
}

/// A wait for an end. Dropping it stops the wait, and that of those who joined it.
pub struct Ending(Wait);

enum Wait {
    Own { waiters: Waiters, id: RequestId, events: mpsc::Receiver<Event> },
    Joined(oneshot::Receiver<Box<Terminal>>),
}

impl Ending {
    /// The end; `None`: none will come here. Safe to drop and call again.
    pub async fn terminal(&mut self) -> Option<Box<Terminal>> {
        match &mut self.0 {
            Wait::Joined(joined) => joined.await.ok(),
            Wait::Own { events, .. } => loop {
                match events.recv().await? {
                    Event::Chunk(..) => {}
                    Event::Unpublished => return None,
                    Event::Terminal { terminal, .. } => return Some(terminal),
                }
            },
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Wait::Own { waiters, id, .. } = &self.0 {
            waiters.forget(*id);
        }
    }
}

impl Slot {
    fn chunk(&mut self, execution: ExecutionId, seq: u32, events: Vec<StreamEvent>, origin: Option<Origin>) {
        if *self.bound.get_or_insert(execution) != execution || self.cut || seq < self.next_seq {
            return;
        }
        self.early.insert(seq, (events, origin));
        while let Some((events, origin)) = self.early.remove(&self.next_seq) {
            if self.sender.capacity() <= 1 || self.sender.try_send(Event::Chunk(events, origin)).is_err() {
                self.cut = true;
                self.early.clear();
                return;
            }
            self.next_seq += 1;
        }
        if self.early.len() > QUEUE_MAX {
            self.cut = true;
            self.early.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tollgate_schemas::{ApiError, ErrorCode};

    fn chunk(id: RequestId, execution: ExecutionId, seq: u32) -> Reply {
        let events = vec![StreamEvent { event: None, data: seq.to_string() }];
        Reply {
            request_id: id,
            execution_id: execution,
            boot_id: None,
            event: ReplyEvent::Chunk { seq, events, origin: None },
        }
    }

    fn terminal(id: RequestId, execution: ExecutionId) -> Reply {
        let terminal = Terminal::failed("t", ApiError::new(ErrorCode::Internal, "x"));
        Reply {
            request_id: id,
            execution_id: execution,
            boot_id: None,
            event: ReplyEvent::Terminal(Box::new(terminal)),
        }
    }

    fn received(receiver: &mut mpsc::Receiver<Event>) -> (Vec<String>, Option<(u32, bool)>) {
        let (mut data, mut end) = (Vec::new(), None);
        while let Ok(event) = receiver.try_recv() {
            match event {
                Event::Chunk(events, _) => data.extend(events.into_iter().map(|e| e.data)),
                Event::Unpublished => {}
                Event::Terminal { forwarded, interrupted, .. } => end = Some((forwarded, interrupted)),
            }
        }
        (data, end)
    }

    #[test]
    fn a_stream_keeps_to_its_first_execution() {
        let (waiters, id, a, b) = (Waiters::default(), RequestId::new(), ExecutionId::new(), ExecutionId::new());
        let mut receiver = waiters.register(id, "t", 1).expect("room");
        assert!(waiters.register(RequestId::new(), "t", 1).is_none());
        for reply in [chunk(id, a, 0), chunk(id, b, 0), chunk(id, b, 1), terminal(id, b)] {
            waiters.deliver(reply);
        }
        assert_eq!(received(&mut receiver), (vec!["0".to_owned()], Some((1, true))));
        assert!(!waiters.waits(id, "t"));
    }

    #[test]
    fn a_full_queue_is_cut_and_still_takes_the_end() {
        let (waiters, id, a) = (Waiters::default(), RequestId::new(), ExecutionId::new());
        let mut receiver = waiters.register(id, "t", 1).expect("room");
        for seq in 0..5000 {
            waiters.deliver(chunk(id, a, seq));
        }
        waiters.deliver(terminal(id, a));
        let (data, end) = received(&mut receiver);
        assert_eq!((data.len(), end), (QUEUE_MAX, Some((QUEUE_MAX as u32, false))));
    }

    #[tokio::test]
    async fn two_who_want_the_same_end_both_get_it() {
        let (waiters, id, a) = (Waiters::default(), RequestId::new(), ExecutionId::new());
        let mut first = waiters.ending(id, "t", 1).expect("room");
        let mut second = waiters.ending(id, "t", 1).expect("it is joined");
        assert!(waiters.ending(RequestId::new(), "t", 1).is_none());
        for reply in [chunk(id, a, 0), terminal(id, a)] {
            waiters.deliver(reply);
        }
        assert!(first.terminal().await.is_some() && second.terminal().await.is_some());
        let gone = waiters.ending(id, "t", 1).expect("room");
        let mut joined = waiters.ending(id, "t", 1).expect("it is joined");
        drop(gone);
        assert!(joined.terminal().await.is_none() && waiters.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Two executions of one request, repeats that join, the caller that leaves, in any order: the caller and everybody who
        /// joined while it waited get one end at most, the first, and exactly one if the caller stays.
        #[test]
        fn one_end_for_each(steps in prop::collection::vec((0..5u8, prop::bool::ANY), 1..40)) {
            let (waiters, id, runs) = (Waiters::default(), RequestId::new(), [ExecutionId::new(), ExecutionId::new()]);
            let mut receiver = waiters.register(id, "t", 1).expect("room");
            let (mut seq, mut joined, mut left, mut bound, mut end) = ([0, 0], Vec::new(), false, None, None);
            for (step, other) in steps {
                let run = usize::from(other);
                match step {
                    0 | 1 => {
                        if end.is_none() && !left {
                            bound.get_or_insert(run);
                        }
                        waiters.deliver(chunk(id, runs[run], seq[run]));
                        seq[run] += 1;
                    }
                    2 => {
                        waiters.deliver(terminal(id, runs[run]));
                        end.get_or_insert((run, left));
                    }
                    3 => joined.extend(waiters.join(id, "t")),
                    _ => {
                        waiters.forget(id);
                        left = true;
                    }
                }
                prop_assert!(waiters.join(id, "another team").is_none());
                prop_assert_eq!(waiters.waits(id, "t"), end.is_none() && !left);
            }
            let (mut ends, mut interrupted) = (0, false);
            while let Ok(event) = receiver.try_recv() {
                prop_assert_eq!(ends, 0, "something came after the end");
                if let Event::Terminal { interrupted: i, .. } = event {
                    (ends, interrupted) = (ends + 1, i);
                }
            }
            let expected = end.filter(|(_, had_left)| !had_left);
            prop_assert_eq!(ends, usize::from(expected.is_some()));
            if let Some((run, _)) = expected {
                prop_assert_eq!(interrupted, bound.is_some_and(|bound| bound != run));
            }
            for mut joined in joined {
                prop_assert_eq!(joined.try_recv().is_ok(), expected.is_some());
            }
        }

        /// In whatever order chunks come, with repeats, the waiter sees 0, 1, 2, … and each once.
        #[test]
        fn chunks_come_out_in_order(order in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(), repeats in prop::collection::vec(0u32..40, 0..20)) {
            let (waiters, id, a) = (Waiters::default(), RequestId::new(), ExecutionId::new());
            let mut receiver = waiters.register(id, "t", 1).expect("room");
            for seq in order.into_iter().chain(repeats) {
                waiters.deliver(chunk(id, a, seq));
            }
            let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
            prop_assert_eq!(received(&mut receiver).0, expected);
        }
    }
}
