//! The store of several ingress replicas: Valkey, or Redis from 6.2. One atomic script per call; what they do is what `memory` does, and
//! one test suite holds them to it.
//!
//! All keys begin with one hash tag, so a cluster keeps them on one node: the scripts are atomic there, and a cluster adds
//! no capacity. Every key but three (`ready`, `lease`, `offsets`) expires. The server must not evict (`maxmemory-policy noeviction`):
//! an evicted counter is spend forgotten.

use crate::{
    error::Error,
    ledger::Applied,
    money,
    plan::{Alert, Reservation, Settlement},
    snapshot::Snapshot,
    verdict::{Done, RateReading, Reading},
};
use redis::{
    Client, ErrorKind, RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::{fmt, time::Duration};
use uuid::Uuid;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one script may take: an admission waits for it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Reconnections tried before a call fails.
const RECONNECTS: usize = 1;
/// Longest pause between them.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// How long a replica may take for a rebuild before another one may begin it anew.
const LEASE: Duration = Duration::from_secs(300);
/// Keys written at once in a rebuild.
const CHUNK: usize = 1_000;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("valkey/prelude.lua"), include_str!(concat!("valkey/", $name))))
    };
}

/// What became of an attempt to begin a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Ready,
    Mine,
    Elsewhere,
}

pub(crate) struct Valkey {
    connection: ConnectionManager,
    prefix: String,
    /// Names this replica in the lease.
    replica: String,
    /// Tests bring their own time.
    callers_clock: bool,
    admit: Script,
    settle: Script,
    release: Script,
    ready: Script,
}

