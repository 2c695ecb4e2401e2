//! Records as the services see them: typed values in, raw bytes with CloudEvents headers out.

use crate::Error;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use serde::Serialize;
use tollgate_schemas::{RequestId, Topic, TraceContext, headers};

/// The largest record that is produced; internal topics are created to take it.
pub(crate) const RECORD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The largest value: less, so that key and headers have room beside it, also in a dead letter.
pub(crate) const VALUE_MAX_BYTES: usize = RECORD_MAX_BYTES - 64 * 1024;

/// What a record batch adds to a lone record, with room to spare.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = 1024;

/// The largest record that a team's topics take, in bytes: less, so that it fits into a dead letter with its headers.
pub const TEAM_RECORD_MAX_BYTES: usize = 3 * 1024 * 1024;

/// What a header costs beside its bytes in the widest encoding: two lengths of up to five bytes each.
const HEADER_OVERHEAD_BYTES: usize = 10;

/// The bytes that headers take in a record, at most.
pub(crate) fn header_bytes<'a>(all: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> usize {
    all.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD_BYTES).sum()
}

/// A record's headers, copied: names are case-sensitive, values are any bytes or null, which is not the same as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Option<Vec<u8>>)>);

impl FromIterator<(String, Vec<u8>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(all: I) -> Self {
        all.into_iter().map(|(name, value)| (name, Some(value))).collect()
    }
}

impl FromIterator<(String, Option<Vec<u8>>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, Option<Vec<u8>>)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Headers {
    pub(crate) fn with_capacity(headers: usize) -> Self {
        Self(Vec::with_capacity(headers))
    }

    pub(crate) fn push(&mut self, name: String, value: Option<Vec<u8>>) {
        self.0.push((name, value));
    }

    /// The last header of that name that is not null, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.0.iter().rev().filter_map(|(n, v)| Some((n, v.as_deref()?)));
        all.filter(|(n, _)| *n == name).map(|(_, v)| std::str::from_utf8(v).ok()).next().flatten()
    }

    /// All headers with their raw values; `None` is null.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_deref()))
    }

    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let copy = |h: rdkafka::message::Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
        Self(message.headers().map(|all| all.iter().map(copy).collect()).unwrap_or_default())
    }
}

/// A consumed record. `T` is its parsed value, or `Vec<u8>` where the reader wants the bytes.
#[derive(Debug, Clone)]
pub struct Incoming<T> {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch: append or create time, as the topic is configured.
    pub timestamp_ms: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
    /// This hop's trace context: the producer's trace, this consumer's span.
    pub trace: TraceContext,
    /// It has no value at all, which is not the same as an empty one: `value` was made of no bytes.
    pub is_tombstone: bool,
    /// The value.
    pub value: T,
}

impl Incoming<Vec<u8>> {
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = Headers::of(message);
        let trace = headers
            .get(headers::TRACEPARENT)
            .and_then(|parent| TraceContext::parse(parent, headers.get(headers::TRACESTATE)))
            .unwrap_or_default();
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            headers,
            trace,
            is_tombstone: message.payload().is_none(),
            value: message.payload().unwrap_or_default().to_vec(),
        }
    }

    /// The memory that it takes while it is in flight: value, key and headers.
    pub(crate) fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len) + header_bytes(self.headers.iter())
    }
}

impl<T> Incoming<T> {
    /// Everything but the value.
    pub(crate) fn clone_without_value(&self) -> Incoming<()> {
        Incoming {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.clone(),
            headers: self.headers.clone(),
            trace: self.trace.clone(),
            is_tombstone: self.is_tombstone,
            value: (),
        }
    }

    /// The same record with another value.
    pub fn with<U>(self, value: U) -> Incoming<U> {
        let Self { topic, partition, offset, timestamp_ms, key, headers, trace, is_tombstone, value: _ } = self;
        Incoming { topic, partition, offset, timestamp_ms, key, headers, trace, is_tombstone, value }
    }
}

/// How a record's value becomes what a handler takes.
pub trait FromRecord: Sized + Send + 'static {
    /// Parses it; the error is for people and must not quote the value.
    fn from_record(value: &[u8]) -> Result<Self, String>;
}

