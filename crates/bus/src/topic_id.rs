//! The id of a topic (`DescribeTopics`), which tells a re-created topic from the one it replaced.
//!
//! rdkafka's safe API does not have the call, so this file uses rdkafka-sys.
//! Source: `rdkafka.h` of librdkafka 2.12, "DescribeTopics".
#![allow(unsafe_code, reason = "the one call that the safe API lacks")]

use crate::{Bus, Error, broadcast::patiently, client::Asker};
use rdkafka::bindings as sys;
use std::{
    ffi::{CStr, CString, c_char},
    time::Duration,
};

impl Bus {
    /// The topic's id as the broker writes it, 22 characters of base64. Blocks up to `timeout`, and asks again until then: a
    /// broker that starts, or a leader that moves, answers with errors for a moment.
    pub fn topic_id(&self, topic: &str, timeout: Duration) -> Result<String, Error> {
        let asker = self.asker()?;
        patiently(timeout, || ask(&asker, topic, timeout.min(ANSWER_TIMEOUT)))
    }
}

/// How long one question may take: its answer can be lost with its connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

fn ask(asker: &Asker, topic: &str, timeout: Duration) -> Result<String, Error> {
    let fail =
        |reason: &str| Error::Topic { topic: topic.to_owned(), reason: format!("its id cannot be read: {reason}") };
    let client = asker.client().native_ptr();
    let name = CString::new(topic).map_err(|_| fail("the name holds a zero byte"))?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client`, `name` and `names` outlive the calls; each object made here is destroyed below exactly once;
    // pointers read from the event are used before the event is destroyed.
    unsafe {
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let queue = sys::rd_kafka_queue_new(client);
        sys::rd_kafka_DescribeTopics(client, collection, std::ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
        let id = if event.is_null() { Err(asker.unreachable()) } else { read_id(event).map_err(|e| fail(&e)) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_TopicCollection_destroy(collection);
        id
    }
}

/// Reads the first topic's id.
///
/// # Safety
/// `event` must be a live DescribeTopics event.
unsafe fn read_id(event: *mut sys::rd_kafka_event_t) -> Result<String, String> {
    // SAFETY: the caller's promise; every pointer is checked before it is followed.
    unsafe {
        let text = |p: *const c_char| {
            if p.is_null() { "unknown".to_owned() } else { CStr::from_ptr(p).to_string_lossy().into_owned() }
        };
        if sys::rd_kafka_event_error(event) as i32 != 0 {
            return Err(text(sys::rd_kafka_event_error_string(event)));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = if result.is_null() {
            std::ptr::null_mut()
        } else {
            sys::rd_kafka_DescribeTopics_result_topics(result, &mut count)
        };
        if topics.is_null() || count == 0 {
            return Err("the broker's answer names no topic".to_owned());
        }
        let error = sys::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() && sys::rd_kafka_error_code(error) as i32 != 0 {
            return Err(text(sys::rd_kafka_error_string(error)));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null() {
            return Err("the broker has no topic ids".to_owned());
        }
        Ok(text(sys::rd_kafka_Uuid_base64str(id)))
    }
}
