//! Reasoning through the APIs over chat completions: under which name servers say it, who gets it back, and how it is
//! counted; and what else a leaf must know of a translated stream.

use super::{
    dialects::{body, decoded},
    fixtures::{of, stream_bytes},
};
use crate::providers::{Asked, Fields, Wire, kind};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_runtime::config::{Provider, ProviderKind};
use tollgate_schemas::ApiType;

fn fields(document: &Value) -> Fields {
    Fields::parse(&document.to_string()).expect("an object")
}

/// An API over the chat of a server of OpenAI's format.
fn over(api: ApiType, preset: &str) -> Arc<dyn Wire> {
    let provider = Provider { preset: Some(preset.to_owned()), ..Provider::of(ProviderKind::Openai) };
    crate::dialects::over(api, &kind(&provider).expect("supported").wire).expect("a dialect")
}

fn sent(api: ApiType, preset: &str, body: &Value) -> Value {
    let body = fields(body);
    let encoded = over(api, preset).encode(&Asked::of(&body)).expect("expressible");
    serde_json::from_str(&encoded.body).expect("JSON")
}

/// A caller's body of each API that shows reasoning.
fn asking() -> [(ApiType, Fields); 3] {
    let google = json!({
        "contents": [{ "parts": [{ "text": "hi" }] }],
        "generationConfig": { "thinkingConfig": { "includeThoughts": true } },
    });
    [
        (ApiType::Messages, fields(&json!({ "messages": [{ "role": "user", "content": "hi" }] }))),
        (ApiType::Responses, fields(&json!({ "input": "hi" }))),
        (ApiType::GenerateContent, fields(&google)),
    ]
}

/// Where each of them has it.
fn thought(api: ApiType, answer: &Value) -> &Value {
    match api {
        ApiType::Messages => &answer["content"][0]["thinking"],
        ApiType::Responses => &answer["output"][0]["summary"][0]["text"],
        _ => &answer["candidates"][0]["content"]["parts"][0]["text"],
    }
}

#[test]
fn reasoning_is_shown_whatever_a_server_calls_it() {
    let named = [json!({ "reasoning": "hm" }), json!({ "reasoning": "hm", "reasoning_content": "hm" })];
    for (api, request) in asking() {
        let (wire, asked) = (over(api, "vllm"), Asked::of(&request));
        for named in &named {
            let mut said = named.clone();
            (said["role"], said["content"]) = (json!("assistant"), json!("ho"));
            let chat = json!({ "id": "x", "choices": [{ "index": 0, "message": said, "finish_reason": "stop" }] });
            let whole = wire.decode(&asked, chat.to_string().as_bytes()).expect("decodes");
            let shown: Value = serde_json::from_str(whole.body.get()).expect("JSON");
            assert_eq!(thought(api, &shown), "hm", "{api:?}: {shown}");
            assert_eq!(whole.output_chars, 4, "the same is counted once");

            let delta = |delta: &Value, finish: Value| {
                let choices = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
                format!("data: {}\n\n", json!({ "id": "x", "object": "chat.completion.chunk", "choices": choices }))
            };
            let end = delta(&json!({}), json!("stop"));
            let text = delta(named, Value::Null) + &delta(&json!({ "content": "ho" }), Value::Null) + &end;
            let stream = text + "data: [DONE]\n\n";
            let (events, decoder) = decoded(&*wire, &asked, stream.as_bytes(), stream.len());
            assert!(events.iter().any(|event| event.data.contains("hm")), "{api:?}: {events:?}");
            let answer = decoder.answer();
            assert_eq!(answer.output_chars, 4, "the same is counted once");
            let kept: Value = serde_json::from_str(answer.body.get()).expect("JSON");
            assert_eq!(thought(api, &kept), "hm", "{api:?}: {kept}");
        }
    }
}

#[test]
fn who_asks_for_a_chat_gets_reasoning_as_its_server_named_it() {
    let chat = json!({ "model": "m", "choices": [{ "message": { "content": "ho", "reasoning": "hm" } }] });
    let request = fields(&json!({ "messages": [] }));
    let answer = of("openai").wire.decode(&Asked::of(&request), chat.to_string().as_bytes()).expect("decodes");
    let shown: Value = serde_json::from_str(answer.body.get()).expect("JSON");
    assert_eq!(shown["choices"], chat["choices"]);
    // One whose reasoning is no text is an answer all the same.
    let odd = json!({ "model": "m", "choices": [{ "message": { "content": "ho", "reasoning": { "steps": 1 } } }] });
    assert!(of("openai").wire.decode(&Asked::of(&request), odd.to_string().as_bytes()).is_ok());
}

