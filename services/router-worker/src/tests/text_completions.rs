//! Text completions: passed on to a server that speaks them, and over chat completions from every provider's fixtures.

use super::{
    dialects::{body, decoded},
    fixtures::{asked, fixtures, kinds, stream_bytes},
};
use crate::providers::{Asked, Fields, Frame, Wire, kind};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_runtime::config::{Provider, ProviderKind};
use tollgate_schemas::{ApiType, StreamEvent};

fn native() -> Arc<dyn Wire> {
    kind(&Provider::of(ProviderKind::Openai)).expect("supported").speaks(ApiType::Completions).expect("its own API")
}

fn over(kind: &str) -> Arc<dyn Wire> {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == kind).expect("a kind");
    crate::dialects::over(ApiType::Completions, &kind.wire).expect("a dialect")
}

fn fields(document: &Value) -> Fields {
    Fields::parse(&document.to_string()).expect("an object")
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_body_and_an_answer_pass_byte_for_byte_but_for_the_model() {
    let text = r#"{"model":"chat","prompt":[ "a", "b" ],"suffix":"s","echo":true,"logprobs":2,"best_of":3,"x":1.50}"#;
    let given = Fields::parse(text).expect("an object");
    let given = Asked { upstream_model: "davinci", ..Asked::of(&given) };
    let sent = native().encode(&given).expect("expressible");
    assert_eq!((sent.path.as_str(), sent.body), ("/completions", text.replace("chat", "davinci")));
    let answer = r#"{"id":"cmpl-1","object":"text_completion","model":"davinci-002","choices":[ {"text":"h\u00e9","index":0,"logprobs":null,"finish_reason":"length"},{"text":"yo","index":1,"finish_reason":"stop"} ],"usage":{"prompt_tokens":2,"completion_tokens":4,"total_tokens":6}}"#;
    let decoded = native().decode(&given, answer.as_bytes()).expect("decodes");
    assert_eq!(decoded.body.get(), answer.replace("davinci-002", "chat"));
    assert_eq!((decoded.finish_reason.as_deref(), decoded.output_chars), (Some("length"), 4));
    let usage = decoded.usage.expect("usage");
    assert_eq!((usage.tokens.input, usage.tokens.output), (2, 4));
    for nonsense in ["{}", "[]", r#"{"choices":"x"}"#] {
        assert!(native().decode(&given, nonsense.as_bytes()).is_err(), "{nonsense}");
    }
}

#[test]
fn azure_has_it_beside_its_chat() {
    let given = Fields::parse(r#"{"prompt":"a"}"#).expect("an object");
    let path = |version: Option<&str>| {
        let base_url = Some("https://x.test".to_owned());
        let api_version = version.map(str::to_owned);
        let azure = Provider { base_url, api_version, ..Provider::of(ProviderKind::Azure) };
        let wire = kind(&azure).expect("supported").speaks(ApiType::Completions).expect("its own API");
        wire.encode(&Asked { upstream_model: "an old one", ..Asked::of(&given) }).expect("expressible").path
    };
    assert_eq!(path(None), "/openai/v1/completions");
    let dated = "/openai/deployments/an%20old%20one/completions?api-version=2024-10-21";
    assert_eq!(path(Some("2024-10-21")), dated);
}

#[test]
fn a_native_stream_passes_through_and_is_kept() {
    let chunk = |index: u64, text: &str, finish: Value| {
        let logprobs = json!({ "tokens": [text], "token_logprobs": [-0.5], "text_offset": [1] });
        json!({ "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "davinci-002",
            "choices": [{ "text": text, "index": index, "logprobs": logprobs, "finish_reason": finish }] })
    };
    let usage = json!({ "prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6 });
    let counts = json!({ "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "davinci-002",
        "choices": [], "usage": usage });
    let chunks = [
        chunk(0, "one", Value::Null),
        chunk(1, "zwei", Value::Null),
        chunk(0, " two", json!("stop")),
        chunk(1, "", json!("length")),
        counts,
    ];
    let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let text = format!("{text}data: [DONE]\n\n");
    for wants_usage in [false, true] {
        let request = json!({ "prompt": ["a", "b"], "stream_options": { "include_usage": wants_usage } });
        let request = fields(&request);
        let given = Asked { stream: true, ..Asked::of(&request) };
        let sent = document(&native().encode(&given).expect("expressible").body);
        assert_eq!((&sent["stream"], &sent["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
        let (events, decoder) = decoded(&*native(), &given, text.as_bytes(), 7);
        assert_eq!(events.len(), if wants_usage { 5 } else { 4 });
        assert!(events.iter().all(|event| document(&event.data)["model"] == "chat"));
        let answer = decoder.answer();
        assert_eq!((answer.output_chars, answer.finish_reason.as_deref()), (11, Some("stop")));
        assert_eq!(answer.usage.as_ref().map(|usage| usage.tokens.output), Some(4));
        let whole = document(answer.body.get());
        assert_eq!((&whole["object"], &whole["model"]), (&json!("text_completion"), &json!("chat")));
        assert_eq!(whole["usage"], usage);
        let texts: Vec<(&Value, &Value)> = whole["choices"].as_array().expect("choices").iter().map(told).collect();
        assert_eq!(texts, [(&json!("one two"), &json!("stop")), (&json!("zwei"), &json!("length"))]);
        assert!(whole["choices"][0].get("message").is_none());
        assert_eq!(whole["choices"][0]["logprobs"]["tokens"], json!(["one", " two"]));
    }
}

fn told(choice: &Value) -> (&Value, &Value) {
    (&choice["text"], &choice["finish_reason"])
}

/// What a client of the API makes of events is what is kept.
#[test]
fn a_translated_stream_amounts_to_the_translated_answer() {
    for (name, kind) in kinds() {
        let (_, fixture) = fixtures(name).into_iter().find(|(name, _)| name == "stream").expect("stream");
        for wants_usage in [false, true] {
            let request = json!({ "prompt": "hi", "stream": true, "stream_options": { "include_usage": wants_usage } });
            let (request, text) = (fields(&request), stream_bytes(name, &kind));
            let asked = asked(&request, &fixture);
            let wire = crate::dialects::over(ApiType::Completions, &kind.wire).expect("a dialect");
            let (events, decoder) = decoded(&*wire, &asked, &text, 7);
            assert!(events.iter().all(|event| event.event.is_none()), "{name}");
            let native = native();
            let mut client = native.decoder(&asked);
            for StreamEvent { event, data } in events {
                assert_eq!(document(&data).get("usage").is_some(), wants_usage, "{name}: {data}");
                client.frame(&Frame { event, data }).expect("a chunk");
            }
            assert!(client.is_complete(), "{name}");
            let (mut kept, mut seen) = (body(decoder), body(client));
            assert!(kept["choices"][0]["text"].as_str().is_some_and(|text| text.contains("été")), "{name}: {kept}");
            assert!(kept["usage"]["total_tokens"].is_u64(), "{name}");
            if !wants_usage {
                (kept["usage"], seen["usage"]) = (Value::Null, Value::Null);
            }
            assert_eq!(seen, kept, "{name}");
        }
    }
}

#[test]
fn a_prompt_becomes_a_chat_and_its_answer_a_text() {
    let request = fields(&json!({
        "model": "chat", "prompt": ["Say this is a test"], "max_tokens": 7, "temperature": 0, "n": 2, "stop": ["\n"],
        "echo": false, "best_of": 1, "suffix": "", "user": "u", "logit_bias": { "50256": -100 },
    }));
    let encoded = over("openai").encode(&Asked::of(&request)).expect("expressible");
    let expected = json!({
        "model": "up", "messages": [{ "role": "user", "content": "Say this is a test" }], "max_completion_tokens": 7,
        "temperature": 0, "n": 2, "stop": ["\n"], "user": "u", "logit_bias": { "50256": -100 },
    });
    assert_eq!(document(&encoded.body), expected);
    let plain = fields(&json!({ "prompt": "hi" }));
    let sent = |kind: &str| document(&over(kind).encode(&Asked::of(&plain)).expect("expressible").body);
    assert_eq!((&sent("openai")["max_completion_tokens"], &sent("anthropic")["max_tokens"]), (&json!(16), &json!(16)));
    let choice = |index: u64, message: Value, finish: &str| json!({ "index": index, "message": message, "finish_reason": finish });
    let chat = json!({ "id": "c", "object": "chat.completion", "created": 5, "model": "up-1", "service_tier": "default",
        "choices": [
            choice(0, json!({ "role": "assistant", "content": "This", "reasoning_content": "hm" }), "length"),
            choice(1, json!({ "role": "assistant", "content": null, "refusal": "No." }), "tool_calls"),
        ],
        "usage": { "prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6 } });
    let answer = over("openai").decode(&Asked::of(&request), chat.to_string().as_bytes()).expect("decodes");
    let expected = json!({ "id": "c", "object": "text_completion", "created": 5, "model": "chat",
        "choices": [
            { "text": "This", "index": 0, "logprobs": null, "finish_reason": "length" },
            { "text": "No.", "index": 1, "logprobs": null, "finish_reason": "stop" },
        ],
        "usage": chat["usage"] });
    assert_eq!(document(answer.body.get()), expected);
    assert_eq!((answer.response_model.as_deref(), answer.service_tier.as_deref()), (Some("up-1"), Some("default")));
}

#[test]
fn what_a_chat_cannot_say_is_named() {
    let with = |name: &str, value: Value| json!({ "prompt": "hi", name: value });
    let param = |kind: &str, given: &Value| {
        let given = fields(given);
        over(kind).encode(&Asked::of(&given)).err().and_then(|failure| failure.param)
    };
    for (given, name) in [
        (json!({}), "prompt"),
        (json!({ "prompt": ["a", "b"] }), "prompt"),
        (json!({ "prompt": [1, 2] }), "prompt"),
        (json!({ "prompt": [[1], [2]] }), "prompt"),
        (json!({ "prompt": 7 }), "prompt"),
        (with("suffix", json!("s")), "suffix"),
        (with("echo", json!(true)), "echo"),
        (with("best_of", json!(2)), "best_of"),
        (with("logprobs", json!(0)), "logprobs"),
        (with("yet_unknown", json!(1)), "yet_unknown"),
        (with("stream_options", json!("x")), "stream_options"),
    ] {
        assert_eq!(param("openai", &given).as_deref(), Some(name), "{given}");
    }
    // What only the provider behind the chat cannot say.
    let twice = with("n", json!(2));
    assert_eq!((param("openai", &twice), param("anthropic", &twice).as_deref()), (None, Some("n")));
}
