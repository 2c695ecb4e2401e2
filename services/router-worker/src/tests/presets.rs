//! Servers of OpenAI's format that the configuration knows by name.

use crate::providers::{Asked, Fields, Frame, kind};
use serde_json::{Value, json};
use tollgate_runtime::config::{PRESETS, Provider, ProviderKind};

const PRICES: &str = include_str!("../../../../crates/admission/data/model_prices.csv");
/// Whose models the built-in list does not price: what is local, and one that lists no prices.
const UNPRICED: [&str; 6] = ["vllm", "ollama", "llama_cpp", "lm_studio", "tgi", "nvidia"];

fn named(preset: &str) -> Provider {
    Provider { preset: Some(preset.to_owned()), ..Provider::of(ProviderKind::Openai) }
}

fn asked<'a>(chat: &'a Fields, stream: bool) -> Asked<'a> {
    Asked { upstream_model: "m", stream, ..Asked::of(chat) }
}

#[test]
fn each_has_an_address_and_a_price_list() {
    for preset in PRESETS {
        let kind = kind(&named(preset.name)).expect("supported");
        assert_eq!((kind.base_url.as_deref(), kind.price_name), (Some(preset.base_url), preset.price_name));
        let is_listed = PRICES.lines().any(|line| line.split(',').next() == Some(preset.price_name));
        assert_eq!(is_listed, !UNPRICED.contains(&preset.name), "{}", preset.name);
    }
    let elsewhere = Provider { base_url: Some("http://gpu:9000/v1/".into()), ..named("vllm") };
    assert_eq!(kind(&elsewhere).expect("supported").base_url.as_deref(), Some("http://gpu:9000/v1"));
}

#[test]
fn the_maximum_has_the_name_that_the_server_knows() {
    let chat = Fields::parse(r#"{"max_tokens":1,"messages":[],"max_completion_tokens":64}"#).expect("object");
    let sent = |preset: &str| {
        let encoded = kind(&named(preset)).expect("supported").wire.encode(&asked(&chat, false)).expect("expressible");
        let body: Value = serde_json::from_str(&encoded.body).expect("json");
        (body["max_tokens"].clone(), body["max_completion_tokens"].clone())
    };
    assert_eq!(sent("ollama"), (json!(64), Value::Null));
    assert_eq!(sent("groq"), (json!(1), json!(64)));
}

#[test]
fn usage_that_comes_unasked_is_counted_and_shown_once_at_the_end() {
    let wire = kind(&named("perplexity")).expect("supported").wire;
    for wants in [true, false] {
        let chat = json!({ "messages": [], "stream": true, "stream_options": { "include_usage": wants } }).to_string();
        let chat = Fields::parse(&chat).expect("object");
        let asked = asked(&chat, true);
        assert!(!wire.encode(&asked).expect("expressible").body.contains("stream_options"));
        let mut decoder = wire.decoder(&asked);
        let mut events = Vec::new();
        for (tokens, finish) in [(1, Value::Null), (2, json!("stop"))] {
            let choices = json!([{ "index": 0, "delta": { "content": "a" }, "finish_reason": finish }]);
            let usage = json!({ "prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens });
            let data = json!({ "id": "x", "object": "chat.completion.chunk", "choices": choices, "usage": usage });
            let frame = Frame { event: None, data: data.to_string() };
            events.extend(decoder.frame(&frame).expect("decodes").events);
        }
        events.extend(decoder.frame(&Frame { event: None, data: "[DONE]".into() }).expect("decodes").events);
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.data).expect("json")).collect();
        let shown: Vec<&Value> = events.iter().filter(|event| event["usage"].is_object()).collect();
        assert_eq!((events.len(), shown.len()), if wants { (3, 1) } else { (2, 0) });
        assert!(shown.iter().all(|event| event["choices"] == json!([]) && event["usage"]["completion_tokens"] == 2));
        assert_eq!(decoder.answer().usage.expect("usage").tokens.output, 2);
    }
}

#[test]
fn the_configuration_knows_who_goes_on_with_an_answer() {
    use ProviderKind::{Anthropic, Azure, Bedrock, Cohere, Databricks, Gemini, Mistral, Mock, Openai, Vertex};
    let some = |text: &str| Some(text.to_owned());
    let of = |kind: ProviderKind| {
        let base_url = matches!(kind, Azure | Databricks).then(|| "https://x.test".to_owned());
        let (project, location, region) = (some("a-project"), some("global"), some("us-east-1"));
        Provider { base_url, project, location, region, ..Provider::of(kind) }
    };
    let kinds = [Anthropic, Azure, Bedrock, Cohere, Databricks, Gemini, Mistral, Mock, Openai, Vertex].map(of);
    let presets = PRESETS.iter().map(|preset| named(preset.name));
    for provider in kinds.into_iter().chain(presets) {
        let wire = kind(&provider).expect("supported").wire;
        assert_eq!(wire.continues("claude-haiku-4-5").is_some(), provider.may_continue(), "{provider:?}");
    }
}
