//! APIs over chat completions: what a caller of the Messages API gets, whole and as a stream, from every provider's fixtures.

use super::fixtures::{asked, fixtures, kinds, stream_bytes};
use crate::providers::{Asked, Fields, Frame, Parser, StreamDecoder, Wire};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_schemas::{ApiType, StreamEvent};

fn messages_over(kind: &str) -> Arc<dyn Wire> {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == kind).expect("a kind");
    crate::dialects::over(ApiType::Messages, &kind.wire).expect("a dialect")
}

fn native() -> Arc<dyn Wire> {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == "anthropic").expect("a kind");
    kind.speaks(ApiType::Messages).expect("its own API")
}

/// All events of a stream that ends well, and the decoder.
pub(super) fn decoded(
    wire: &dyn Wire,
    asked: &Asked<'_>,
    bytes: &[u8],
    piece: usize,
) -> (Vec<StreamEvent>, Box<dyn StreamDecoder>) {
    let (mut decoder, mut parser, mut frames) = (wire.decoder(asked), Parser::new(wire.framing()), Vec::new());
    for part in bytes.chunks(piece) {
        parser.push(part, &mut frames).expect("small");
    }
    let mut events = Vec::new();
    for frame in &frames {
        events.extend(decoder.frame(frame).expect("decodes").events);
    }
    assert!(decoder.is_complete());
    events.extend(decoder.end());
    (events, decoder)
}

pub(super) fn body(decoder: Box<dyn StreamDecoder>) -> Value {
    serde_json::from_str(decoder.answer().body.get()).expect("JSON")
}

fn request() -> Fields {
    Fields::parse(r#"{"model":"chat","messages":[],"stream":true}"#).expect("an object")
}

/// What Anthropic's clients make of events is what the decoder for its own API makes of them.
#[test]
fn a_translated_stream_amounts_to_the_translated_answer() {
    for (name, kind) in kinds() {
        let (_, fixture) = fixtures(name).into_iter().find(|(name, _)| name == "stream").expect("stream");
        let (request, text) = (request(), stream_bytes(name, &kind));
        let asked = asked(&request, &fixture);
        let wire = crate::dialects::over(ApiType::Messages, &kind.wire).expect("a dialect");
        for piece in [7, text.len()] {
            let (events, decoder) = decoded(&*wire, &asked, &text, piece);
            assert!(events.iter().all(|event| event.event.is_some()), "{name}: each event has its name");
            let native = native();
            let mut client = native.decoder(&asked);
            for StreamEvent { event, data } in events {
                client.frame(&Frame { event, data }).expect("an event of the Messages API");
            }
            assert!(client.is_complete(), "{name}");
            assert_eq!(body(client), body(decoder), "{name}");
        }
    }
}

#[test]
fn a_native_stream_passes_through_and_is_kept() {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == "anthropic").expect("a kind");
    let (request, text) = (request(), stream_bytes("anthropic", &kind));
    let fixture = json!({ "model": "some-model", "request": { "stream": true } });
    let asked = asked(&request, &fixture);
    let (whole, decoder) = decoded(&*native(), &asked, &text, text.len());
    assert_eq!(whole, decoded(&*native(), &asked, &text, 1).0);
    let kept = body(decoder);
    assert_eq!((&kept["model"], &kept["type"]), (&json!("chat"), &json!("message")));
    assert!(kept["content"].as_array().is_some_and(|blocks| !blocks.is_empty()) && kept["stop_reason"].is_string());
    assert!(whole.iter().all(|event| event.event.as_deref() != Some("ping")));
    let start: Value = serde_json::from_str(&whole[0].data).expect("JSON");
    assert_eq!(start["message"]["model"], "chat");
}

