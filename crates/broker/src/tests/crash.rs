//! Crashes: a broker in a process of its own is killed at random moments and at named points while clients work; its log is then
//! cut or overwritten as a power loss may leave it, and after each start everything that was promised is checked (`ledger`).
//! One folder goes through all rounds and both ways to fsync. Not here: disks that lie about fsync.
//!
//! `TOLLGATE_BROKER_CRASHES` sets the number of rounds, `TOLLGATE_BROKER_SEED` repeats a run's choices (not its timing).

mod clients;
mod disk;
mod ledger;
mod process;

use super::{
    batch::{CODECS, Entry, PLAIN, encode},
    calls::{From, Wait, fetch},
    client::{Client, Error},
    group_calls::Member,
    random::Random,
};
use clients::Crew;
use ledger::Ledger;
use process::{End, Process, Start};
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

const ROUNDS: u64 = 30;
/// A point is passed so often before the process ends there.
const PASSINGS: [u64; 8] = [1, 1, 1, 1, 2, 3, 10, 50];

#[test]
fn what_was_promised_survives_crashes() {
    let rounds = std::env::var("TOLLGATE_BROKER_CRASHES").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("TOLLGATE_BROKER_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
    // A failure leaves its folder to be looked at.
    let root = tempfile::tempdir().unwrap().keep();
    println!("TOLLGATE_BROKER_SEED={seed}, in {}", root.display());
    let mut run = Run::new(&root, seed);
    for round in 0..rounds {
        run.round(round);
    }
    // Whatever is still to be had is had now.
    run.fault = None;
    run.calm_round();
    println!("{run}");
    assert!(run.ledger.lock().unwrap().checked > 0);
    std::fs::remove_dir_all(&root).unwrap();
}

/// With `fsync: always` a process that dies before its first sync has answered nothing, and shown nothing.
#[test]
fn nothing_is_answered_before_it_is_on_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let start = |fault| Process::start(&Start { root: root.path(), boot: 0, always: true, fault });
    let mut process = start(None);
    Client::connect(process.address().unwrap()).unwrap().create_topic("t", 1, &[]).unwrap();
    assert!(matches!(process.shut_down(), End::Clean));

    let mut process = start(Some("durability.syncing:1"));
    let address = process.address().unwrap();
    let (mut reader, mut writer) = (Client::connect(address).unwrap(), Client::connect(address).unwrap());
    let from = [From { topic: "t", partition: 0, offset: 0, max_bytes: 1_000 }];
    reader.send(12, &fetch(&from, Wait { max_ms: 50_000, min_bytes: 1, max_bytes: 1_000 })).unwrap();
    let batch = encode(&[Entry::new("k", "v")], PLAIN, CODECS[0]);
    assert!(matches!(writer.produce("t", 0, batch), Err(Error::Broken(_))), "a produce was answered too early");
    assert!(matches!(reader.receive_fetched(12, &from), Err(Error::Broken(_))), "a record was shown too early");
    assert!(matches!(process.ended_by_itself(), End::Fault(_)));

    let mut process = start(Some("durability.syncing:1"));
    let mut client = Client::connect(process.address().unwrap()).unwrap();
    let committed = client.commit("g", &Member::none(), &[("t", 0, 1, String::new())]);
    assert!(matches!(committed, Err(Error::Broken(_))), "a commit was answered too early");
    assert!(matches!(process.ended_by_itself(), End::Fault(_)));
}

/// The broker that is killed; the tests above start it, by a variable without which this does nothing.
#[test]
fn broker_process() {
    process::serve();
}

struct Run {
    root: PathBuf,
    random: Random,
    points: Vec<String>,
    /// Counts the times that the machine came up.
    boot: u32,
    always: bool,
    fault: Option<String>,
    /// The last end was at a point.
    torn: bool,
    ledger: Mutex<Ledger>,
    crew: Crew,
    ends: BTreeMap<String, u32>,
    damages: BTreeMap<&'static str, u32>,
}

impl Run {
    fn new(root: &Path, seed: u64) -> Self {
        Self {
            root: root.to_owned(),
            random: Random::new(seed),
            points: process::points(),
            boot: 0,
            always: false,
            fault: None,
            torn: false,
            ledger: Mutex::default(),
            crew: Crew::new(seed),
            ends: BTreeMap::new(),
            damages: BTreeMap::new(),
        }
    }

    /// A life of the broker: it starts, is checked, works, ends; then the disk loses what it may lose.
    fn round(&mut self, round: u64) {
        self.always = self.random.once_in(2);
        self.fault = self.pick_fault(round);
        println!("round {round}: always {}, fault {:?}, boot {}", self.always, self.fault, self.boot);
        let Some((process, address)) = self.start_checked() else { return };
        let end = self.work(process, address);
        println!("  {end}");
        self.note(&end);
        if !matches!(end, End::Clean) && self.random.once_in(2) {
            self.lose_power();
        }
        self.ledger
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .note_floors(&self.root, matches!(end, End::Clean));
    }

