//! The stream of a GenerateContent call: each event is a response with the next parts.
//!
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>. Events have no name and there is no
//! end mark. The official SDK for Python takes every line that is neither empty nor data for a document (`_iter_response_stream` in
//! `google/genai/_api_client.py` of googleapis/python-genai), so no comment may fill a silence: an empty line does, which means nothing
//! to any reader of server-sent events.

use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// What is sent in silence.
pub(super) const KEEP_ALIVE: &[u8] = b"\n";

/// The whole response `body` as the only event of a stream.
pub(super) fn events(body: &Value) -> Vec<StreamEvent> {
    vec![StreamEvent { event: None, data: body.to_string() }]
}

/// The event that ends it as a content filter does.
pub(super) fn filtered() -> Vec<StreamEvent> {
    let content = json!({ "role": "model", "parts": [] });
    let document = json!({ "candidates": [{ "index": 0, "content": content, "finishReason": "SAFETY" }] });
    vec![StreamEvent { event: None, data: document.to_string() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_response_is_one_event() {
        let body = json!({ "candidates": [{ "content": { "parts": [{ "text": "a\nb" }] }, "finishReason": "STOP" }] });
        let events = events(&body);
        assert_eq!((events.len(), events[0].event.as_deref()), (1, None));
        assert!(!events[0].data.contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&events[0].data).expect("JSON"), body);
    }
}
