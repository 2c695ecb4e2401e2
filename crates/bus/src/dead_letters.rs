//! Reading `dead-letters` back, for the people who look after a gateway: what is there, and how it goes to where it came from.
//!
//! Deliberately absent: a group and commits. A dead letter that was redriven stays where it is until its retention ends, so
//! nothing here changes what another reader sees.

use crate::{
    Bus, Error, Headers, Incoming, Outgoing, TopicName,
    broadcast::Start,
    dead_letter::{CONNECT, OMITTED, SPRING},
};
use std::{fmt, ops::ControlFlow, str::FromStr};
use tollgate_schemas::{headers, topic};

/// Where a dead letter stands in `dead-letters`, written `partition/offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a place; write PARTITION/OFFSET as `list` shows it, such as 2/41");
        let (partition, offset) = text.split_once('/').ok_or_else(bad)?;
        let place =
            Self { partition: partition.parse().map_err(|_| bad())?, offset: offset.parse().map_err(|_| bad())? };
        if place.partition < 0 || place.offset < 0 { Err(bad()) } else { Ok(place) }
    }
}

/// Where a dead letter came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if its headers say it.
    pub timestamp_ms: Option<i64>,
}

/// A record of `dead-letters`.
#[derive(Debug, Clone)]
pub struct Dead(Incoming<Vec<u8>>);

impl Dead {
    #[cfg(test)]
    pub(crate) fn from_record(record: Incoming<Vec<u8>>) -> Self {
        Self(record)
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { partition: self.0.partition, offset: self.0.offset }
    }

    /// When it was put there, milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> i64 {
        self.0.timestamp_ms
    }

    /// The original's key.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// All headers: the original's, then why it is dead.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The original's bytes; empty of a tombstone or a stub.
    pub fn value(&self) -> &[u8] {
        &self.0.value
    }

    /// Whether it has no value at all.
    pub fn is_tombstone(&self) -> bool {
        self.0.is_tombstone
    }

    /// How many bytes of the original were too many to be copied, if it is only a stub: the original stands at its origin for as
    /// long as that topic keeps it.
    pub fn omitted_bytes(&self) -> Option<u64> {
        self.connect(OMITTED)?.parse().ok().filter(|omitted| *omitted > 0)
    }

    /// Where it came from, by Connect's headers or else by Spring's; `None` if neither says so.
    pub fn origin(&self) -> Option<Origin> {
        let timestamp_ms = self.spring("original-timestamp").and_then(|v| v.try_into().ok()).map(i64::from_be_bytes);
        let connect = || {
            Some(Origin {
                topic: self.connect("topic")?.to_owned(),
                partition: self.connect("partition")?.parse().ok()?,
                offset: self.connect("offset")?.parse().ok()?,
                timestamp_ms,
            })
        };
        let spring = || {
            Some(Origin {
                topic: String::from_utf8(self.spring("original-topic")?.to_vec()).ok()?,
                partition: i32::from_be_bytes(self.spring("original-partition")?.try_into().ok()?),
                offset: i64::from_be_bytes(self.spring("original-offset")?.try_into().ok()?),
                timestamp_ms,
            })
        };
        connect().or_else(spring)
    }

    /// The step that failed.
    pub fn stage(&self) -> Option<&str> {
        self.connect("stage").or_else(|| self.0.headers.get(&format!("{SPRING}exception-fqcn")))
    }

    /// Why, for people.
    pub fn reason(&self) -> Option<&str> {
        self.connect("exception.message").or_else(|| self.0.headers.get(&format!("{SPRING}exception-message")))
    }

    /// How often it has been redriven before it came here.
    pub fn redrives(&self) -> u32 {
        self.0.headers.get(headers::REDRIVES).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// The original for where it came from: its bytes, its key, and its headers, with one that counts redrives. `None` if it
    /// does not say where that is, or is a stub.
    pub fn redriven(&self) -> Option<Outgoing> {
        if self.omitted_bytes().is_some() {
            return None;
        }
        let ours = |name: &str| name.starts_with(CONNECT) || name.starts_with(SPRING) || name == headers::REDRIVES;
        let kept = self.0.headers.iter().filter(|(name, _)| !ours(name));
        let mut out = Outgoing {
            topic: TopicName::Full(self.origin()?.topic),
            partition: None,
            key: self.0.key.clone(),
            headers: kept.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
            payload: self.0.value.clone(),
            is_tombstone: self.0.is_tombstone,
            relaxed: true,
        };
        out.header(headers::REDRIVES, (self.redrives().saturating_add(1)).to_string());
        Some(out)
    }

    fn connect(&self, name: &str) -> Option<&str> {
        self.0.headers.get(&format!("{CONNECT}{name}"))
    }

    /// The last of that name: what the original carried may stand before it.
    fn spring(&self, name: &str) -> Option<&[u8]> {
        let name = format!("{SPRING}{name}");
        self.0.headers.iter().filter(|(n, _)| *n == name).filter_map(|(_, value)| value).last()
    }
}

