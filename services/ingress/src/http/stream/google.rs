//! The stream of a GenerateContent call: each event is a response with the next parts.
//!
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>. Events have no name and there is no
//! end mark. The official SDK for Python takes every line that is neither empty nor data for a document (`_iter_response_stream` in
//! `google/genai/_api_client.py` of googleapis/python-genai), so no comment may fill a silence: an empty line does, which means nothing
//! to any reader of server-sent events.

use serde_json::Value;
use tollgate_schemas::StreamEvent;

/// What is sent in silence.
pub(super) const KEEP_ALIVE: &[u8] = b"\n";

/// What a caller has been sent.
#[derive(Default)]
pub(super) struct Sent {
    any: bool,
}

impl Sent {
    pub(super) fn note(&mut self) {
        self.any = true;
    }

    /// The whole response `body` as the only event of a stream, or why not: how far parts were sent is not counted, so a beginning
    /// is not continued.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        if self.any {
            return Err("a part of it was lost on its way");
        }
        Ok(vec![StreamEvent { event: None, data: body.to_string() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_response_is_one_event_and_a_beginning_is_not_continued() {
        let body = json!({ "candidates": [{ "content": { "parts": [{ "text": "a\nb" }] }, "finishReason": "STOP" }] });
        let mut sent = Sent::default();
        let events = sent.rest(&body).expect("whole");
        assert_eq!((events.len(), events[0].event.as_deref()), (1, None));
        assert!(!events[0].data.contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&events[0].data).expect("JSON"), body);
        sent.note();
        assert!(sent.rest(&body).is_err());
    }
}
