//! Who works while the broker is killed: producers (plain and idempotent, several requests under way), a reader, a consumer that
//! commits, and an operator whose topics come and go. What a producer had under way goes on in the next round, as a client's
//! retries would. Not here: what is true (`ledger`).

use super::{
    super::{
        batch::{self, CODECS, PLAIN, Sender},
        calls::{EARLIEST, From, Wait},
        client::{Client, Error, Result},
        group_calls::Member,
        random::Random,
    },
    ledger::{Ledger, Mark, TOPICS, Target, entry},
};
use kafka_protocol::ResponseError;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
};

/// Requests under way of one producer; the broker remembers as many batches.
const UNDER_WAY: usize = 5;

/// All of them, from round to round.
pub(super) struct Crew {
    producers: Vec<Producer>,
    /// Counts the operator's topics, and commits.
    passing: u64,
    commits: u64,
}

/// One producer.
struct Producer {
    number: usize,
    idempotent: bool,
    targets: Vec<Target>,
    random: Random,
    /// The next record's.
    next: u64,
    id: Option<(i64, i16)>,
    /// Power losses before it got its id.
    losses: u32,
    sequences: HashMap<Target, i32>,
    /// Sent, or to be sent again, and not answered.
    under_way: VecDeque<Pending>,
}

struct Pending {
    target: Target,
    marks: Vec<Mark>,
    sender: Sender,
    /// Power losses before its producer got its id: only one that came later may have taken what the broker knew of it.
    losses: u32,
}

impl Crew {
    pub(super) fn new(seed: u64) -> Self {
        let all: Vec<Target> = TOPICS
            .iter()
            .flat_map(|(topic, partitions, ..)| (0..*partitions).map(move |partition| (*topic, partition)))
            .collect();
        let producer = |number: usize| Producer {
            number,
            idempotent: number != 0,
            // One of each kind has a partition of its own choice, the others write everywhere.
            targets: if number == 1 { vec![all[0]] } else { all.clone() },
            random: Random::new(seed ^ number as u64),
            next: 0,
            id: None,
            losses: 0,
            sequences: HashMap::new(),
            under_way: VecDeque::new(),
        };
        Self { producers: (0..4).map(producer).collect(), passing: 0, commits: 0 }
    }

    /// Each works until its connection breaks or `stop` says so.
    pub(super) fn start<'scope, 'env>(
        &'env mut self,
        scope: &'scope Scope<'scope, 'env>,
        address: SocketAddr,
        ledger: &'env Mutex<Ledger>,
        stop: &'scope AtomicBool,
    ) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let mut workers = Vec::new();
        for producer in &mut self.producers {
            workers.push(scope.spawn(move || until_broken(producer.work(address, ledger, stop))));
        }
        let (passing, commits) = (&mut self.passing, &mut self.commits);
        workers.push(scope.spawn(move || until_broken(commit(address, ledger, stop, commits))));
        workers.push(scope.spawn(move || until_broken(operate(address, ledger, stop, passing))));
        workers.push(scope.spawn(move || until_broken(read(address, ledger, stop))));
        workers
    }
}

fn until_broken(worked: Result<()>) {
    match worked {
        Ok(()) | Err(Error::Broken(_)) => {}
        Err(Error::Refused(code)) => panic!("refused: {code}"),
    }
}

fn more(stop: &AtomicBool) -> bool {
    !stop.load(Ordering::Relaxed)
}

