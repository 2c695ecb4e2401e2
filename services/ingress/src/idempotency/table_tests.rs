//! The fold against a simple model: a log, replicas that read it at their own pace and with little memory, callers that come,
//! crash between claim and publication or between that and its note, and come again.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const WINDOW_MS: i64 = 120_000;

#[test]
fn keys_fit_into_their_bytes() {
    // A map may be a little over half full, with one byte of its own a place; `order` doubles as it grows.
    let a_key = (size_of::<(Digest, Entry)>() + 1) * 16 / 7 + 2 * size_of::<(Digest, u64)>();
    assert!(a_key <= KEY_BYTES, "a key takes {a_key} bytes");
}

struct Caller {
    replica: usize,
    key: u8,
    body: u8,
    me: RequestId,
    came_ms: i64,
    /// What it has published and not noted yet: the request and its claim's time.
    unnoted: Option<(RequestId, i64)>,
}

/// How long a caller tries.
const PATIENCE_MS: i64 = 60_000;

struct World {
    now_ms: i64,
    log: Vec<Note>,
    replicas: Vec<(Table, usize)>,
    callers: Vec<Caller>,
    /// Key → requests that were published, with body and time.
    published: HashMap<u8, Vec<(RequestId, u8, i64)>>,
}

#[derive(Debug, Clone)]
enum Op {
    Come { replica: usize, key: u8, body: u8 },
    Act { caller: usize, skew_ms: i64, crash: bool },
    Read { replica: usize, records: usize },
    Restart { replica: usize },
    Wait { ms: i64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..3usize, 0..6u8, 0..2u8).prop_map(|(replica, key, body)| Op::Come { replica, key, body: body * (key % 2) }),
        8 => (0..32usize, -2_400..2_400i64, prop::bool::weighted(0.2))
            .prop_map(|(caller, skew_ms, crash)| Op::Act { caller, skew_ms, crash }),
        6 => (0..3usize, 1..6usize).prop_map(|(replica, records)| Op::Read { replica, records }),
        1 => (0..3usize).prop_map(|replica| Op::Restart { replica }),
        2 => prop_oneof![0..2_000i64, 0..70_000i64].prop_map(|ms| Op::Wait { ms }),
    ];
    prop::collection::vec(op, 1..200)
}

fn claim(digest: Digest, offset: i64, at_ms: i64) -> Note {
    let id = RequestId::new();
    let (state, place) = (KeyState::Claimed, (0, offset));
    Note { digest, request_id: id, claimant: id, body: [0; 16], state, at_ms, claimed_ms: at_ms, place }
}

fn digest(n: u8) -> Digest {
    [n; 16]
}

impl World {
    /// Replica 0 remembers every key, 1 two of them, 2 one.
    fn new() -> Self {
        let replicas = (0..3).map(|n| (Self::table(n), 0)).collect();
        Self { now_ms: 1_000_000, log: Vec::new(), replicas, callers: Vec::new(), published: HashMap::new() }
    }

    fn table(replica: usize) -> Table {
        Table::new(WINDOW_MS, [1_000, 2, 1][replica])
    }

    fn append(&mut self, caller: &Caller, request_id: RequestId, state: KeyState, claimed_ms: i64) {
        let place = (0, i64::try_from(self.log.len()).expect("few records"));
        let (digest, body, at_ms) = (digest(caller.key), digest(caller.body), self.now_ms);
        self.log.push(Note { digest, request_id, claimant: caller.me, body, state, at_ms, claimed_ms, place });
    }

    fn read(&mut self, replica: usize, records: usize) {
        let (table, next) = &mut self.replicas[replica];
        for note in self.log[*next..].iter().take(records) {
            table.fold(note);
            *next += 1;
        }
    }

    fn log_of(&self, key: u8, place: Place) -> Vec<Note> {
        self.log.iter().filter(|n| n.digest == digest(key) && n.place <= place).cloned().collect()
    }

    /// A caller looks and does what it is told; false once it is gone.
    fn act(&mut self, caller: &mut Caller, skew_ms: i64, crash: bool) -> bool {
        if let Some((id, claimed_ms)) = caller.unnoted {
            if !crash {
                self.append(caller, id, KeyState::Published, claimed_ms);
            }
            return false;
        }
        let (key, body) = (digest(caller.key), digest(caller.body));
        let look = self.replicas[caller.replica].0.look(&key, &body, caller.me, self.now_ms + skew_ms);
        match look {
            Look::Free => self.append(caller, caller.me, KeyState::Claimed, self.now_ms),
            Look::Stale(id) => self.append(caller, id, KeyState::Claimed, self.now_ms),
            Look::Mine(..) if crash => return false,
            Look::Mine(id, claimed_ms) => {
                self.published.entry(caller.key).or_default().push((id, caller.body, self.now_ms));
                caller.unnoted = Some((id, claimed_ms));
                return true;
            }
            Look::Unsure(place) => {
                let log = self.log_of(caller.key, place);
                self.replicas[caller.replica].0.settle(&key, place, &log);
            }
            Look::Published(id) => {
                let known = self.published.get(&caller.key).is_some_and(|all| all.iter().any(|p| p.0 == id));
                assert!(known, "a repeat waits for a request that nobody published");
                return false;
            }
            Look::Done | Look::OtherBody => return false,
            Look::Held => {}
        }
        !crash
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Come { replica, key, body } => {
                self.callers.push(Caller {
                    replica,
                    key,
                    body,
                    me: RequestId::new(),
                    came_ms: self.now_ms,
                    unnoted: None,
                });
            }
            Op::Act { caller, skew_ms, crash } if !self.callers.is_empty() => {
                let mut caller = self.callers.swap_remove(caller % self.callers.len());
                if self.act(&mut caller, skew_ms, crash) {
                    self.callers.push(caller);
                }
            }
            Op::Act { .. } => {}
            Op::Read { replica, records } => self.read(replica, records),
            Op::Restart { replica } => {
                self.callers.retain(|caller| caller.replica != replica);
                self.replicas[replica] = (Self::table(replica), 0);
                // It is ready once it has caught up.
                self.read(replica, usize::MAX);
            }
            Op::Wait { ms } => {
                self.now_ms += ms;
                self.callers.retain(|caller| caller.came_ms + PATIENCE_MS > self.now_ms);
            }
        }
    }
}

