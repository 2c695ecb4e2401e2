//! The order of records, whoever calls at the same time. No broker and no threads: what another thread does while a
//! burst is handed over is done within the handing over.

use super::*;
use crate::{Headers, TopicName};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

/// A record that says which one it is.
fn numbered(number: u32) -> Queued {
    let topic = TopicName::Internal("replies");
    let payload = number.to_be_bytes().to_vec();
    let (partition, key, headers) = (None, None, Headers::default());
    let record = Outgoing { topic, partition, key, headers, payload, is_tombstone: false, relaxed: false };
    Queued { topic: "replies".to_owned(), record, ack: Ack::None }
}

/// Something that happens, by itself or while somebody is about to do the next thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The writer's next record is offered.
    Offer,
    /// The time of those that wait is over.
    Time,
    /// One that was handed over is acknowledged.
    Acknowledge,
    /// Nothing else does.
    GoOn,
}

/// How many are at it at once.
const THREADS: usize = 4;

/// One who offers records one after the other, and a queue that takes `room` of them until they are acknowledged.
struct Run {
    waiting: Waiting,
    /// What happens meanwhile, the last one first.
    steps: RefCell<Vec<Step>>,
    offered: Cell<u32>,
    sent: RefCell<Vec<u32>>,
    acknowledged: Cell<usize>,
    room: usize,
    /// The writer is at it: its next record comes when this one has been taken.
    is_offering: Cell<bool>,
    /// How many others are at it: whoever is called within something is another thread.
    depth: Cell<usize>,
}

impl Run {
    fn new(mut steps: Vec<Step>, room: usize) -> Self {
        steps.reverse();
        Self {
            waiting: Waiting::default(),
            steps: RefCell::new(steps),
            offered: Cell::default(),
            sent: RefCell::default(),
            acknowledged: Cell::default(),
            room,
            is_offering: Cell::default(),
            depth: Cell::default(),
        }
    }

    /// Until nothing happens any more; then all time is over and all is acknowledged. What was sent, in order.
    fn end(self) -> Vec<u32> {
        while self.step().is_some() {}
        while self.sent.borrow().len() < self.offered.get() as usize {
            let before = (self.sent.borrow().len(), self.acknowledged.get());
            self.take(Step::Acknowledge);
            let after = (self.sent.borrow().len(), self.acknowledged.get());
            assert!(
                before != after,
                "{after:?} of {} were sent and acknowledged, and nothing moves",
                self.offered.get()
            );
        }
        self.sent.into_inner()
    }

    fn step(&self) -> Option<Step> {
        let step = self.steps.borrow_mut().pop();
        step.inspect(|step| self.take(*step))
    }

    fn take(&self, step: Step) {
        match step {
            Step::Offer => self.offer(),
            Step::Time => self.waiting.send(Call::Time, |queued| self.hand_over(queued)),
            Step::Acknowledge if self.acknowledged.get() < self.sent.borrow().len() => {
                self.acknowledged.set(self.acknowledged.get() + 1);
                self.count_off();
            }
            Step::Acknowledge | Step::GoOn => {}
        }
    }

    fn count_off(&self) {
        if self.waiting.is_last_acknowledged() {
            self.meanwhile();
            self.waiting.send(Call::Idle, |queued| self.hand_over(queued));
        }
    }

    fn offer(&self) {
        if self.is_offering.replace(true) {
            return;
        }
        let number = self.offered.get();
        let is_taken = match self.waiting.join(numbered(number)) {
            Joined::Lone(queued) => {
                let is_taken = matches!(self.hand_over(queued), Offer::Taken);
                if !is_taken {
                    self.count_off();
                }
                is_taken
            }
            Joined::First | Joined::Waits => true,
            Joined::Full(_) => false,
        };
        self.offered.set(number + u32::from(is_taken));
        self.is_offering.set(false);
    }

    /// What librdkafka does, and others do before and after it.
    fn hand_over(&self, queued: Queued) -> Offer {
        self.meanwhile();
        let offer = self.put(queued);
        self.meanwhile();
        offer
    }

    /// What other threads do, up to [`Step::GoOn`].
    fn meanwhile(&self) {
        if self.depth.get() < THREADS {
            self.depth.set(self.depth.get() + 1);
            while self.step().is_some_and(|step| step != Step::GoOn) {}
            self.depth.set(self.depth.get() - 1);
        }
    }

    fn put(&self, queued: Queued) -> Offer {
        if self.sent.borrow().len() - self.acknowledged.get() >= self.room {
            return Offer::Full(queued);
        }
        let number = queued.record.payload.as_slice().try_into().expect("four bytes");
        self.sent.borrow_mut().push(u32::from_be_bytes(number));
        Offer::Taken
    }
}

#[test]
fn a_burst_does_not_overtake_the_one_that_is_being_handed_over() {
    use Step::{Acknowledge, GoOn, Offer, Time};
    // 0 goes at once, then 1 and 2 as a burst. Before 2 is handed over 3 comes, and its time is over.
    let steps = vec![Offer, GoOn, GoOn, Offer, Offer, Acknowledge, GoOn, GoOn, GoOn, Offer, Time];
    assert_eq!(Run::new(steps, usize::MAX).end(), [0, 1, 2, 3]);
}

#[test]
fn what_finds_the_queue_full_is_not_overtaken() {
    use Step::{Acknowledge, GoOn, Offer, Time};
    // The burst is 1, 2 and 3. There is room for 1, none for 2, and some again before 3.
    let begin = vec![Offer, GoOn, GoOn, Offer, Offer, Offer, Time];
    let steps = [begin, vec![Acknowledge, GoOn, GoOn, GoOn, Acknowledge]].concat();
    assert_eq!(Run::new(steps, 1).end(), [0, 1, 2, 3]);
}

#[test]
fn what_finds_the_queue_full_goes_even_if_all_else_was_acknowledged_meanwhile() {
    use Step::{Acknowledge, GoOn, Offer, Time};
    // The burst is 1 and 2. There is no room for 2, and 1 is acknowledged before that is noted.
    let steps = vec![Offer, GoOn, GoOn, Offer, Offer, Time, Acknowledge, GoOn, GoOn, GoOn, Acknowledge];
    assert_eq!(Run::new(steps, 1).end(), [0, 1, 2]);
}

#[test]
fn what_waits_is_not_overtaken_by_one_that_finds_nothing_unacknowledged() {
    use Step::{Acknowledge, GoOn, Offer};
    // 1 is a burst, and 2 waits behind it. All is acknowledged, and before that starts the next burst 3 comes.
    let steps = vec![Offer, GoOn, GoOn, Offer, Acknowledge, GoOn, Offer, GoOn, Acknowledge, Offer];
    assert_eq!(Run::new(steps, usize::MAX).end(), [0, 1, 2, 3]);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => Just(Step::Offer), 2 => Just(Step::Acknowledge), 1 => Just(Step::Time), 1 => Just(Step::GoOn)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes together, what one offers one after the other is sent once and in that order, and nothing is left
    /// behind.
    #[test]
    fn records_are_sent_in_the_order_in_which_they_are_offered(
        steps in prop::collection::vec(step(), 0..80),
        room in 1..6usize,
    ) {
        let sent = Run::new(steps, room).end();
        prop_assert!(sent.iter().copied().eq(0..sent.len() as u32), "{:?}", sent);
    }
}
