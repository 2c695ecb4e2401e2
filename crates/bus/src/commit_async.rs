//! An asynchronous commit that is answered.
//!
//! rdkafka's own is not: it asks librdkafka for events, but `rd_kafka_commit` tells only a callback, which rdkafka does not
//! set. So refused commits go unseen. `rd_kafka_commit_queue` tells the consumer's queue, which [`BaseConsumer::poll`] reads;
//! the answer comes to `ConsumerContext::commit_callback`. Source: `rdkafka.h` of librdkafka 2.12.
#![allow(unsafe_code, reason = "the one call that the safe API lacks")]

use rdkafka::{
    TopicPartitionList, bindings as sys,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{IsError, KafkaError, KafkaResult},
};

/// Sends a commit. If that succeeds, a poll will call the context's `commit_callback`.
pub(crate) fn commit_async<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: `client` and `list` outlive the calls, which copy the list; the queue is a reference of our own, released once.
    let error = unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(KafkaError::ClientCreation("the consumer is closed".to_owned()));
        }
        let error = sys::rd_kafka_commit_queue(client, list.ptr(), queue, None, std::ptr::null_mut());
        sys::rd_kafka_queue_destroy(queue);
        error
    };
    if error.is_error() { Err(KafkaError::ConsumerCommit(error.into())) } else { Ok(()) }
}