/// What the whole log says of one key, told plainly: winners and where their windows begin; one that is taken over begins again.
fn winners(log: &[Note], key: u8) -> Vec<(RequestId, i64)> {
    let mut winners: Vec<(RequestId, i64)> = Vec::new();
    let mut is_published = false;
    for note in log.iter().filter(|n| n.digest == digest(key)) {
        match winners.last().copied() {
            Some((id, _)) if note.state == KeyState::Published => is_published |= id == note.request_id,
            Some((id, since_ms)) if note.at_ms <= since_ms + WINDOW_MS => {
                if id == note.request_id && !is_published && note.at_ms > since_ms + STALE_MS - SKEW_MS {
                    winners.push((id, note.at_ms));
                }
            }
            _ => {
                winners.push((note.request_id, note.at_ms));
                is_published = false;
            }
        }
    }
    winners
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_request_a_key_and_window(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        for (key, published) in &world.published {
            let winners = winners(&world.log, *key);
            for (id, body, at_ms) in published {
                let won = winners.iter().filter(|(winner, _)| winner == id).count();
                prop_assert!(won > 0, "request {} of key {} was published and did not win", id, key);
                let window = winners.iter().rev().find(|(_, since_ms)| since_ms <= at_ms).expect("a claim before it");
                prop_assert_eq!(window.0, *id, "published in another's window");
                let claim = world.log.iter().find(|n| n.request_id == *id).expect("its claim");
                prop_assert_eq!(claim.body, digest(*body), "published with another body than was claimed");
            }
        }
    }

    #[test]
    fn replicas_that_read_the_same_say_the_same(ops in ops(), body in 0..2u8) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        for replica in 0..3 {
            world.read(replica, usize::MAX);
        }
        let (me, now_ms) = (RequestId::new(), world.now_ms);
        for key in 0..6u8 {
            for replica in 1..3 {
                let expected = world.replicas[0].0.look(&digest(key), &digest(body), me, now_ms);
                if world.replicas[replica].0.look(&digest(key), &digest(body), me, now_ms) == Look::Free && expected != Look::Free {
                    // Forgotten: a claim brings the question up, and the log the answer.
                    let caller = Caller { replica, key, body, me, came_ms: now_ms, unnoted: None };
                    world.append(&caller, me, KeyState::Claimed, now_ms);
                    world.read(replica, usize::MAX);
                    world.read(0, usize::MAX);
                }
                if let Look::Unsure(place) = world.replicas[replica].0.look(&digest(key), &digest(body), me, now_ms) {
                    let log = world.log_of(key, place);
                    world.replicas[replica].0.settle(&digest(key), place, &log);
                }
                let expected = world.replicas[0].0.look(&digest(key), &digest(body), me, now_ms);
                prop_assert_eq!(world.replicas[replica].0.look(&digest(key), &digest(body), me, now_ms), expected);
            }
        }
    }

    #[test]
    fn memory_is_bounded(keys in prop::collection::vec(0..200u8, 1..400)) {
        let mut table = Table::new(WINDOW_MS, 10);
        for (at, key) in (0i64..).zip(keys) {
            table.fold(&claim(digest(key), at, at * 1_000));
            prop_assert!(table.keys.len() <= 10 && table.order.len() <= 10);
        }
    }

    /// Far more keys than fit: a key that never came is looked up now and then at most, one that came and was forgotten always.
    #[test]
    fn a_full_table_looks_up_what_was_forgotten_and_little_else(keys in prop::collection::vec(any::<Digest>(), 400..800), max in 1..40usize) {
        let (mut table, mut new_looked_up, keys) = (Table::new(WINDOW_MS, max), 0, keys.into_iter().collect::<std::collections::BTreeSet<_>>());
        let step_ms = WINDOW_MS / 2_000;
        for (at, digest) in (0i64..).zip(&keys) {
            table.fold(&claim(*digest, at, at * step_ms));
            let look = table.look(digest, &[0; 16], RequestId::new(), at * step_ms);
            new_looked_up += usize::from(matches!(look, Look::Unsure(_)));
        }
        // A filter of so few bits is filled far beyond its size.
        prop_assert!(max < 20 || new_looked_up <= keys.len() / 20, "{} of {} new keys were looked up", new_looked_up, keys.len());
        // Every key comes again within its window.
        for (at, digest) in (1_000i64..).zip(&keys) {
            table.fold(&claim(*digest, at, at * step_ms));
            let entry = &table.keys[digest];
            prop_assert!(entry.is_unsure || entry.since_ms < at * step_ms, "a repeat is taken as new");
        }
    }
}
