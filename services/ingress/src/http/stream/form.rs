//! How the events of a stream are written: as server-sent events, or as one JSON array that grows, which is the other form of
//! Google's streams (`streamGenerateContent` without `alt=sse`).

use tollgate_schemas::StreamEvent;

/// The form, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Form {
    /// Server-sent events.
    Events,
    /// A JSON array; whether it has begun.
    Array { begun: bool },
}

impl Form {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Form::Events => "text/event-stream; charset=utf-8",
            Form::Array { .. } => "application/json; charset=utf-8",
        }
    }

    /// The next events.
    pub(super) fn write(&mut self, events: &[StreamEvent]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(events.iter().map(|e| e.data.len() + 16).sum());
        for event in events {
            match self {
                Form::Events => {
                    if let Some(name) = &event.event {
                        bytes.extend_from_slice(format!("event: {name}\n").as_bytes());
                    }
                    bytes.extend_from_slice(b"data: ");
                    bytes.extend_from_slice(event.data.as_bytes());
                    bytes.extend_from_slice(b"\n\n");
                }
                Form::Array { begun } => {
                    bytes.extend_from_slice(if *begun { b",\r\n" } else { b"[" });
                    bytes.extend_from_slice(event.data.as_bytes());
                    *begun = true;
                }
            }
        }
        bytes
    }

    /// What stands behind the last one.
    pub(super) fn close(self) -> &'static [u8] {
        match self {
            Form::Events => b"",
            Form::Array { begun: true } => b"]",
            Form::Array { begun: false } => b"[]",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_array_is_a_document_once_it_is_closed() {
        let event = |n: u32| StreamEvent { event: None, data: json!({ "n": n }).to_string() };
        for count in 0..4 {
            let mut form = Form::Array { begun: false };
            let mut bytes: Vec<u8> = (0..count).flat_map(|n| form.write(&[event(n)])).collect();
            bytes.extend_from_slice(form.close());
            let whole: Vec<Value> = serde_json::from_slice(&bytes).expect("a document");
            assert_eq!(whole, (0..count).map(|n| json!({ "n": n })).collect::<Vec<_>>());
        }
    }
}
