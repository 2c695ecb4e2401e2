//! A response's stream.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use super::Beginning;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::StreamEvent;

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
pub(super) struct Sent {
    /// How many events.
    events: u64,
    /// The response as it was told when it began.
    begun: Value,
    /// By their place in the output.
    items: BTreeMap<u64, Item>,
}

#[derive(Default, Clone)]
struct Item {
    is_done: bool,
    /// Of a message its parts; of a call the one text that its arguments are.
    texts: Vec<Text>,
}

#[derive(Default, Clone)]
struct Text {
    beginning: Beginning,
    is_done: bool,
}

/// How the texts of a kind are sent.
struct Way {
    /// What an item's list of parts is called; `None`: the item has one text of its own.
    list: Option<&'static str>,
    /// What a part's place is called.
    place: &'static str,
    /// What the text is called.
    field: &'static str,
    /// Names of events, behind `response.`, and in front of `.added` and `.done`, and `.delta` and `.done`.
    part: &'static str,
    text: &'static str,
}

const ARGUMENTS: Way = Way { list: None, place: "", field: "arguments", part: "", text: "function_call_arguments" };
const INPUT: Way = Way { list: None, place: "", field: "input", part: "", text: "custom_tool_call_input" };
const SUMMARY: Way = Way {
    list: Some("summary"),
    place: "summary_index",
    field: "text",
    part: "reasoning_summary_part",
    text: "reasoning_summary_text",
};
const SAID: Way =
    Way { list: Some("content"), place: "content_index", field: "text", part: "content_part", text: "output_text" };
const REFUSED: Way =
    Way { list: Some("content"), place: "content_index", field: "refusal", part: "content_part", text: "refusal" };

/// How a text is sent, by the item that it stands in and the part; `None` for those that come with their item alone.
fn way(item: &Value, part: &Value) -> Option<&'static Way> {
    match (item["type"].as_str()?, part["type"].as_str()) {
        ("message", Some("output_text")) => Some(&SAID),
        ("message", Some("refusal")) => Some(&REFUSED),
        ("reasoning", Some("summary_text")) => Some(&SUMMARY),
        ("function_call", _) => Some(&ARGUMENTS),
        ("custom_tool_call", _) => Some(&INPUT),
        _ => None,
    }
}