impl<T: serde::de::DeserializeOwned + Send + 'static> FromRecord for T {
    fn from_record(value: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(value).map_err(|error| {
            format!(
                "not a valid record: {:?} error at line {}, column {}",
                error.classify(),
                error.line(),
                error.column()
            )
        })
    }
}

/// A value as it came, for handlers that parse it themselves.
#[derive(Debug, Clone)]
pub struct RawValueBytes(pub Vec<u8>);

impl FromRecord for RawValueBytes {
    fn from_record(value: &[u8]) -> Result<Self, String> {
        Ok(Self(value.to_vec()))
    }
}

/// Where a record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicName {
    /// An internal topic, without the prefix.
    Internal(&'static str),
    /// A full name, e.g. a team's `out.` topic.
    Full(String),
}

/// A record to produce.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Topic.
    pub topic: TopicName,
    /// Explicit partition; `None`: by key.
    pub partition: Option<i32>,
    /// Key; `None`: any partition.
    pub key: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Headers,
    /// Value.
    pub payload: Vec<u8>,
    /// It has no value at all, which is not the same as an empty one: `payload` is not sent.
    pub is_tombstone: bool,
    /// Nobody waits for it: it may linger for company.
    pub relaxed: bool,
}

impl Outgoing {
    /// A record of an internal topic, keyed by request id, with CloudEvents headers and the hop's trace context.
    pub fn of<T: Serialize>(topic: &Topic<T>, id: RequestId, value: &T, trace: &TraceContext) -> Result<Self, Error> {
        let id = id.to_string();
        Self::keyed(topic, (&id, &id), value, trace)
    }

    /// The same with a key and an event id (`ce_id`) of its own.
    pub fn keyed<T: Serialize>(
        topic: &Topic<T>,
        (key, id): (&str, &str),
        value: &T,
        trace: &TraceContext,
    ) -> Result<Self, Error> {
        let mut record = Self {
            topic: TopicName::Internal(topic.spec.name),
            partition: None,
            key: Some(key.as_bytes().to_vec()),
            headers: Headers::with_capacity(8),
            payload: serde_json::to_vec(value)?,
            is_tombstone: false,
            relaxed: false,
        };
        record.cloud_event(id, topic.event_type, trace);
        Ok(record)
    }

    /// Adds the CloudEvents and trace headers.
    pub fn cloud_event(&mut self, id: &str, event_type: &str, trace: &TraceContext) {
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        self.header(headers::SPEC_VERSION, "1.0");
        self.header(headers::ID, id);
        self.header(headers::SOURCE, "tollgate");
        self.header(headers::TYPE, event_type);
        self.header(headers::TIME, now);
        self.header(headers::CONTENT_TYPE, "application/json");
        self.header(headers::TRACEPARENT, trace.to_string());
        if let Some(state) = &trace.state {
            self.header(headers::TRACESTATE, state.as_str());
        }
    }

    /// Adds a header.
    pub fn header(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.push(name.to_owned(), Some(value.into()));
    }

    /// Sends it to this partition rather than the key's.
    #[must_use]
    pub fn to_partition(mut self, partition: Option<i32>) -> Self {
        self.partition = partition;
        self
    }

    /// What the broker gets to store as the value.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        (!self.is_tombstone).then_some(&self.payload)
    }

    /// The size of the record: value, key and headers.
    pub(crate) fn bytes(&self) -> usize {
        let key = self.key.as_ref().map_or(0, Vec::len);
        self.value().map_or(0, <[u8]>::len) + key + header_bytes(self.headers.iter())
    }

    /// If it can never be sent: its size and the bound that it is over.
    pub(crate) fn over_bound(&self) -> Option<(usize, usize)> {
        let sizes = [
            (self.value().map_or(0, <[u8]>::len), VALUE_MAX_BYTES),
            (self.bytes(), RECORD_MAX_BYTES - BATCH_OVERHEAD_BYTES),
        ];
        sizes.into_iter().find(|(bytes, max)| bytes > max)
    }

    pub(crate) fn native_headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.0.len());
        self.headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value }))
    }
}
