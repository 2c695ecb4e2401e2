//! What a policy asks of a store: a reservation before the work, a settlement after it. Plain values, the same for every store.
//!
//! A reservation names its meters, so that a settlement needs no policy to give back what was not used: the configuration may have
//! changed in between. A settlement names its counters, so that it counts without a reservation: that may have expired.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tollgate_runtime::config::{BudgetAction, Per};
use uuid::Uuid;

/// The most that one request takes of a meter of tokens.
pub const AMOUNT_MAX: u64 = 1_000_000_000;

/// Tokens as a usage row tells them; what nobody counted is none.
pub fn counted(tokens: Option<i64>) -> u64 {
    tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(0)
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests.
    Requests,
    /// Input and output tokens.
    Tokens,
    /// The same, without what the provider read from its cache.
    UncachedTokens,
}

/// Takes from one rate meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The meter's stable name; the limit's figure is not part of it.
    pub meter: String,
    /// What it counts.
    pub unit: Unit,
    /// Length of the window, milliseconds.
    pub window_ms: i64,
    /// The most in any window.
    pub limit: u64,
    /// How much is taken; at most [`AMOUNT_MAX`].
    pub amount: u64,
}

impl Take {
    /// The window's name.
    pub fn per(&self) -> &'static str {
        match self.window_ms {
            1_000 => "second",
            60_000 => "minute",
            3_600_000 => "hour",
            _ => "day",
        }
    }

    /// What the request turned out to use of it.
    pub(crate) fn actual(&self, settlement: &Settlement) -> u64 {
        match self.unit {
            Unit::Requests => self.amount,
            Unit::Tokens => settlement.tokens.min(AMOUNT_MAX),
            Unit::UncachedTokens => settlement.tokens.saturating_sub(settlement.cached_tokens).min(AMOUNT_MAX),
        }
    }
}

/// Holds one place of a bound on concurrent requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The meter's stable name.
    pub meter: String,
    /// The most at once.
    pub limit: u64,
}

/// Asks a blocking budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fund {
    /// Whose money: reservations are summed by it.
    pub dimension: String,
    /// Dimension and period: spend is summed by it.
    pub counter: String,
    /// The budget, nano-dollars.
    pub ceiling_nano: u64,
    /// Whether spent + reserved + estimate must stay within it; else spent + reserved must be below it.
    pub strict: bool,
    /// For people. Not kept by stores.
    #[serde(skip)]
    pub budget: Option<Arc<BudgetText>>,
    /// When its period ends, milliseconds since the Unix epoch. Not kept by stores.
    #[serde(skip)]
    pub end_ms: Option<i64>,
}

/// A budget, as refusals and alerts name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetText {
    /// Its name, or where it stands: `teams/search/each_user/month`.
    pub name: String,
    /// Its period.
    pub per: Per,
    /// The budget.
    pub usd: Decimal,
    /// What it does.
    pub action: BudgetAction,
    /// Whom to tell.
    pub webhook: Option<String>,
}

/// All that a request takes. Either all of it is taken or nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// Idempotent by it: the request's id, or an attempt's for the meters of a destination.
    pub id: Uuid,
    /// When its places and its money are free again if nobody settles it: the deadline and a grace.
    pub expires_ms: i64,
    /// Rate meters.
    pub rates: Vec<Take>,
    /// Bounds on concurrency.
    pub holds: Vec<Hold>,
    /// Budgets to ask.
    pub funds: Vec<Fund>,
    /// Dimensions in which [`Self::nano`] is reserved.
    pub dimensions: Vec<String>,
    /// What the request costs at most, nano-dollars.
    pub nano: u64,
}

impl Reservation {
    /// Whether it takes nothing: there is no need to ask the store.
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.holds.is_empty() && self.funds.is_empty()
    }
}

/// Where a usage row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Partition of `usage`.
    pub partition: i32,
    /// The last offset its reader handed in before this one; −1 or the snapshot's at first. A store that is not as far says so
    /// ([`crate::Error::Gap`]) instead of skipping what is between.
    pub after: i64,
    /// The row's own.
    pub offset: i64,
}

/// Adds to a counter of spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// Dimension and period.
    pub counter: String,
    /// When the counter may be forgotten.
    pub drop_ms: i64,
}

/// Tells somebody once, if a counter has reached a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Which.
    pub counter: String,
    /// The threshold, nano-dollars.
    pub at_nano: u64,
    /// Remembers that it was told.
    pub mark: String,
    /// When the mark may be forgotten.
    pub drop_ms: i64,
    /// What to tell. Not kept by stores.
    #[serde(skip)]
    pub alert: Option<Alert>,
}

/// A budget's threshold has been crossed. Comes once per budget, subject, period and threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Which budget.
    pub budget: Arc<BudgetText>,
    /// Whose spend: `team:search`, `key:ID`, `team:search/user:ann`, …
    pub subject: String,
    /// Which period: `month/2026-11`.
    pub period: String,
    /// The part of the budget that was reached.
    pub threshold: f64,
    /// Spend in the period so far.
    pub spent_usd: Decimal,
}

/// What a request used in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The reservation's id. Counts once.
    pub id: Uuid,
    /// When the request was accepted, milliseconds since the Unix epoch: where its windows are if they are rebuilt.
    pub accepted_ms: i64,
    /// Where the row was read.
    pub source: Option<Source>,
    /// Input and output tokens.
    pub tokens: u64,
    /// Input tokens that the provider read from its cache.
    pub cached_tokens: u64,
    /// Cost, nano-dollars.
    pub nano: u64,
    /// Counters it belongs to.
    pub adds: Vec<Add>,
    /// Thresholds to look at.
    pub watches: Vec<Watch>,
    /// What it took of rate meters: for a store that is being rebuilt and has no reservation of it.
    pub rates: Vec<Take>,
}

impl Settlement {
    /// The end of a provider call, for a reservation that holds meters of a destination only.
    pub fn of_attempt(id: Uuid, tokens: u64, cached_tokens: u64) -> Self {
        Self {
            id,
            accepted_ms: 0,
            source: None,
            tokens,
            cached_tokens,
            nano: 0,
            adds: Vec::new(),
            watches: Vec::new(),
            rates: Vec::new(),
        }
    }
}
