//! The tracker against sets: a log with gaps, readers that come and go, and whatever order of completions.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LARGE: usize = 1000;

fn begin(tracker: &mut Tracker, offset: i64) -> bool {
    tracker.begin(offset) == Fetched::New
}

fn committed(tracker: &Tracker) -> i64 {
    tracker.commit().expect("something was taken in").0
}

#[test]
fn commits_only_below_the_lowest_open_one() {
    let mut tracker = Tracker::resume(10, "");
    assert_eq!(tracker.commit(), None);
    for offset in [10, 11, 15] {
        assert!(begin(&mut tracker, offset));
    }
    assert!(!begin(&mut tracker, 11));
    assert!(tracker.complete(11));
    assert_eq!(committed(&tracker), 10);
    assert!(tracker.complete(10));
    assert_eq!(committed(&tracker), 15);
    assert!(tracker.complete(15));
    assert!(!tracker.complete(15));
    assert_eq!((committed(&tracker), tracker.in_flight()), (16, 0));
}

#[test]
fn a_slow_record_below_a_million_delays_none_and_alone_is_repeated() {
    let mut tracker = Tracker::resume(0, "");
    assert!(begin(&mut tracker, 0));
    for offset in 1..1_000_000 {
        assert!(begin(&mut tracker, offset) && !tracker.is_full(2) || tracker.in_flight() == 2);
        assert!(tracker.complete(offset));
        assert!(tracker.is_half_empty(2));
    }
    let (offset, metadata) = tracker.commit().expect("records were taken in");
    assert_eq!((offset, metadata.len() < 20), (0, true));
    let mut next = Tracker::resume(offset, &metadata);
    let repeated: Vec<i64> = (0..1_000_001).filter(|offset| begin(&mut next, *offset)).collect();
    assert_eq!(repeated, [0, 1_000_000]);
}

#[test]
fn metadata_of_another_commit_is_ignored() {
    let metadata = commit_metadata::encode(5, std::iter::once(6..9)).expect("it fits");
    for (offset, begun) in [(5, vec![5, 9]), (4, vec![4, 5, 6, 7, 8, 9])] {
        let mut tracker = Tracker::resume(offset, &metadata);
        assert_eq!((offset..10).filter(|o| begin(&mut tracker, *o)).collect::<Vec<_>>(), begun);
    }
}

#[test]
fn a_log_made_anew_is_read_from_its_beginning() {
    let metadata = commit_metadata::encode(5, std::iter::once(6..9)).expect("it fits");
    let mut tracker = Tracker::resume(5, &metadata);
    assert!((0..10).all(|offset| begin(&mut tracker, offset)));
}

#[test]
fn a_log_made_anew_while_it_is_read_is_noticed() {
    let mut tracker = Tracker::resume(5, "");
    for offset in 5..9 {
        assert!(begin(&mut tracker, offset));
    }
    assert!(tracker.complete(5) && tracker.complete(6));
    assert_eq!(tracker.begin(4), Fetched::Rewound, "below where this assignment began");
    assert_eq!([5, 6, 7].map(|offset| tracker.begin(offset)), [Fetched::Known; 3], "redelivery from the commit");
    tracker.acknowledged(7);
    assert_eq!([5, 6].map(|offset| tracker.begin(offset)), [Fetched::Rewound; 2], "below a later commit");
    assert_eq!((tracker.begin(7), tracker.begin(9)), (Fetched::Known, Fetched::New));

    let mut anew = Tracker::resume(100, "");
    assert!(begin(&mut anew, 3), "before this assignment it is no reason to stop");
    anew.acknowledged(3);
    assert_eq!((anew.begin(3), anew.begin(2)), (Fetched::Known, Fetched::Rewound));
}

#[test]
fn a_commit_ahead_of_what_is_fetched_is_no_reason_to_stop() {
    let metadata = commit_metadata::encode(5, std::iter::once(6..9)).expect("it fits");
    let mut tracker = Tracker::resume(5, &metadata);
    assert!(begin(&mut tracker, 5) && tracker.complete(5));
    assert_eq!(committed(&tracker), 9);
    tracker.acknowledged(9);
    assert_eq!([6, 7, 8, 9].map(|offset| tracker.begin(offset) == Fetched::New), [false, false, false, true]);
    assert_eq!(tracker.begin(8), Fetched::Rewound);
}

