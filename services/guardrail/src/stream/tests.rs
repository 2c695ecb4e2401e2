//! What comes out of a stream in parts, against what the same checks make of the whole answer, in every API's words.

mod judged;
mod properties;

use super::*;
use crate::checks::keywords::Keywords;
use crate::checks::mask::HashKey;
use crate::checks::pii::{Entity, Pii};
use crate::checks::{Action, Check};
use crate::judges::{Found, Ruled, Ruling};
use crate::pipeline::{Configured, Judged, Policy, Seat, Subject, conclude, sift};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

fn configured(name: &str, action: Action, check: Check) -> Configured {
    Configured { name: name.into(), action, check: Arc::new(check) }
}

fn pii(action: Action, entities: &[Entity]) -> Configured {
    configured("output.pii", action, Check::Pii(Pii::new(entities, &[]).expect("defaults")))
}

fn keywords(action: Action, words: &[&str]) -> Configured {
    let words = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    configured("output.keywords", action, Check::Keywords(Keywords::new(&words).expect("small")))
}

fn safety() -> Judged {
    let seat = Seat::Vacant("moderator".into());
    Judged {
        name: "output.safety".into(),
        action: Action::Block,
        allows_failure: false,
        subject: Subject::Safety,
        seat,
    }
}

fn endpoint(checks: Vec<Configured>, judged: Vec<Judged>) -> Arc<Endpoint> {
    let streaming = Some(Streaming { window: 100, is_filtered: false });
    let hash_key = Some(HashKey::new(b"a secret"));
    let output = Stage { checks, judged, streaming, hash_key, ..Stage::default() };
    Arc::new(Endpoint {
        policy: Policy { version: Some("v".into()), input: Stage::default(), output },
        tags: BTreeMap::new(),
    })
}

fn masking() -> Arc<Endpoint> {
    endpoint(vec![keywords(Action::Mask, &["project orion", "机密"]), pii(Action::Mask, Entity::ALL)], Vec::new())
}

/// The words of an API.
#[derive(Debug, Clone, Copy)]
enum Words {
    Chat,
    Completions,
    Messages,
    Responses,
    Google,
}

const ALL: [Words; 5] = [Words::Chat, Words::Completions, Words::Messages, Words::Responses, Words::Google];

impl Words {
    /// An event with the next part of a text.
    fn part(self, at: usize, text: &str) -> Value {
        match self {
            Words::Chat => json!({ "choices": [{ "index": at, "delta": { "content": text }, "finish_reason": null }] }),
            Words::Completions => json!({ "choices": [{ "index": at, "text": text, "finish_reason": null }] }),
            Words::Messages => {
                json!({ "type": "content_block_delta", "index": at, "delta": { "type": "text_delta", "text": text } })
            }
            Words::Responses => {
                json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": at, "delta": text, "logprobs": [] })
            }
            Words::Google => json!({ "candidates": [{ "index": at, "content": { "parts": [{ "text": text }] } }] }),
        }
    }

    /// The part's text, and which text it goes on with.
    fn read(self, event: &Value) -> Option<(usize, String)> {
        let (at, text) = match self {
            Words::Chat => (&event["choices"][0]["index"], &event["choices"][0]["delta"]["content"]),
            Words::Completions => (&event["choices"][0]["index"], &event["choices"][0]["text"]),
            Words::Messages => (&event["index"], &event["delta"]["text"]),
            Words::Responses => (&event["content_index"], &event["delta"]),
            Words::Google => (&event["candidates"][0]["index"], &event["candidates"][0]["content"]["parts"][0]["text"]),
        };
        Some((usize::try_from(at.as_u64()?).ok()?, text.as_str()?.to_owned()))
    }

    /// What ends a text.
    fn end(self, at: usize, text: &str) -> Value {
        match self {
            Words::Chat => json!({ "choices": [{ "index": at, "delta": {}, "finish_reason": "stop" }] }),
            Words::Completions => json!({ "choices": [{ "index": at, "text": "", "finish_reason": "stop" }] }),
            Words::Messages => json!({ "type": "content_block_stop", "index": at }),
            Words::Responses => {
                json!({ "type": "response.output_text.done", "output_index": 0, "content_index": at, "text": text })
            }
            Words::Google => {
                json!({ "candidates": [{ "index": at, "content": { "parts": [] }, "finishReason": "STOP" }] })
            }
        }
    }