#[test]
fn thinking_that_nobody_signed_does_not_go_to_claude() {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == "anthropic").expect("a kind");
    let signed = r#"{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature": "c2ln"},{"type":"text","text":1.50}]}"#;
    for unsigned in [
        r#"{"type":"thinking","thinking":"b","signature":""}"#,
        r#"{ "type": "thinking", "thinking": "b", "signature": "" }"#,
        "{\"type\":\"thinking\",\"signature\" :\n\t\"\",\"thinking\":\"b\"}",
    ] {
        let text = format!(
            r#"{{"model":"chat","messages":[{{"role":"assistant","content":[{unsigned},{{"type":"text","text":"c"}}]}},{{"role":"assistant","content":[{unsigned}]}},{{"role":"user","content":"d"}}]}}"#
        );
        let given = Fields::parse(&text).expect("an object");
        for api in [ApiType::Messages, ApiType::CountTokens] {
            let encoded = kind.speaks(api).expect("its own API").encode(&Asked::of(&given)).expect("expressible");
            let sent: Value = serde_json::from_str(&encoded.body).expect("JSON");
            let said = json!([
                { "role": "assistant", "content": [{ "type": "text", "text": "c" }] }, { "role": "user", "content": "d" },
            ]);
            assert_eq!(sent["messages"], said, "{unsigned}");
        }
    }
    let text = format!(r#"{{"model":"chat","messages":[ {signed} ],"x":{{"signature":""}}}}"#);
    let given = Fields::parse(&text).expect("an object");
    let encoded = native().encode(&Asked::of(&given)).expect("expressible");
    assert_eq!(encoded.body, text.replace(r#""chat""#, r#""up""#), "what is signed passes byte for byte");
}

#[test]
fn a_conversation_with_tools_becomes_a_chat() {
    let text = json!({
        "model": "chat", "max_tokens": 9, "system": [{ "type": "text", "text": "s", "cache_control": { "type": "ephemeral" } }],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "QUJD" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "text", "text": "I will" },
                { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } },
                { "type": "tool_use", "id": "t2", "name": "g", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "one", "is_error": true },
                { "type": "tool_result", "tool_use_id": "t2", "content": [{ "type": "text", "text": "two" }] },
                { "type": "text", "text": "and now?" },
            ] },
        ],
        "tools": [{
            "name": "f", "description": "d", "input_schema": { "type": "object" },
            "defer_loading": false, "allowed_callers": ["direct"], "input_examples": [],
        }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "thinking": { "type": "enabled", "budget_tokens": 8000 },
        "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] },
        "metadata": { "user_id": "u" }, "cache_control": { "type": "ephemeral" },
    });
    let body = Fields::parse(&text.to_string()).expect("an object");
    let fixture = json!({ "model": "gpt", "request": {} });
    let encoded = messages_over("openai").encode(&asked(&body, &fixture)).expect("expressible");
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let expected = json!({
        "messages": [
            { "role": "system", "content": "s" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD" } },
            ] },
            { "role": "assistant", "content": "I will", "tool_calls": [call("t1", "f", r#"{"a":1}"#), call("t2", "g", "{}")] },
            { "role": "tool", "tool_call_id": "t1", "content": "[error] one" },
            { "role": "tool", "tool_call_id": "t2", "content": "two" },
            { "role": "user", "content": "and now?" },
        ],
        "model": "gpt", "max_completion_tokens": 9,
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" }, "description": "d" } }],
        "tool_choice": "required", "parallel_tool_calls": false, "reasoning_effort": "medium", "user": "u",
    });
    assert_eq!(serde_json::from_str::<Value>(&encoded.body).expect("JSON"), expected);
    // Claude behind another API keeps what only Claude knows.
    let encoded = messages_over("anthropic").encode(&asked(&body, &fixture)).expect("expressible");
    let sent: Value = serde_json::from_str(&encoded.body).expect("JSON");
    let given: Value = serde_json::from_str(&text.to_string()).expect("JSON");
    assert_eq!((&sent["system"], &sent["messages"][1]), (&given["system"], &given["messages"][1]));
}

/// What a chat gets for a body of the Messages API.
fn chat_of(kind: &str, body: &Value) -> Value {
    let body = Fields::parse(&body.to_string()).expect("an object");
    serde_json::from_str(&messages_over(kind).encode(&Asked::of(&body)).expect("expressible").body).expect("JSON")
}

#[test]
fn nothing_is_sent_that_is_empty() {
    let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "" });
    let body = json!({
        "messages": [
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": [thought] },
            { "role": "assistant", "content": [] },
            { "role": "user", "content": "go on" },
        ],
        "tools": [], "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
    });
    let user = |said: &str| json!({ "role": "user", "content": said });
    assert_eq!(chat_of("openai", &body), json!({ "messages": [user("hi"), user("go on")], "model": "up" }));
}

#[test]
fn the_highest_effort_is_claudes_own_word() {
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "output_config": { "effort": "max" } });
    assert_eq!(chat_of("openai", &body)["reasoning_effort"], "xhigh");
    assert_eq!(chat_of("bedrock", &body)["outputConfig"]["effort"], "max");
    assert_eq!(chat_of("anthropic", &body)["output_config"]["effort"], "max");
}