impl fmt::Debug for Valkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("Valkey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A connection to a Valkey or Redis, which is made when it is first used and again when it has broken; one call may take that long.
/// Must be called on a Tokio runtime.
pub fn connect(url: &str, response_timeout: Duration) -> Result<ConnectionManager, Error> {
    // Valkey's own schemes are Redis' by another name.
    let url = match url.split_once("://") {
        Some(("valkey", rest)) => format!("redis://{rest}"),
        Some(("valkeys", rest)) => format!("rediss://{rest}"),
        _ => url.to_owned(),
    };
    let client = Client::open(url).map_err(|_| Error::Address)?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
        .set_number_of_retries(RECONNECTS)
        .set_max_delay(RECONNECT_DELAY);
    ConnectionManager::new_lazy_with_config(client, config).map_err(|_| Error::Address)
}

impl Valkey {
    /// Does not connect yet. Must be called on a Tokio runtime.
    pub(crate) fn open(url: &str, gateway: &str) -> Result<Self, Error> {
        Ok(Self {
            connection: connect(url, RESPONSE_TIMEOUT)?,
            prefix: format!("{{tollgate.{gateway}}}:"),
            replica: Uuid::now_v7().to_string(),
            callers_clock: false,
            admit: script!("admit.lua"),
            settle: script!("settle.lua"),
            release: script!("release.lua"),
            ready: script!("ready.lua"),
        })
    }

    pub(crate) fn use_callers_clock(&mut self) {
        self.callers_clock = true;
    }

    fn now(&self, now_ms: i64) -> i64 {
        if self.callers_clock { now_ms } else { 0 }
    }

    async fn run(&self, script: &Script, now_ms: i64, arguments: &[&str]) -> Result<Vec<i64>, Error> {
        let mut invocation = script.key(&self.prefix);
        invocation.arg(self.now(now_ms));
        for argument in arguments {
            invocation.arg(*argument);
        }
        invocation.invoke_async(&mut self.connection.clone()).await.map_err(unreachable)
    }

    pub(crate) async fn admit(&self, reservation: &Reservation, now_ms: i64) -> Result<Reading, Error> {
        let reply = self.run(&self.admit, now_ms, &[&json(reservation)?, "0"]).await?;
        reading(&reply, reservation)
    }

    pub(crate) async fn reopen(&self, reservation: &Reservation, at_ms: i64, now_ms: i64) -> Result<(), Error> {
        // 0 would mean an admission.
        let at_ms = at_ms.max(1).to_string();
        self.run(&self.admit, now_ms, &[&json(reservation)?, &at_ms]).await.map(drop)
    }

    pub(crate) async fn settle(&self, settlement: &Settlement, now_ms: i64) -> Result<Applied, Error> {
        let reply = self.run(&self.settle, now_ms, &[&json(settlement)?]).await?;
        match reply.split_first() {
            Some((1, told)) => {
                Ok(Applied::Counted(told.chunks_exact(2).filter_map(|t| alert(settlement, t)).collect()))
            }
            Some((2, _)) => Ok(Applied::Already),
            Some((3, [at, ..])) => Ok(Applied::Gap(*at)),
            _ => Err(Error::Answer),
        }
    }

    pub(crate) async fn release(&self, id: Uuid, now_ms: i64) -> Result<(), Error> {
        self.run(&self.release, now_ms, &[&id.to_string()]).await.map(drop)
    }

    pub(crate) async fn is_ready(&self) -> Result<bool, Error> {
        let mut command = redis::cmd("EXISTS");
        command.arg(self.key("ready"));
        command.query_async(&mut self.connection.clone()).await.map_err(unreachable)
    }

    /// Whether this replica is to rebuild it; nobody else does for [`LEASE`].
    pub(crate) async fn begin(&self) -> Result<Begun, Error> {
        if self.is_ready().await? {
            return Ok(Begun::Ready);
        }
        let mut command = redis::cmd("SET");
        command.arg(self.key("lease")).arg(&self.replica).arg("NX").arg("PX").arg(LEASE.as_millis() as u64);
        let got: Option<String> = command.query_async(&mut self.connection.clone()).await.map_err(unreachable)?;
        Ok(if got.is_some() { Begun::Mine } else { Begun::Elsewhere })
    }

    /// Writes a snapshot over whatever is there.
    pub(crate) async fn restore(&self, snapshot: &Snapshot, now_ms: i64) -> Result<(), Error> {
        let mut writer = Writer { valkey: self, pipe: redis::pipe() };
        let left = |drop_ms: i64| u64::try_from(drop_ms - now_ms).ok().filter(|ms| *ms > 0);
        for (counter, nano, drop_ms) in &snapshot.spend {
            let Some(ttl) = left(*drop_ms) else { continue };
            writer.pipe.cmd("SET").arg(self.key(&format!("s:{counter}"))).arg(*nano).arg("PX").arg(ttl).ignore();
            writer.flush(CHUNK).await?;
        }
        for (mark, drop_ms) in &snapshot.marks {
            let Some(ttl) = left(*drop_ms) else { continue };
            writer.pipe.cmd("SET").arg(self.key(&format!("a:{mark}"))).arg(1).arg("PX").arg(ttl).ignore();
            writer.flush(CHUNK).await?;
        }
        for (id, drop_ms) in &snapshot.settled {
            let Some(ttl) = left(*drop_ms) else { continue };
            writer.pipe.cmd("SET").arg(self.key(&format!("d:{id}"))).arg(*drop_ms).arg("PX").arg(ttl).ignore();
            writer.flush(CHUNK).await?;
        }
        for (at_ms, reservation) in &snapshot.open {
            self.reopen(reservation, *at_ms, now_ms).await?;
        }
        // After the open ones: their share of these windows is in the snapshot.
        for (meter, window_ms, buckets) in snapshot.windows.iter().filter(|(_, _, buckets)| !buckets.is_empty()) {
            let key = self.key(&format!("w:{meter}"));
            writer.pipe.del(&key).ignore().cmd("HSET").arg(&key);
            buckets.iter().for_each(|(bucket, amount)| {
                writer.pipe.arg(*bucket).arg(*amount);
            });
            writer.pipe.ignore().cmd("PEXPIRE").arg(&key).arg(3 * window_ms).ignore();
            writer.flush(CHUNK).await?;
        }
        for (partition, offset) in &snapshot.offsets {
            writer.pipe.cmd("HSET").arg(self.key("offsets")).arg(*partition).arg(*offset).ignore();
        }
        writer.flush(1).await
    }

    /// Ends a rebuild; `false` if the lease ran out and another replica has to.
    pub(crate) async fn caught_up(&self, now_ms: i64) -> Result<bool, Error> {
        let reply = self.run(&self.ready, now_ms, &[&self.replica]).await?;
        Ok(reply == [1])
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Sends commands a chunk at a time.
struct Writer<'a> {
    valkey: &'a Valkey,
    pipe: redis::Pipeline,
}

impl Writer<'_> {
    /// Sends what is there if it is at least so much.
    async fn flush(&mut self, min: usize) -> Result<(), Error> {
        if self.pipe.len() < min {
            return Ok(());
        }
        let pipe = std::mem::replace(&mut self.pipe, redis::pipe());
        let mut connection = self.valkey.connection.clone();
        pipe.exec_async(&mut connection).await.map_err(unreachable)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Answer)
}

/// The server's own words may quote what was sent, so only the kind is told.
fn unreachable(error: RedisError) -> Error {
    Error::Unreachable(match error.kind() {
        _ if error.is_timeout() => "time-out",
        _ if error.is_connection_refusal() => "connection refused",
        _ if error.is_connection_dropped() => "connection lost",
        ErrorKind::AuthenticationFailed => "authentication failed",
        ErrorKind::Io => "input or output",
        ErrorKind::Server(_) => "an error of the server",
        _ => "an error of the client",
    })
}

fn reading(reply: &[i64], reservation: &Reservation) -> Result<Reading, Error> {
    let (done, mut rest) = match reply.split_first() {
        Some((0, rest)) => (Done::Refused, rest.iter()),
        Some((1, rest)) => (Done::Taken, rest.iter()),
        Some((2, _)) => {
            return Ok(Reading { done: Done::Repeated, rates: Vec::new(), holds: Vec::new(), funds: Vec::new() });
        }
        Some((3, _)) => return Err(Error::Rebuilding),
        _ => return Err(Error::Answer),
    };
    let mut next = || rest.next().copied().ok_or(Error::Answer);
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut reading = Reading { done, rates: Vec::new(), holds: Vec::new(), funds: Vec::new() };
    for _ in &reservation.rates {
        let (used, wait, reset) = (next()?, next()?, next()?);
        let wait_ms = u64::try_from(wait).ok();
        reading.rates.push(RateReading { used: count(used), wait_ms, reset_ms: count(reset) });
    }
    for _ in &reservation.holds {
        reading.holds.push(count(next()?));
    }
    for _ in &reservation.funds {
        reading.funds.push((count(next()?), count(next()?)));
    }
    Ok(reading)
}

fn alert(settlement: &Settlement, told: &[i64]) -> Option<Alert> {
    let [number, spent] = told else { return None };
    let watch = settlement.watches.get(usize::try_from(*number).ok()?.checked_sub(1)?)?;
    let spent_usd = money::usd(u64::try_from(*spent).unwrap_or(0));
    watch.alert.clone().map(|alert| Alert { spent_usd, ..alert })
}