impl Sent {
    pub(super) fn note(&mut self, events: &[StreamEvent]) {
        for event in events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok()) {
            self.events = event["sequence_number"].as_u64().map_or(self.events, |number| number) + 1;
            if event["type"] == "response.created" {
                self.begun = event["response"].clone();
            }
            let Some(index) = event["output_index"].as_u64() else { continue };
            let item = self.items.entry(index).or_default();
            let place = event["content_index"].as_u64().or(event["summary_index"].as_u64()).unwrap_or(0);
            let (name, end) = event["type"].as_str().and_then(|kind| kind.rsplit_once('.')).unwrap_or_default();
            let is_text = [&ARGUMENTS, &INPUT, &SUMMARY, &SAID, &REFUSED]
                .iter()
                .any(|way| name.strip_prefix("response.") == Some(way.text));
            match (name, end) {
                ("response.output_item", "done") => item.is_done = true,
                ("response.content_part" | "response.reasoning_summary_part", "added") => {
                    item.texts.push(Text::default())
                }
                (_, "delta") if is_text => {
                    // The text of a call is not announced.
                    if item.texts.is_empty() {
                        item.texts.push(Text::default());
                    }
                    let text = usize::try_from(place).ok().and_then(|place| item.texts.get_mut(place));
                    if let (Some(text), Some(delta)) = (text, event["delta"].as_str()) {
                        text.beginning.add(delta);
                    }
                }
                ("response.content_part" | "response.reasoning_summary_part", "done") => {
                    if let Some(text) = usize::try_from(place).ok().and_then(|place| item.texts.get_mut(place)) {
                        text.is_done = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// The events that make a stream of the whole response `body`, less what was sent, or why there are none.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        let mut events = Events { next: self.events, events: Vec::new() };
        if self.events == 0 {
            let mut begun = body.clone();
            begun["status"] = "in_progress".into();
            begun["output"] = json!([]);
            for name in ["usage", "incomplete_details", "error"] {
                begun[name] = Value::Null;
            }
            for kind in ["response.created", "response.in_progress"] {
                events.tell(kind, json!({ "response": begun }));
            }
        }
        for (index, item) in body["output"].as_array().into_iter().flatten().enumerate() {
            let sent = u64::try_from(index).ok().and_then(|index| self.items.get(&index));
            events.item(index, item, sent)?;
        }
        // What there was of an answer that broke off has no end; the error behind it is one.
        if let Some(end @ ("completed" | "incomplete" | "failed")) = body["status"].as_str() {
            events.tell(&format!("response.{end}"), json!({ "response": body }));
        }
        Ok(events.events)
    }

    /// The event that ends it as a content filter does.
    pub(super) fn filtered(&self) -> Vec<StreamEvent> {
        let mut response = self.begun.clone();
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({ "reason": "content_filter" });
        let mut events = Events { next: self.events, events: Vec::new() };
        events.tell("response.incomplete", json!({ "response": response }));
        events.events
    }

    /// The last event of a stream that did not end well: as the reference has it, and with the `error` that SDKs raise.
    pub(super) fn failed(&self, document: Value) -> Value {
        let error = &document["error"];
        json!({
            "type": "error",
            "sequence_number": self.events,
            "code": error["code"],
            "message": error["message"],
            "param": error["param"],
            "error": error,
        })
    }
}

/// Events on their way to the caller.
struct Events {
    /// Number of the next one.
    next: u64,
    events: Vec<StreamEvent>,
}

impl Events {
    fn tell(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.next.into();
        self.next += 1;
        self.events.push(StreamEvent { event: Some(kind.to_owned()), data: event.to_string() });
    }

    /// What is left of an item.
    fn item(&mut self, index: usize, item: &Value, sent: Option<&Item>) -> Result<(), &'static str> {
        if sent.is_some_and(|sent| sent.is_done) {
            return Ok(());
        }
        let parts = ["content", "summary"].map(|list| item[list].as_array()).into_iter().flatten().flatten();
        // An item without parts is its own.
        let parts: Vec<&Value> = if way(item, &Value::Null).is_some() { vec![item] } else { parts.collect() };
        if sent.is_none() {
            let mut empty = item.clone();
            if !empty["status"].is_null() {
                empty["status"] = "in_progress".into();
            }
            for part in parts.iter().filter_map(|part| way(item, part)) {
                match part.list {
                    Some(list) => empty[list] = json!([]),
                    None => empty[part.field] = "".into(),
                }
            }
            self.tell("response.output_item.added", json!({ "output_index": index, "item": empty }));
        }
        for (place, part) in parts.into_iter().enumerate() {
            let Some(way) = way(item, part) else { continue };
            self.text(way, index, place, (item, part), sent.and_then(|sent| sent.texts.get(place)))?;
        }
        self.tell("response.output_item.done", json!({ "output_index": index, "item": item }));
        Ok(())
    }

    /// What is left of a text.
    fn text(
        &mut self,
        way: &Way,
        index: usize,
        place: usize,
        (item, part): (&Value, &Value),
        sent: Option<&Text>,
    ) -> Result<(), &'static str> {
        if sent.is_some_and(|sent| sent.is_done) {
            return Ok(());
        }
        let at = |name: &str, value: &Value| {
            let mut event = json!({ "item_id": item["id"], "output_index": index, name: value });
            if way.list.is_some() {
                event[way.place] = place.into();
            }
            if way.text == "output_text" && name != "part" {
                event["logprobs"] = json!([]);
            }
            event
        };
        if sent.is_none() && way.list.is_some() {
            let mut empty = part.clone();
            empty[way.field] = "".into();
            self.tell(&format!("response.{}.added", way.part), at("part", &empty));
        }
        let text = part[way.field].as_str().unwrap_or_default();
        let rest = sent.map_or(Ok(text), |sent| sent.beginning.rest(text))?;
        if !rest.is_empty() {
            self.tell(&format!("response.{}.delta", way.text), at("delta", &rest.into()));
        }
        let mut done = at(way.field, &text.into());
        if way.field == "arguments" {
            done["name"] = item["name"].clone();
        }
        self.tell(&format!("response.{}.done", way.text), done);
        if way.list.is_some() {
            self.tell(&format!("response.{}.done", way.part), at("part", part));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Value {
        json!({
            "id": "resp_1", "object": "response", "status": "completed", "model": "chat", "error": null, "incomplete_details": null,
            "output": [
                { "id": "rs_1", "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }] },
                { "id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
                    { "type": "output_text", "text": "héllo world", "annotations": [] },
                ] },
                { "id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{\"a\":1}" },
                { "id": "ws_1", "type": "web_search_call", "status": "completed" },
            ],
            "usage": { "input_tokens": 3, "output_tokens": 5 },
        })
    }

    fn documents(events: &[StreamEvent]) -> Vec<Value> {
        events.iter().map(|event| serde_json::from_str(&event.data).expect("JSON")).collect()
    }

    /// The texts of a stream, by item.
    fn texts(events: &[Value]) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::<String, String>::new();
        for event in events {
            if let (Some(id), Some(delta)) = (event["item_id"].as_str(), event["delta"].as_str()) {
                texts.entry(id.to_owned()).or_default().push_str(delta);
            }
        }
        texts
    }

    #[test]
    fn a_whole_response_becomes_the_events_of_a_stream() {
        let events = Sent::default().rest(&body()).expect("whole");
        let kinds: Vec<&str> =
            events.iter().filter_map(|event| event.event.as_deref()?.strip_prefix("response.")).collect();
        let part = |part, text: [&'static str; 2]| ["output_item.added", part, text[0], text[1]];
        let reasoning =
            part("reasoning_summary_part.added", ["reasoning_summary_text.delta", "reasoning_summary_text.done"]);
        let message = part("content_part.added", ["output_text.delta", "output_text.done"]);
        let expected = [
            &["created", "in_progress"][..],
            &reasoning,
            &["reasoning_summary_part.done", "output_item.done"],
            &message,
            &["content_part.done", "output_item.done", "output_item.added"],
            &["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
            &["output_item.added", "output_item.done", "completed"],
        ];
        assert_eq!(kinds, expected.concat());
        let documents = documents(&events);
        assert!(documents.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
        assert_eq!(
            (&documents[0]["response"]["output"], &documents[0]["response"]["usage"]),
            (&json!([]), &Value::Null)
        );
        assert_eq!(documents.last().expect("an end")["response"], body());
    }

    #[test]
    fn the_rest_joins_what_was_sent_wherever_it_was_cut() {
        let whole = Sent::default().rest(&body()).expect("whole");
        let expected = texts(&documents(&whole));
        for cut in 0..whole.len() {
            let mut sent = Sent::default();
            sent.note(&whole[..cut]);
            let rest = sent.rest(&body()).expect("rest");
            let both = documents(&[&whole[..cut], &rest].concat());
            assert_eq!(texts(&both), expected, "cut at {cut}");
            assert!(both.iter().enumerate().all(|(at, event)| event["sequence_number"] == at), "cut at {cut}");
            let done = both.iter().filter(|event| event["type"] == "response.output_item.done");
            assert_eq!(done.count(), 4, "cut at {cut}");
        }
        let mut sent = Sent::default();
        let delta =
            json!({ "type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "hé" });
        sent.note(&[StreamEvent { event: None, data: delta.to_string() }]);
        let rest = documents(&sent.rest(&body()).expect("rest"));
        assert_eq!(texts(&rest)["msg_1"], "llo world");
        let longer = json!({ "type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "another text" });
        sent.note(&[StreamEvent { event: None, data: longer.to_string() }]);
        assert!(sent.rest(&body()).is_err());
    }

    #[test]
    fn a_filter_leaves_it_incomplete() {
        let mut sent = Sent::default();
        let created = json!({ "type": "response.created", "sequence_number": 0, "response": { "id": "resp_1", "status": "in_progress" } });
        sent.note(&[StreamEvent { event: None, data: created.to_string() }]);
        let last = &documents(&sent.filtered())[0];
        assert_eq!((&last["type"], &last["sequence_number"]), (&json!("response.incomplete"), &json!(1)));
        let response = &last["response"];
        assert_eq!((&response["id"], &response["status"]), (&json!("resp_1"), &json!("incomplete")));
        assert_eq!(response["incomplete_details"]["reason"], "content_filter");
    }

    #[test]
    fn an_error_ends_it_in_the_shape_of_the_api() {
        let mut sent = Sent::default();
        sent.note(&[StreamEvent { event: None, data: json!({ "sequence_number": 4 }).to_string() }]);
        let event =
            sent.failed(json!({ "error": { "message": "m", "type": "server_error", "param": null, "code": "c" } }));
        assert_eq!(
            (&event["type"], &event["sequence_number"], &event["message"]),
            (&json!("error"), &json!(5), &json!("m"))
        );
        assert_eq!(event["error"]["code"], "c");
    }
}