#[test]
fn what_answers_hold_and_what_says_nothing_passes_within_blocks() {
    let cited = json!([{ "type": "char_location", "cited_text": "x", "document_index": 0 }]);
    let data = json!({ "type": "base64", "media_type": "application/pdf", "data": "QUJD" });
    let body = json!({ "messages": [
        { "role": "user", "content": [
            { "type": "document", "source": data, "title": "a.pdf", "context": null, "citations": { "enabled": false } },
            { "type": "text", "text": "hi", "citations": null, "cache_control": null },
        ] },
        { "role": "assistant", "content": [
            { "type": "text", "text": "ho", "citations": cited },
            { "type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": { "type": "direct" } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": false, "cache_control": { "type": "ephemeral" } },
        ] },
    ] });
    let call = json!({ "id": "t", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    assert_eq!(
        chat_of("openai", &body)["messages"],
        json!([
            { "role": "user", "content": [
                { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD" } },
                { "type": "text", "text": "hi" },
            ] },
            { "role": "assistant", "content": "ho", "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "t", "content": "x" },
        ])
    );
}

#[test]
fn what_a_chat_cannot_say_is_named() {
    let user = json!({ "role": "user", "content": "hi" });
    let of = |block: Value| json!({ "messages": [{ "role": "user", "content": [block] }] });
    let document = |more: Value| {
        let mut block =
            json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "x" } });
        more.as_object().into_iter().flatten().for_each(|(name, value)| block[name] = value.clone());
        block
    };
    let cases = [
        (json!({ "messages": [user], "top_k": 1 }), "top_k"),
        (json!({ "messages": [user], "container": "c" }), "container"),
        (
            json!({ "messages": [user], "context_management": { "edits": [{ "type": "clear_tool_uses_20250919" }] } }),
            "context_management",
        ),
        (json!({ "messages": [user], "context_management": { "yet_unknown": true } }), "context_management"),
        (json!({ "messages": [user], "output_config": { "task_budget": {} } }), "output_config.task_budget"),
        (json!({ "messages": [user], "tools": [{ "type": "bash_20250124", "name": "bash" }] }), "tools[0].type"),
        (json!({ "messages": [user], "tools": [{ "name": "f", "defer_loading": true }] }), "tools[0].defer_loading"),
        (
            json!({ "messages": [user], "tools": [{ "name": "f" }, { "name": "g", "input_examples": [{}] }] }),
            "tools[1].input_examples",
        ),
        (of(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })), "messages[0].content[0].type"),
        (of(json!({ "type": "search_result" })), "messages[0].content[0].type"),
        (of(document(json!({ "citations": { "enabled": true } }))), "messages[0].content[0].citations"),
        (of(document(json!({ "context": "c" }))), "messages[0].content[0].context"),
        (of(document(json!({ "title": "t" }))), "messages[0].content[0].title"),
        (of(json!({ "type": "text", "text": "x", "yet_unknown": 1 })), "messages[0].content[0].yet_unknown"),
        (
            of(
                json!({ "type": "image", "source": { "type": "url", "url": "https://x.test/a.png", "yet_unknown": 1 } }),
            ),
            "messages[0].content[0].source.yet_unknown",
        ),
        (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": "hi" }), "messages"),
        (json!({}), "messages"),
    ];
    let fixture = json!({ "model": "gpt", "request": {} });
    for (body, param) in cases {
        let body = Fields::parse(&body.to_string()).expect("an object");
        let failure = messages_over("openai").encode(&asked(&body, &fixture)).expect_err(param);
        assert_eq!(failure.param.as_deref(), Some(param));
        let hints = ["defer_loading", "input_examples", "task_budget", "citations", "context", "title", "yet_unknown"];
        let is_hint = hints.iter().any(|hint| param.ends_with(hint));
        let is_top = !param.contains(['.', '[']);
        assert!(is_top || failure.is_optional == is_hint, "{param}: only hints are left out of what they stand in");
    }
}

#[test]
fn what_a_provider_cannot_express_is_named_as_its_caller_knows_it() {
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let picture = json!({ "type": "image", "source": { "type": "url", "url": "https://x.test/a.png" } });
    let tools = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
    let serial = json!({ "type": "auto", "disable_parallel_tool_use": true });
    let thinking = json!({ "type": "enabled", "budget_tokens": 2000 });
    let cases = [
        (
            "bedrock",
            json!({ "messages": hi, "tools": tools, "tool_choice": serial }),
            "tool_choice.disable_parallel_tool_use",
        ),
        ("bedrock", json!({ "system": "s", "messages": [{ "role": "user", "content": [picture] }] }), "messages"),
        ("cohere", json!({ "messages": hi, "thinking": thinking }), "thinking"),
        (
            "cohere",
            json!({ "messages": hi, "thinking": thinking, "output_config": { "effort": "low" } }),
            "output_config.effort",
        ),
    ];
    let fixture = json!({ "model": "some-model", "request": {} });
    for (kind, body, param) in cases {
        let body = Fields::parse(&body.to_string()).expect("an object");
        let failure = messages_over(kind).encode(&asked(&body, &fixture)).expect_err(param);
        assert_eq!(failure.param.as_deref(), Some(param), "{kind}");
        assert!(failure.message.starts_with(&format!("`{param}` ")), "{}", failure.message);
    }
}

#[test]
fn what_a_model_does_not_take_is_named_as_its_caller_knows_it() {
    let unsupported = ["reasoning_effort".to_owned(), "temperature".to_owned()];
    let refused = |body: Value| {
        let body = Fields::parse(&body.to_string()).expect("an object");
        let asked = Asked { unsupported: &unsupported, ..Asked::of(&body) };
        let failure = messages_over("openai").encode(&asked).err()?;
        assert!(failure.is_optional);
        failure.param
    };
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let thinking = json!({ "type": "enabled", "budget_tokens": 2000 });
    assert_eq!(refused(json!({ "messages": hi, "thinking": thinking })).as_deref(), Some("thinking"));
    assert_eq!(refused(json!({ "messages": hi, "thinking": { "type": "disabled" } })), None);
    let both = json!({ "messages": hi, "thinking": thinking, "output_config": { "effort": "low" } });
    assert_eq!(refused(both).as_deref(), Some("output_config.effort"));
    assert_eq!(refused(json!({ "messages": hi, "temperature": 1 })).as_deref(), Some("temperature"));
}