/// An assistant's turn with a thought, a text and a call, the result, and a call of which no thought is known.
fn turns() -> [(ApiType, Value); 3] {
    let messages = json!({ "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "" },
            { "type": "text", "text": "ho" },
            { "type": "tool_use", "id": "t", "name": "f", "input": {} },
        ] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "x" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "of Claude", "signature": "c2ln" },
            { "type": "tool_use", "id": "u", "name": "f", "input": {} },
        ] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "u", "content": "y" }] },
    ] });
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let result = |id: &str, said: &str| json!({ "type": "function_call_output", "call_id": id, "output": said });
    let responses = json!({ "input": [
        { "role": "user", "content": "hi" },
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }] },
        { "role": "assistant", "content": "ho" },
        call("t"),
        result("t", "x"),
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "of GPT" }], "encrypted_content": "x" },
        call("u"),
        result("u", "y"),
    ] });
    let called = |id: &str| json!({ "functionCall": { "id": id, "name": "f", "args": {} } });
    let response =
        |id: &str, said: &str| json!({ "functionResponse": { "id": id, "name": "f", "response": { "output": said } } });
    let google = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "hi" }] },
        { "role": "model", "parts": [{ "text": "hm", "thought": true }, { "text": "ho" }, called("t")] },
        { "role": "user", "parts": [response("t", "x")] },
        { "role": "model", "parts": [{ "text": "of Gemini", "thought": true, "thoughtSignature": "c2ln" }, called("u")] },
        { "role": "user", "parts": [response("u", "y")] },
    ] });
    [(ApiType::Messages, messages), (ApiType::Responses, responses), (ApiType::GenerateContent, google)]
}

#[test]
fn reasoning_goes_back_to_a_server_that_demands_it() {
    let call = |id: &str| json!([{ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
    let result = |id: &str, said: &str| json!({ "role": "tool", "tool_call_id": id, "content": said });
    for (api, body) in turns() {
        let mut expected = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "ho", "tool_calls": call("t"), "reasoning_content": "hm" },
            result("t", "x"),
            { "role": "assistant", "content": null, "tool_calls": call("u"), "reasoning_content": "" },
            result("u", "y"),
        ]);
        assert_eq!(sent(api, "deepseek", &body)["messages"], expected, "{api:?}");
        for message in expected.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            message.remove("reasoning_content");
        }
        assert_eq!(sent(api, "vllm", &body)["messages"], expected, "{api:?}: others take it amiss, or ignore it");
    }
}

#[test]
fn thoughts_between_calls_and_thoughts_that_led_to_nothing() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let text = |said: &str| json!([{ "type": "reasoning_text", "text": said }]);
    let thought = |said: &str| json!({ "type": "reasoning", "summary": [], "content": text(said) });
    let user = json!({ "role": "user", "content": "hi" });
    let body = json!({ "input": [thought("a"), call("t"), thought("b"), call("u"), thought("c"), user] });
    let messages = &sent(ApiType::Responses, "deepseek", &body)["messages"];
    assert_eq!(
        (&messages[0]["reasoning_content"], &messages[1]),
        (&json!("ab"), &json!({ "role": "user", "content": "hi" }))
    );
}

#[test]
fn a_tier_and_a_number_of_answers_are_known_of_a_translated_stream() {
    let kind = of("gemini");
    let stream = String::from_utf8(stream_bytes("gemini", &kind)).expect("UTF-8");
    // The Gemini API names no tier as a rule.
    let stream = stream.replace(r#","serviceTier":"standard""#, "");
    let tier = |body: Value| {
        let request = fields(&body);
        let asked = Asked { stream: true, ..Asked::of(&request) };
        let wire = crate::dialects::over(ApiType::Responses, &kind.wire).expect("a dialect");
        decoded(&*wire, &asked, stream.as_bytes(), stream.len()).1.answer().service_tier
    };
    assert_eq!(tier(json!({ "input": "hi", "service_tier": "flex" })).as_deref(), Some("flex"));
    assert_eq!(tier(json!({ "input": "hi" })), None);

    // The first of two candidates ends before the second begins.
    let part = |index: usize, counts: Value| {
        let content = json!({ "role": "model", "parts": [{ "text": index.to_string() }] });
        let candidates = json!([{ "index": index, "content": content, "finishReason": "STOP" }]);
        format!("data: {}\n\n", json!({ "responseId": "x", "candidates": candidates, "usageMetadata": counts }))
    };
    let counts = json!({ "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 });
    let request = fields(&json!({ "prompt": "hi", "n": 2 }));
    let wire = crate::dialects::over(ApiType::Completions, &kind.wire).expect("a dialect");
    let asked = Asked { stream: true, ..Asked::of(&request) };
    let mut decoder = wire.decoder(&asked);
    let mut frames = Vec::new();
    let bytes = part(0, counts.clone()) + &part(1, counts);
    crate::providers::Parser::new(wire.framing()).push(bytes.as_bytes(), &mut frames).expect("small");
    let done: Vec<bool> =
        frames.iter().map(|frame| decoder.frame(frame).map(|_| decoder.is_done()).expect("decodes")).collect();
    assert_eq!(done, [false, true]);
    assert_eq!(body(decoder)["choices"].as_array().map(Vec::len), Some(2));
}