    /// The whole answer.
    fn whole(self, texts: &[String]) -> Box<RawValue> {
        let each = |one: fn(usize, &String) -> Value| {
            texts.iter().enumerate().map(|(at, text)| one(at, text)).collect::<Vec<_>>()
        };
        let body = match self {
            Words::Chat => {
                json!({ "choices": each(|at, text| json!({ "index": at, "message": { "content": text } })) })
            }
            Words::Completions => json!({ "choices": each(|at, text| json!({ "index": at, "text": text })) }),
            Words::Messages => {
                json!({ "type": "message", "content": each(|_, text| json!({ "type": "text", "text": text })) })
            }
            Words::Responses => {
                let parts = each(|_, text| json!({ "type": "output_text", "text": text }));
                json!({ "object": "response", "output": [{ "type": "message", "content": parts }] })
            }
            Words::Google => {
                json!({ "candidates": each(|at, text| json!({ "index": at, "content": { "parts": [{ "text": text }] } })) })
            }
        };
        serde_json::value::to_raw_value(&body).expect("JSON")
    }

    /// The texts of a whole answer.
    fn texts(self, body: &RawValue) -> Vec<String> {
        let body: Value = serde_json::from_str(body.get()).expect("JSON");
        let list = match self {
            Words::Chat | Words::Completions => &body["choices"],
            Words::Messages => &body["content"],
            Words::Responses => &body["output"][0]["content"],
            Words::Google => &body["candidates"],
        };
        let text = |one: &Value| match self {
            Words::Chat => one["message"]["content"].clone(),
            Words::Completions | Words::Messages | Words::Responses => one["text"].clone(),
            Words::Google => one["content"]["parts"][0]["text"].clone(),
        };
        list.as_array().expect("a list").iter().map(|one| text(one).as_str().expect("a text").to_owned()).collect()
    }
}

fn event(document: &Value) -> StreamEvent {
    StreamEvent { event: None, data: document.to_string() }
}

fn parts(words: Words, parts: &[&str]) -> Vec<StreamEvent> {
    parts.iter().map(|part| event(&words.part(0, part))).collect()
}

/// What a stream lets go of now, with all judges of one mind, and how many parts they were asked about.
fn let_go(stream: &mut Stream, ruling: &dyn Fn(&Case) -> Ruling) -> (Vec<StreamEvent>, Vec<Vec<String>>) {
    let (mut events, mut asked) = (Vec::new(), Vec::new());
    loop {
        match stream.advance() {
            Next::Nothing => return (events, asked),
            Next::Send(more) => events.extend(more),
            Next::Ask(part) => {
                let ruled = |at: &usize| (*at, Ruled { ruling: ruling(&part.case), took: Duration::from_millis(2) });
                let rulings = part.open.iter().map(ruled).collect();
                asked.push(part.case.texts);
                stream.ruled(rulings);
            }
        }
    }
}

fn passed(_: &Case) -> Ruling {
    Ruling::Passed
}

/// The texts of events, in the order of their places.
fn said(words: Words, events: &[StreamEvent]) -> Vec<String> {
    let mut texts = BTreeMap::<usize, String>::new();
    for event in events {
        let document: Value = serde_json::from_str(&event.data).expect("JSON");
        if let Some((at, text)) = words.read(&document) {
            texts.entry(at).or_default().push_str(&text);
        }
    }
    texts.into_values().collect()
}

/// Placeholders numbered by where they first stand: two checks of one text may see its values in another order.
fn renumbered(texts: &[String]) -> Vec<String> {
    let (mut numbers, mut counts) = (HashMap::<String, usize>::new(), HashMap::<String, usize>::new());
    let mut one = |text: &String| {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(open) = rest.find('[') {
            let close = rest[open..].find(']').map_or(rest.len(), |at| open + at + 1);
            let label = rest[open..close].trim_start_matches('[').trim_end_matches(']').rsplit_once('_');
            let is_placeholder = label.is_some_and(|(name, number)| {
                name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && number.bytes().all(|b| b.is_ascii_digit())
            });
            let Some((name, _)) = label.filter(|_| is_placeholder) else {
                out.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
                continue;
            };
            let count = counts.entry(name.to_owned()).or_default();
            let number = *numbers.entry(rest[open..close].to_owned()).or_insert_with(|| {
                *count += 1;
                *count
            });
            out.push_str(&rest[..open]);
            out.push_str(&format!("[{name}_{number}]"));
            rest = &rest[close..];
        }
        out + rest
    };
    texts.iter().map(&mut one).collect()
}

