//! Reads topics out of a consumer's metadata. Only the part that all versions of the consumer protocol begin with
//! (version, topics; Apache Kafka's `ConsumerProtocolSubscription`); owned partitions and the rest are between clients.

use std::collections::BTreeSet;

/// The protocol type of consumers; only their metadata can be read here.
pub(super) const CONSUMER: &str = "consumer";

/// The topics subscribed to; `None` if this is no consumer's metadata.
pub(super) fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let (version, rest) = metadata.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (len, after) = rest.split_first_chunk()?;
        let (topic, after) = after.split_at_checked(usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
        topics.insert(std::str::from_utf8(topic).ok()?.to_owned());
        rest = after;
    }
    Some(topics)
}
