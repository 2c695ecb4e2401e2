//! How far a group is: whether it has committed all that stood on a topic at some moment.

use crate::{Bus, Error};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::time::Duration;

const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for one group and topic. Has a client of its own, so it is for seldom use.
pub struct Progress {
    consumer: BaseConsumer,
    topic: String,
    /// Where the partitions that hold records ended when this was made.
    ends: Vec<(i32, i64)>,
}

impl Bus {
    /// Notes where a topic ends now. Names without the prefix. Blocks; an error means that the broker does not answer.
    pub fn progress(&self, group: &str, topic: &str) -> Result<Progress, Error> {
        let consumer: BaseConsumer = self.consumer_config(&[("group.id", &self.full_name(group))]).create()?;
        let topic = self.full_name(topic);
        let metadata = consumer.fetch_metadata(Some(&topic), QUERY_TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let mut ends = Vec::new();
        for partition in partitions {
            let (low, end) = consumer.fetch_watermarks(&topic, partition, QUERY_TIMEOUT)?;
            if end > low {
                ends.push((partition, end));
            }
        }
        Ok(Progress { consumer, topic, ends })
    }
}

impl Progress {
    /// Whether the group has committed everything up to there. Blocks.
    pub fn is_done(&self) -> Result<bool, Error> {
        let mut list = TopicPartitionList::new();
        for (partition, _) in &self.ends {
            list.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(list, QUERY_TIMEOUT)?;
        Ok(self.ends.iter().all(|(partition, end)| {
            let found = committed.find_partition(&self.topic, *partition).map(|element| element.offset());
            matches!(found, Some(Offset::Offset(offset)) if offset >= *end)
        }))
    }
}
