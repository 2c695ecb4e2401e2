//! Asynchronous commits that are answered, one at a time.
//!
//! rdkafka's own is not: it asks librdkafka for events, but `rd_kafka_commit` tells only a callback, which rdkafka does not
//! set. So refused commits go unseen. `rd_kafka_commit_queue` tells the consumer's queue, which [`BaseConsumer::poll`] reads;
//! the answer comes to `ConsumerContext::commit_callback`. Source: `rdkafka.h` of librdkafka 2.12.
#![allow(unsafe_code, reason = "the one call that the safe API lacks")]

use crate::groups::{Members, Refused};
use rdkafka::{
    TopicPartitionList, bindings as sys,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{IsError, KafkaError, KafkaResult},
};
use std::time::{Duration, Instant};

/// Before a commit that was not taken is sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When an answer is no longer waited for. librdkafka always gives one; this is for its defects.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// When the next commit may be sent. Commits overtake each other when they are sent again, and a committed offset must not go back; so it
/// is sent when the last is answered.
pub(crate) struct Turn {
    next: Instant,
    /// When the commit was sent that has not been answered.
    unanswered: Option<Instant>,
}

impl Turn {
    /// The first comes then.
    pub(crate) fn new(next: Instant) -> Self {
        Self { next, unanswered: None }
    }

    /// What was refused of the last commit, once it is answered.
    pub(crate) fn answer(&mut self, members: &Members) -> Option<Refused> {
        let late = self.unanswered.is_some_and(|sent| sent.elapsed() >= ANSWER_TIMEOUT);
        let refused = members.take_commit().or(late.then(Refused::all))?;
        self.unanswered = None;
        if !refused.is_none() {
            self.next = Instant::now() + RETRY_AFTER;
        }
        Some(refused)
    }

    /// When the next may be sent; `None`: not before the last is answered.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.unanswered.is_none().then_some(self.next)
    }

    /// Whether it may be sent now.
    pub(crate) fn has_come(&self) -> bool {
        self.due().is_some_and(|due| Instant::now() >= due)
    }

    /// The next is not sent before.
    pub(crate) fn wait_until(&mut self, next: Instant) {
        self.next = next;
    }

    /// Sends the commit whose turn it is.
    pub(crate) fn send<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        list: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let sent = commit_async(consumer, list);
        match sent {
            Ok(()) => self.unanswered = Some(Instant::now()),
            Err(_) => self.next = Instant::now() + RETRY_AFTER,
        }
        sent
    }
}

/// Sends a commit. If that succeeds, a poll will call the context's `commit_callback`.
fn commit_async<C: ConsumerContext>(consumer: &BaseConsumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
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