impl Producer {
    fn work(&mut self, address: SocketAddr, ledger: &Mutex<Ledger>, stop: &AtomicBool) -> Result<()> {
        // Whether a plain producer's records are there or not, they are not sent again.
        if !self.idempotent {
            self.under_way.clear();
        }
        let mut client = Client::connect(address)?.with_random_versions(self.random.next());
        let mut versions = VecDeque::new();
        for pending in &self.under_way {
            versions.push_back(pending.send(&mut client)?);
        }
        loop {
            while more(stop) && self.under_way.len() < UNDER_WAY {
                if self.idempotent && self.id.is_none() {
                    if !self.under_way.is_empty() {
                        // Answers come in order.
                        break;
                    }
                    self.introduce(&mut client, ledger)?;
                }
                let pending = self.next_batch();
                self.under_way.push_back(pending);
                versions.push_back(self.under_way.back().unwrap().send(&mut client)?);
            }
            let Some(version) = versions.pop_front() else { return Ok(()) };
            match client.receive_produced(version) {
                Ok(produced) => {
                    let done = self.under_way.pop_front().unwrap();
                    ledger.lock().unwrap().acknowledged(done.target, produced.base_offset, &done.marks);
                }
                Err(Error::Refused(ResponseError::OutOfOrderSequenceNumber)) => {
                    // A power loss took acknowledged batches, so what follows them is refused. This client gives up on it.
                    let refused = self.under_way.pop_front().unwrap();
                    let losses = ledger.lock().unwrap().power_losses;
                    assert!(losses > refused.losses, "the broker forgot what it had of a producer");
                    self.id = self.id.filter(|(id, _)| *id != refused.sender.id);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn introduce(&mut self, client: &mut Client, ledger: &Mutex<Ledger>) -> Result<()> {
        let id = client.init_producer_id()?;
        let mut ledger = ledger.lock().unwrap();
        ledger.new_producer(id.0);
        self.losses = ledger.power_losses;
        self.sequences.clear();
        self.id = Some(id);
        Ok(())
    }

    fn sender(&mut self, target: Target, records: usize) -> Sender {
        let Some((id, epoch)) = self.id.filter(|_| self.idempotent) else { return PLAIN };
        let next = self.sequences.entry(target).or_default();
        let sequence = *next;
        *next += i32::try_from(records).unwrap();
        Sender { id, epoch, sequence }
    }

    fn next_batch(&mut self) -> Pending {
        let target = *self.random.pick(&self.targets);
        let records = 1 + self.random.below(4);
        let marks: Vec<Mark> = (self.next..self.next + records).map(|number| (self.number, number)).collect();
        self.next += records;
        Pending { target, sender: self.sender(target, marks.len()), losses: self.losses, marks }
    }
}

impl Pending {
    fn send(&self, client: &mut Client) -> Result<i16> {
        let entries: Vec<_> = self.marks.iter().map(|mark| entry(*mark)).collect();
        let codec = CODECS[usize::try_from(self.marks[0].1).unwrap() % CODECS.len()];
        client.send_produce(&[(self.target.0, self.target.1, batch::encode(&entries, self.sender, codec))])
    }
}

fn commit(address: SocketAddr, ledger: &Mutex<Ledger>, stop: &AtomicBool, count: &mut u64) -> Result<()> {
    let mut client = Client::connect(address)?.with_random_versions(*count);
    while more(stop) {
        *count += 1;
        let (group, partition, offset) = ledger.lock().unwrap().next_commit(*count);
        let offsets = [(TOPICS[0].0, partition, offset, offset.to_string())];
        client.commit(group, &Member::none(), &offsets)?.remove(0)?;
        ledger.lock().unwrap().committed(group, partition, offset);
    }
    Ok(())
}

/// Topics come and go, and producers get their ids.
fn operate(address: SocketAddr, ledger: &Mutex<Ledger>, stop: &AtomicBool, count: &mut u64) -> Result<()> {
    let mut client = Client::connect(address)?.with_random_versions(*count);
    while more(stop) {
        *count += 1;
        let name = format!("passing-{count:08}");
        ledger.lock().unwrap().passes(&name, None);
        client.create_topic(&name, 2, &[])?;
        ledger.lock().unwrap().passes(&name, Some(true));
        client.produce(&name, 0, batch::encode(&[entry((9, *count))], PLAIN, CODECS[0]))?;
        let (id, _) = client.init_producer_id()?;
        ledger.lock().unwrap().new_producer(id);
        let oldest = ledger.lock().unwrap().oldest_passing();
        if let Some(name) = oldest {
            client.delete_topic(&name)?;
            ledger.lock().unwrap().passes(&name, Some(false));
        }
    }
    Ok(())
}

/// Reads at the end of every log.
fn read(address: SocketAddr, ledger: &Mutex<Ledger>, stop: &AtomicBool) -> Result<()> {
    let mut client = Client::connect(address)?.with_random_versions(1);
    let mut places = ledger.lock().unwrap().ends();
    let wait = Wait { max_ms: 20, min_bytes: 1, max_bytes: 1 << 20 };
    while more(stop) {
        let from: Vec<From<'_>> = places
            .iter()
            .map(|((topic, partition), offset)| From {
                topic,
                partition: *partition,
                offset: *offset,
                max_bytes: 1 << 18,
            })
            .collect();
        let answers = client.fetch_all(&from, wait)?;
        for ((target, offset), answer) in places.iter_mut().zip(answers) {
            match answer {
                Ok(fetched) => {
                    ledger.lock().unwrap().read(*target, &fetched.batches);
                    *offset = fetched.batches.last().map_or(*offset, |last| last.last_offset + 1);
                }
                // Retention was faster.
                Err(Error::Refused(ResponseError::OffsetOutOfRange)) if target.0 == "bounded" => {
                    *offset = client.list_offset(target.0, target.1, EARLIEST)?.0;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