/// One step of what happens to a partition.
#[derive(Debug, Clone)]
enum Step {
    Fetch,
    /// Completes one of the open ones.
    Complete(usize),
    Commit,
    HandBack(usize),
    /// The partition goes to another reader, which begins at the last commit.
    Reassign,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Fetch),
        6 => any::<usize>().prop_map(Step::Complete),
        2 => Just(Step::Commit),
        1 => any::<usize>().prop_map(Step::HandBack),
        1 => Just(Step::Reassign),
    ];
    prop::collection::vec(step, 1..400)
}

/// What the tracker is measured by: the log, what was handled, and what the broker keeps.
struct Model {
    log: Vec<i64>,
    /// Place in `log` of the next record to fetch.
    next: usize,
    tracker: Tracker,
    open: BTreeSet<i64>,
    handed_back: BTreeSet<i64>,
    done: BTreeSet<i64>,
    kept: (i64, String),
    /// Offsets done at the time of the last commit.
    done_then: BTreeSet<i64>,
    /// Offsets begun in this assignment.
    begun: BTreeSet<i64>,
    handled: BTreeMap<i64, usize>,
    max_in_flight: usize,
    paused: bool,
}

impl Model {
    fn new(gaps: &[i64], max_in_flight: usize) -> Self {
        let log: Vec<i64> = gaps
            .iter()
            .scan(-1, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect();
        let sets = BTreeSet::new;
        Self {
            log,
            next: 0,
            tracker: Tracker::resume(0, ""),
            open: sets(),
            handed_back: sets(),
            done: sets(),
            kept: (0, String::new()),
            done_then: sets(),
            begun: sets(),
            handled: BTreeMap::new(),
            max_in_flight,
            paused: false,
        }
    }

    fn step(&mut self, step: &Step) {
        let nth = |set: &BTreeSet<i64>, at: usize| set.iter().nth(at % set.len().max(1)).copied();
        match step {
            Step::Fetch => self.fetch(),
            Step::Complete(at) => {
                if let Some(offset) = nth(&self.open, *at) {
                    assert!(self.tracker.complete(offset));
                    self.open.remove(&offset);
                    self.done.insert(offset);
                }
            }
            Step::HandBack(at) => {
                if let Some(offset) = nth(&self.open, *at) {
                    assert!(self.tracker.hand_back(offset));
                    self.open.remove(&offset);
                    self.handed_back.insert(offset);
                }
            }
            Step::Commit => self.commit(),
            Step::Reassign => self.reassign(),
        }
        assert_eq!(self.tracker.in_flight(), self.open.len());
        let full = self.tracker.is_full(self.max_in_flight);
        self.paused = if self.paused { !self.tracker.is_half_empty(self.max_in_flight) } else { full };
    }

    fn fetch(&mut self) {
        let Some(offset) = self.log.get(self.next).copied().filter(|_| !self.paused) else { return };
        self.next += 1;
        let fetched = self.tracker.begin(offset);
        assert_ne!(fetched, Fetched::Rewound, "{offset} is ordinary");
        if fetched == Fetched::New {
            assert!(self.begun.insert(offset), "{offset} was begun twice in one assignment");
            self.open.insert(offset);
            *self.handled.entry(offset).or_default() += 1;
        } else {
            assert!(self.done_then.contains(&offset), "{offset} was skipped and is not done");
        }
        for again in &self.log[..self.next] {
            let expected = if *again < self.kept.0 { Fetched::Rewound } else { Fetched::Known };
            assert_eq!(self.tracker.begin(*again), expected, "{again} was fetched again");
        }
    }

    fn commit(&mut self) {
        let Some((offset, metadata)) = self.tracker.commit() else { return };
        assert!(offset >= self.kept.0, "the committed offset went back");
        assert!(metadata.len() <= commit_metadata::MAX_BYTES);
        let is_said =
            |o: &i64| commit_metadata::parse(&metadata).is_some_and(|(_, ranges)| ranges.iter().any(|r| r.contains(o)));
        for known in &self.log {
            let is_told = *known < offset || is_said(known);
            assert_eq!(is_told, self.done.contains(known), "{known}, with {offset} {metadata} committed");
        }
        self.kept = (offset, metadata);
        self.tracker.acknowledged(offset);
        self.done_then = self.done.clone();
    }

    fn reassign(&mut self) {
        // What is in flight may still complete, and its effects be seen; the new assignment knows nothing of it.
        self.tracker = Tracker::resume(self.kept.0, &self.kept.1);
        self.next = self.log.partition_point(|offset| *offset < self.kept.0);
        self.done = self.done_then.clone();
        for set in [&mut self.open, &mut self.handed_back, &mut self.begun] {
            set.clear();
        }
        self.paused = false;
    }

    /// Goes on until everything is done, as readers do that nothing disturbs.
    fn finish(&mut self) {
        self.commit();
        self.reassign();
        while self.next < self.log.len() || !self.open.is_empty() {
            let before = (self.next, self.open.len());
            self.step(&Step::Fetch);
            if before == (self.next, self.open.len()) {
                assert!(!self.open.is_empty(), "paused with nothing in flight");
                self.step(&Step::Complete(0));
            }
        }
        self.commit();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the gaps, the order of completions, hand-backs and re-assignments: what is committed never goes back and
    /// says exactly what is done; a new reader is handed exactly what is not; nothing is lost; nothing stalls.
    #[test]
    fn agrees_with_sets(gaps in prop::collection::vec(1i64..4, 1..150), steps in steps(), max_in_flight in 1usize..40) {
        let mut model = Model::new(&gaps, max_in_flight);
        for step in &steps {
            model.step(step);
        }
        model.finish();
        prop_assert_eq!(model.kept, (model.log.last().map_or(0, |last| last + 1), String::new()));
        prop_assert!(model.log.iter().all(|offset| model.handled.contains_key(offset)));
    }
}

proptest! {
    // Each case is thousands of records.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// The worst that can be: long gaps, many records left open at random, completions in the worst order. Intake pauses
    /// before the metadata is too long, also over re-assignments, and what it says is complete.
    #[test]
    fn metadata_never_overflows(
        seed in any::<u64>(), gap in 1i64..1 << 40, stays_open in 1u64..12, skew in 0u32..40,
    ) {
        let (mut tracker, mut open, mut offset, mut paused) = (Tracker::resume(0, ""), Vec::new(), 0i64, false);
        let mut random = seed;
        let mut roll = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for step in 0..6000 {
            if !paused {
                offset += 1 + (gap >> skew) * i64::from(roll(2) == 0);
                prop_assert!(begin(&mut tracker, offset));
                if roll(stays_open) == 0 { prop_assert!(tracker.complete(offset)) } else { open.push(offset) }
            } else {
                let at = roll(open.len() as u64) as usize;
                prop_assert!(tracker.complete(open.swap_remove(at)));
            }
            paused = if paused { !tracker.is_half_empty(LARGE) } else { tracker.is_full(LARGE) };
            if step % 16 > 0 {
                continue;
            }
            let (committed, metadata) = tracker.commit().expect("records were taken in");
            let is_all_open = open.len() as i64 == offset + 1 - committed;
            prop_assert_eq!(metadata.is_empty(), is_all_open, "{} open from {}", open.len(), committed);
            prop_assert!(metadata.len() <= commit_metadata::MAX_BYTES);
            prop_assert!(open.len() <= LARGE);
            if roll(100) == 0 {
                // A restart: the same records are open afterwards, in a tracker that knows nothing else.
                open.sort_unstable();
                let end = offset;
                let mut next = Tracker::resume(committed, &metadata);
                for offset in &open {
                    prop_assert!(begin(&mut next, *offset), "{} is open and was skipped", offset);
                }
                prop_assert!(open.last() == Some(&end) || committed > end || !begin(&mut next, end));
                tracker = next;
            }
        }
    }
}