/// What the same checks make of the whole answer.
fn checked_whole(endpoint: &Endpoint, words: Words, texts: &[String]) -> (Vec<String>, Outcome) {
    let (stage, body) = (&endpoint.policy.output, words.whole(texts));
    let sifted = sift(stage, Side::Output, body.clone());
    let verdict = conclude(stage, Side::Output, sifted, Vec::new());
    (words.texts(&verdict.body.unwrap_or(body)), verdict.outcome)
}

#[test]
fn a_value_that_is_cut_in_two_is_masked_where_it_begins() {
    let prose =
        "and then there are many more words that nobody would ever take for anything but words, one after the other.";
    let prose = &prose.repeat(4);
    for words in ALL {
        let mut stream = Stream::new(masking()).expect("it streams");
        stream.push(parts(words, &["write to jane", ".roe@exam", "ple.com or", " ", prose])).expect("readable");
        let (events, _) = let_go(&mut stream, &passed);
        let each: Vec<String> = events.iter().map(|event| said(words, std::slice::from_ref(event)).concat()).collect();
        assert_eq!(each.get(..3), Some(&["write to [EMAIL_ADDRESS_1]", "", " or"].map(str::to_owned)[..]), "{words:?}");
    }
}

#[test]
fn prose_is_late_by_a_few_words() {
    let mut stream = Stream::new(endpoint(vec![pii(Action::Mask, &[])], Vec::new())).expect("it streams");
    let prose =
        "The quick brown fox jumps over the lazy dog, and it sleeps for quite a while in the shade of the old tree. ";
    let mut sent = 0;
    for (at, word) in prose.split_inclusive(' ').cycle().take(200).enumerate() {
        stream.push(parts(Words::Chat, &[word])).expect("readable");
        sent += let_go(&mut stream, &passed).0.len();
        assert!(sent + 20 >= at, "{sent} of {at} words");
    }
}

#[test]
fn a_beginning_waits_for_its_first_text_and_logprobs_do_not_spell_what_is_masked() {
    let mut stream = Stream::new(masking()).expect("it streams");
    let role = json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] });
    stream.push(vec![event(&role)]).expect("readable");
    assert_eq!(let_go(&mut stream, &passed).0, []);
    let spelt = json!({ "choices": [{ "index": 0, "delta": { "content": "a@b.com" }, "logprobs": { "content": [{ "token": "a@b.com" }] } }] });
    stream.push(vec![event(&spelt)]).expect("readable");
    stream.end(None);
    let (events, _) = let_go(&mut stream, &passed);
    assert_eq!((events.len(), &events[0]), (2, &event(&role)));
    assert!(events[1].data.contains(r#""logprobs":null"#) && !events[1].data.contains("a@b"), "{}", events[1].data);
}

#[test]
fn arguments_are_read_when_they_are_whole() {
    let call = |arguments: &str| {
        let call = json!({ "index": 0, "function": { "name": "send", "arguments": arguments } });
        event(&json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] }, "finish_reason": null }] }))
    };
    let mut stream = Stream::new(masking()).expect("it streams");
    stream.push(vec![call("{\"to\":\"a\\u0040"), call("b.com\",\"n\":1}")]).expect("readable");
    assert!(let_go(&mut stream, &passed).0.is_empty());
    let done = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] });
    stream.push(vec![event(&done)]).expect("readable");
    let (events, _) = let_go(&mut stream, &passed);
    let arguments = |at: usize| {
        let document: Value = serde_json::from_str(&events[at].data).expect("JSON");
        document["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().expect("a text").to_owned()
    };
    assert_eq!((arguments(0).as_str(), arguments(1).as_str()), (r#"{"to":"[EMAIL_ADDRESS_1]","n":1}"#, ""));
}

#[test]
fn names_and_what_stands_beside_are_masked_and_a_file_of_text_is_not_read_in_parts() {
    let mut stream = Stream::new(masking()).expect("it streams");
    let call = json!({ "index": 0, "function": { "name": "a@b.com" } });
    let found = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }], "citations": ["at a@b.com"] });
    stream.push(vec![event(&found)]).expect("readable");
    stream.end(None);
    let (events, _) = let_go(&mut stream, &passed);
    assert!(!events[0].data.contains("a@b.com") && events[0].data.contains("at [EMAIL_ADDRESS_1]"), "{events:?}");
    let mut stream = Stream::new(masking()).expect("it streams");
    let file = json!({ "file_data": "d3JpdGUgdG8gamFuZS5yb2VAZXhhbXBsZS5jb20=" });
    let file = json!({ "choices": [{ "index": 0, "delta": { "file": file } }] });
    assert_eq!(stream.push(vec![event(&file)]), Err(Unreadable));
}