impl Bus {
    /// Gives `each` every dead letter from `start` to the present end, each partition in its order, until it says to break.
    /// Blocks: run it off the async threads.
    pub fn dead_letters(&self, start: Start, mut each: impl FnMut(Dead) -> ControlFlow<()>) -> Result<(), Error> {
        self.retained(&self.full_name(topic::DEAD_LETTERS.name), &start)?.read(|record| each(Dead(record)))
    }

    /// The dead letter at this place; `None` if there is none, or none any more. Blocks.
    pub fn dead_letter_at(&self, place: Place) -> Result<Option<Dead>, Error> {
        let Some(one) = self.retained_at(&self.full_name(topic::DEAD_LETTERS.name), place)? else { return Ok(None) };
        let mut found = None;
        one.read(|record| {
            found = Some(Dead(record)).filter(|dead| dead.place() == place);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DeadLetter,
        dead_letter::Hop,
        record::{RECORD_MAX_BYTES, VALUE_MAX_BYTES},
    };
    use proptest::prelude::*;
    use tollgate_schemas::TraceContext;

    fn original(
        key: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
        value: Option<Vec<u8>>,
    ) -> Incoming<Vec<u8>> {
        Incoming {
            topic: "p.in.search".into(),
            partition: 3,
            offset: 1 << 40,
            timestamp_ms: 1_700_000_000_123,
            key,
            headers: Headers::from_iter(headers),
            trace: TraceContext::new(),
            is_tombstone: value.is_none(),
            value: value.unwrap_or_default(),
        }
    }

    /// What comes out of `dead-letters`.
    fn dead(original: &Incoming<Vec<u8>>) -> Dead {
        let hop = Hop { reader: "p.ingress", trace: &original.trace };
        read_back(original, DeadLetter::new("parse", "not a valid record").record(original, hop))
    }

    fn read_back(original: &Incoming<Vec<u8>>, out: Outgoing) -> Dead {
        assert_eq!(out.over_bound(), None, "the producer would refuse it");
        Dead(Incoming {
            topic: "p.dead-letters".into(),
            partition: 2,
            offset: 41,
            is_tombstone: out.value().is_none(),
            value: out.value().unwrap_or_default().to_vec(),
            key: out.key,
            headers: out.headers,
            ..original.clone()
        })
    }

    #[test]
    fn both_families_say_the_same() {
        let all = dead(&original(None, Vec::new(), Some(b"x".to_vec())));
        let origin = Origin {
            topic: "p.in.search".into(),
            partition: 3,
            offset: 1 << 40,
            timestamp_ms: Some(1_700_000_000_123),
        };
        for family in [CONNECT, SPRING] {
            let mut one = all.clone();
            one.0.headers = Headers::from_iter(
                all.headers()
                    .iter()
                    .filter(|(name, _)| name.starts_with(family))
                    .map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))),
            );
            let expected = Origin { timestamp_ms: origin.timestamp_ms.filter(|_| family == SPRING), ..origin.clone() };
            assert_eq!(one.origin(), Some(expected), "{family}");
            assert_eq!((one.stage(), one.reason()), (Some("parse"), Some("not a valid record")), "{family}");
        }
        assert_eq!(all.headers().get("__connect.errors.connector.name"), Some("p.ingress"));
        assert_eq!(all.headers().get("kafka_dlt-original-consumer-group"), Some("p.ingress"));
    }

    #[test]
    fn what_names_no_origin_cannot_be_redriven() {
        let mut lost = dead(&original(None, Vec::new(), None));
        lost.0.headers = Headers::default();
        assert!(lost.redriven().is_none() && lost.stage().is_none());
    }

    #[test]
    fn what_is_too_large_leaves_a_stub_that_says_where_it_is() {
        let header = |name: &str, bytes: usize| (name.to_owned(), Some(vec![b'h'; bytes]));
        let text = |name: &str| (name.to_owned(), Some(b"t".to_vec()));
        let null = ("null".to_owned(), None);
        let cases = [
            original(Some(b"k".to_vec()), vec![text("a"), null.clone()], Some(vec![b'x'; VALUE_MAX_BYTES + 1])),
            original(Some(b"k".to_vec()), vec![text("a"), header("b", RECORD_MAX_BYTES - 100), null.clone()], None),
            original(Some(vec![b'k'; RECORD_MAX_BYTES]), vec![text("a"), null.clone()], Some(Vec::new())),
        ];
        for case in cases {
            let dead = dead(&case);
            let had = case.bytes();
            let omitted = usize::try_from(dead.omitted_bytes().expect("a stub")).expect("a size");
            assert!(dead.is_tombstone() && dead.value().is_empty() && dead.redriven().is_none());
            let kept: Vec<_> = dead.headers().iter().filter(|(n, _)| ["a", "b", "null"].contains(n)).collect();
            assert_eq!(kept, [("a", Some(b"t".as_slice())), ("null", None)]);
            assert!(omitted > VALUE_MAX_BYTES && omitted <= had);
            assert_eq!(dead.key(), Some(b"k".as_slice()).filter(|_| case.key.as_ref().is_some_and(|k| k.len() == 1)));
            let origin = dead.origin().expect("an origin");
            assert_eq!((origin.topic.as_str(), origin.partition, origin.offset), ("p.in.search", 3, 1 << 40));
            let reason = dead.reason().expect("a reason");
            assert!(
                reason.starts_with("it is too large to be copied and stands at p.in.search 3/1099511627776"),
                "{reason}"
            );
            assert!(reason.ends_with("; not a valid record") && dead.stage() == Some("parse"), "{reason}");
        }
    }

    #[test]
    fn the_largest_record_that_fits_is_copied_whole() {
        let whole = dead(&original(Some(b"k".to_vec()), Vec::new(), Some(vec![b'x'; VALUE_MAX_BYTES])));
        assert_eq!((whole.value().len(), whole.omitted_bytes()), (VALUE_MAX_BYTES, None));
    }

    #[test]
    fn an_original_that_pretends_to_be_a_stub_is_redriven() {
        let name = format!("{CONNECT}{OMITTED}");
        let dead = dead(&original(None, vec![(name, Some(b"7".to_vec()))], Some(b"x".to_vec())));
        assert_eq!(dead.redriven().map(|out| out.payload), Some(b"x".to_vec()));
    }

    #[test]
    fn places() {
        assert_eq!("2/41".parse(), Ok(Place { partition: 2, offset: 41 }));
        assert_eq!(Place { partition: 2, offset: 41 }.to_string(), "2/41");
        for bad in ["", "2", "2/", "/41", "-1/2", "2/-1", "2/41/3", "a/b"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_redrive_is_the_original_again(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            names in proptest::collection::vec(("[a-z_-]{1,12}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))), 0..6),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            times in 1..4u32,
        ) {
            let first = original(key, names, value.clone());
            let mut record = first.clone();
            for time in 1..=times {
                let out = dead(&record).redriven().expect("an origin");
                prop_assert_eq!(&out.topic, &TopicName::Full(first.topic.clone()));
                prop_assert_eq!((&out.key, out.value()), (&first.key, value.as_deref()));
                // The trace goes on, and redrives are counted; nothing else is added or lost.
                let added = |name: &str| [headers::TRACEPARENT, headers::REDRIVES].contains(&name);
                let kept: Vec<_> = out.headers.iter().filter(|(name, _)| !added(name)).collect();
                let had: Vec<_> = first.headers.iter().collect();
                prop_assert_eq!(kept, had);
                record.headers = out.headers;
                prop_assert_eq!(record.headers.get(headers::REDRIVES).map(str::to_owned), Some(time.to_string()));
            }
        }
    }
}