    /// A point in every other round, in turn; where something was torn apart before, one of those that mend it at a start.
    fn pick_fault(&mut self, round: u64) -> Option<String> {
        if std::mem::take(&mut self.torn) && self.random.once_in(2) {
            let mending: Vec<&String> = self.points.iter().filter(|point| point.contains("open")).collect();
            return (!mending.is_empty()).then(|| format!("{}:1", self.random.pick(&mending)));
        }
        let point = &self.points[usize::try_from(round / 2).unwrap() % self.points.len()];
        let nth = self.random.pick(&PASSINGS);
        (round % 2 == 1).then(|| format!("{point}:{nth}"))
    }

    /// A round in which nothing happens to the broker.
    fn calm_round(&mut self) {
        let (process, address) = self.start_checked().expect("no fault is armed");
        let stop = AtomicBool::new(false);
        let crew = &mut self.crew;
        thread::scope(|scope| {
            let workers = crew.start(scope, address, &self.ledger, &stop);
            thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        assert!(matches!(process.shut_down(), End::Clean));
        let (process, _) = self.start_checked().expect("no fault is armed");
        assert!(matches!(process.shut_down(), End::Clean));
    }

    /// Starts a broker and holds what it has against the ledger. With a fault armed it may end on the way; it is then started
    /// without one, and as that is a round's worth of trouble, the round is over.
    fn start_checked(&mut self) -> Option<(Process, SocketAddr)> {
        loop {
            let start = Start { root: &self.root, boot: self.boot, always: self.always, fault: self.fault.as_deref() };
            let mut process = Process::start(&start);
            let checked = process.address().ok_or(None).and_then(|address| {
                let client = Client::connect(address).map_err(|error| Some(error.into()));
                client
                    .and_then(|mut client| self.ledger.lock().unwrap().check(&mut client).map_err(Some))
                    .map(|()| address)
            });
            let error = match checked {
                Ok(address) => return Some((process, address)),
                Err(error) => error,
            };
            let end = process.ended_by_itself();
            assert!(matches!(end, End::Fault(_)), "it ended without being asked to: {error:?}\n{}", process.log());
            self.note(&end);
            self.fault = None;
            if self.random.once_in(2) {
                self.lose_power();
                return None;
            }
        }
    }

    /// Lets the clients work for a while, then ends the process in one way or another.
    fn work(&mut self, mut process: Process, address: SocketAddr) -> End {
        let stop = AtomicBool::new(false);
        let patience = Duration::from_millis(self.random.below(400));
        // Some points lie on the way to an orderly end.
        let orderly = self.random.once_in(if self.fault.is_some() { 2 } else { 5 });
        let crew = &mut self.crew;
        thread::scope(|scope| {
            let mut workers = crew.start(scope, address, &self.ledger, &stop);
            let since = Instant::now();
            let mut idle = None;
            while since.elapsed() < patience && !process.has_ended() && idle.is_none() {
                thread::sleep(Duration::from_millis(1));
                idle = workers.iter().position(|worker| worker.is_finished());
            }
            // A worker ends before it is told to if its connection breaks, or if it has found something wrong.
            if let Some(index) = idle {
                workers.swap_remove(index).join().unwrap();
            }
            let end = if idle.is_some() || process.has_ended() {
                process.ended_by_itself()
            } else if orderly {
                process.shut_down()
            } else {
                process.kill()
            };
            stop.store(true, Ordering::Relaxed);
            for worker in workers {
                worker.join().unwrap();
            }
            end
        })
    }

    fn note(&mut self, end: &End) {
        self.torn |= matches!(end, End::Fault(_));
        *self.ends.entry(end.to_string()).or_default() += 1;
    }

    /// The machine goes down: some partitions lose the end of what was not on the disk.
    fn lose_power(&mut self) {
        self.boot += 1;
        let ledger = self.ledger.get_mut().unwrap_or_else(PoisonError::into_inner);
        ledger.power_losses += 1;
        for log in ledger.logs.values_mut() {
            for (damage, place) in disk::damage(&self.root, log, self.always, &mut self.random) {
                println!("  {damage} {place}");
                *self.damages.entry(damage).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "crash test: ends {:?}; ", self.ends)?;
        write!(f, "{} power losses, damaged logs {:?}; ", ledger.power_losses, self.damages)?;
        write!(f, "{} records acknowledged, {} producers, ", ledger.acknowledged, ledger.producer_ids.len())?;
        write!(f, "{} commits, {} records checked", ledger.commits, ledger.checked)?;
        let missed = self.points.iter().filter(|point| !self.ends.contains_key(*point));
        write!(f, "; points not met: {:?}", missed.collect::<Vec<_>>())
    }
}