#[test]
fn nothing_goes_out_once_something_is_blocked() {
    let mut stream =
        Stream::new(endpoint(vec![keywords(Action::Block, &["project orion"])], Vec::new())).expect("it streams");
    let fine = "A long and harmless beginning that everybody may read, whoever it is. ";
    stream.push(parts(Words::Chat, &[fine, "This is what it says: proj"])).expect("readable");
    let (events, _) = let_go(&mut stream, &passed);
    assert_eq!(said(Words::Chat, &events), [fine]);
    stream.push(parts(Words::Chat, &["ect ori", "on is", " secret, and more of it follows."])).expect("readable");
    assert!(let_go(&mut stream, &passed).0.is_empty());
    let body = Words::Chat.whole(&["whatever".to_owned()]);
    stream.end(Some(&body));
    assert!(let_go(&mut stream, &passed).0.is_empty());
    let verdict = stream.verdict(None);
    assert_eq!(
        (verdict.outcome, verdict.error.expect("an error").checks),
        (Outcome::Blocked, vec!["output.keywords".to_owned()])
    );
}

#[test]
fn of_a_value_that_goes_on_after_its_text_had_ended_no_more_goes_out() {
    let thinking = |text: &str| event(&json!({ "choices": [{ "index": 0, "delta": { "reasoning_content": text } }] }));
    let mut stream = Stream::new(masking()).expect("it streams");
    stream.push(vec![thinking("I think 460-89")]).expect("readable");
    stream.push(parts(Words::Chat, &["so"])).expect("readable");
    stream.push(vec![thinking("-9847, and I think on")]).expect("readable");
    stream.end(None);
    let (events, _) = let_go(&mut stream, &passed);
    let all: String = events.iter().map(|event| event.data.as_str()).collect();
    assert!(events.len() == 3 && all.contains("I think 460-89") && all.contains(", and I think on"), "{all}");
    assert!(!all.contains("9847"), "{all}");
}

#[test]
fn what_cannot_be_read_or_has_no_checks_in_parts_is_not_checked_in_parts() {
    assert_eq!(
        Stream::new(masking()).expect("it streams").push(vec![StreamEvent { event: None, data: "x".into() }]),
        Err(Unreadable)
    );
    let whole = Stage { checks: vec![keywords(Action::Block, &["project orion"])], ..Stage::default() };
    let policy = |output| Policy { output, ..Policy::default() };
    assert!(Stream::new(Arc::new(Endpoint { policy: policy(whole), tags: BTreeMap::new() })).is_none());
}

#[test]
fn what_nobody_checks_passes_at_once() {
    let endpoint = Arc::new(Endpoint { policy: Policy::default(), tags: BTreeMap::new() });
    let mut stream = Stream::new(endpoint).expect("it streams");
    let events = parts(Words::Chat, &["a@b.c", "om"]);
    stream.push(events.clone()).expect("taken");
    assert_eq!(let_go(&mut stream, &passed).0, events);
    assert!(stream.end(Some(&Words::Chat.whole(&["a@b.com".to_owned()]))).is_none());
    assert!(let_go(&mut stream, &passed).0.is_empty() && stream.verdict(None).error.is_none());
}
