//! Two calls make the stream that one would have made, wherever it breaks; and each provider is asked in its own words.

use super::*;
use crate::providers::{Wire, anthropic::Anthropic, mistral::Mistral, openai::OpenAi};
use proptest::prelude::*;
use tollgate_runtime::config::Preset;

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}"#;
const PATH: &str = "/chat/completions";

fn fields(json: &str) -> Fields {
    Fields::parse(json).expect("an object")
}

fn begun(text: &str) -> Begun {
    let spent = Tokens { input: 7, output: 3, ..Tokens::default() };
    Begun { text: text.to_owned(), spent, id: "first".into(), created: 1.into(), answering: None }
}

/// A chunk of a server's stream.
fn chunk(id: &str, created: u64, choices: Value, usage: Value) -> Frame {
    let chunk = json!({
        "id": id, "object": "chat.completion.chunk", "created": created, "model": "m", "choices": choices,
        "usage": usage,
    });
    Frame { event: None, data: chunk.to_string() }
}

fn delta(delta: Value, finish: Value) -> Value {
    json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }])
}

/// A stream of `text` in pieces, up to the last of them, and what ends it.
fn stream(id: &str, created: u64, text: &str, piece: usize, input: u64) -> (Vec<Frame>, Vec<Frame>) {
    let letters: Vec<char> = text.chars().collect();
    let role = delta(json!({ "role": "assistant", "content": "" }), Value::Null);
    let mut begins = vec![chunk(id, created, role, Value::Null)];
    begins.extend(letters.chunks(piece).map(|letters| {
        let text: String = letters.iter().collect();
        chunk(id, created, delta(json!({ "content": text }), Value::Null), Value::Null)
    }));
    let usage = json!({ "prompt_tokens": input, "completion_tokens": 5, "total_tokens": input + 5 });
    let ends = vec![
        chunk(id, created, delta(json!({}), "stop".into()), Value::Null),
        chunk(id, created, json!([]), usage),
        Frame { event: None, data: "[DONE]".to_owned() },
    ];
    (begins, ends)
}

fn decode(decoder: &mut dyn StreamDecoder, frames: &[Frame]) -> Vec<Value> {
    let events = frames.iter().flat_map(|frame| decoder.frame(frame).expect("decodes").events);
    events.map(|event| serde_json::from_str(&event.data).expect("JSON")).collect()
}

fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

proptest! {
    #[test]
    fn a_joined_stream_is_the_unbroken_one(
        text in "[ab é\n😀]{0,12}[ab][ab é\n😀]{0,24}",
        cut in any::<prop::sample::Index>(),
        piece in 1usize..6,
        kind in 0usize..3,
        repeats in any::<bool>(),
    ) {
        let continuation = [Continuation::Rest, Continuation::PerhapsAll, Continuation::Trimmed][kind];
        let letters: Vec<char> = text.chars().collect();
        let at = cut.index(letters.len() + 1);
        let (beginning, rest): (String, String) = (letters[..at].iter().collect(), letters[at..].iter().collect());
        prop_assume!(!beginning.trim().is_empty());
        let space = &beginning[beginning.trim_end().len()..];
        let sent = match continuation {
            Continuation::PerhapsAll if repeats => format!("{beginning}{rest}"),
            Continuation::Trimmed if repeats => format!("{space}{rest}"),
            // What is new and what is repeated cannot be told apart if they look the same.
            Continuation::PerhapsAll => {
                prop_assume!(!rest.starts_with(&beginning));
                rest.clone()
            }
            Continuation::Trimmed => {
                prop_assume!(rest.chars().next().is_none_or(|first| !space.starts_with(first)));
                rest.clone()
            }
            Continuation::Rest => rest.clone(),
        };
        let (chat, wire) = (fields(CHAT), OpenAi::new(None));
        let asked = Asked { stream: true, ..Asked::of(&chat) };

        let mut decoder = wire.decoder(&asked);
        let mut joined = decode(&mut *decoder, &stream("first", 1, &beginning, piece, 9).0);
        let (_, begun) = decoder.broken();
        let begun = Begun { spent: Tokens { input: 7, output: 3, ..Tokens::default() }, ..begun.expect("plain text") };
        prop_assert_eq!(&begun.text, &beginning);
        let mut decoder: Box<dyn StreamDecoder> = Box::new(Joined::new(wire.decoder(&asked), continuation, &begun));
        let (begins, ends) = stream("second", 2, &sent, piece, 20);
        let mut frames = begins;
        frames.extend(ends);
        joined.extend(decode(&mut *decoder, &frames));
        prop_assert!(decoder.is_complete() && decoder.is_done());
        let answer = decoder.answer();

        let mut decoder = wire.decoder(&asked);
        let mut frames = stream("first", 1, &beginning, piece, 9).0;
        frames.extend(stream("first", 1, &rest, piece, 9).0.into_iter().skip(1));
        frames.extend(stream("first", 1, "", piece, 27).1);
        let mut unbroken = decode(&mut *decoder, &frames);
        let last = unbroken.last_mut().expect("usage");
        last["usage"] = json!({ "prompt_tokens": 27, "completion_tokens": 8, "total_tokens": 35 });
        let whole = decoder.answer();

        prop_assert_eq!(text_of(&joined), text);
        // Where a piece is half new it is another piece; the events are the same all the same if nothing comes twice.
        if sent == rest && continuation != Continuation::PerhapsAll {
            prop_assert_eq!(&joined, &unbroken);
        }
        prop_assert_eq!(joined.last(), unbroken.last());
        prop_assert_eq!(joined.iter().filter(|event| event["choices"][0]["delta"].get("role").is_some()).count(), 1);
        prop_assert_eq!(joined.iter().filter(|event| event["choices"][0]["finish_reason"] == "stop").count(), 1);
        prop_assert!(joined.iter().all(|event| event["id"] == "first" && event["created"] == 1));
        let (mut one, mut other): (Value, Value) = (
            serde_json::from_str(answer.body.get()).expect("JSON"),
            serde_json::from_str(whole.body.get()).expect("JSON"),
        );
        prop_assert_eq!(&one["usage"], &json!({ "prompt_tokens": 27, "completion_tokens": 8, "total_tokens": 35 }));
        (one["usage"], other["usage"]) = (Value::Null, Value::Null);
        prop_assert_eq!(one, other);
        prop_assert_eq!(answer.usage.expect("counted").tokens.input, 20, "of this call alone");
    }
}

#[test]
fn what_only_looks_like_the_beginning_is_shown_at_the_end() {
    let (chat, wire, begun) = (fields(CHAT), OpenAi::new(None), begun("abc"));
    let mut decoder: Box<dyn StreamDecoder> =
        Box::new(Joined::new(wire.decoder(&Asked::of(&chat)), Continuation::PerhapsAll, &begun));
    let (begins, ends) = stream("second", 2, "ab", 1, 1);
    assert_eq!(text_of(&decode(&mut *decoder, &begins)), "", "it may come again");
    assert_eq!(text_of(&decode(&mut *decoder, &ends)), "ab");
    assert_eq!(Begun::of(&decoder.answer()).map(|begun| begun.text), None, "it has ended");
}

#[test]
fn only_plain_text_goes_on() {
    let answer = |choices: Value| Answer {
        body: raw(&json!({ "id": "1", "created": 1, "choices": choices })),
        finish_reason: None,
        usage: None,
        output_chars: 0,
        response_model: None,
        service_tier: None,
    };
    let choice = |message: Value| json!([{ "index": 0, "message": message, "finish_reason": null, "logprobs": null }]);
    let plain = choice(json!({ "role": "assistant", "content": "a", "refusal": null, "annotations": [] }));
    assert_eq!(Begun::of(&answer(plain.clone())).expect("plain").text, "a");
    let mut ended = plain.clone();
    ended[0]["finish_reason"] = "stop".into();
    let mut probable = plain.clone();
    probable[0]["logprobs"] = json!({ "content": [] });
    for choices in [
        ended,
        probable,
        json!([plain[0], plain[0]]),
        json!([]),
        choice(json!({ "role": "assistant", "content": null })),
        choice(json!({ "role": "assistant", "content": " \n" })),
        choice(json!({ "role": "assistant", "content": "a".repeat(TEXT_MAX_BYTES + 1) })),
        choice(json!({ "role": "assistant", "content": "a", "tool_calls": [{ "id": "1" }] })),
        choice(json!({ "role": "assistant", "content": "a", "reasoning_content": "b" })),
    ] {
        assert!(Begun::of(&answer(choices.clone())).is_none(), "{choices}");
    }
}

#[test]
fn each_provider_is_asked_in_its_own_words() {
    let chat = fields(r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":100}"#);
    let begun = begun("One, two \n");
    let asked = Asked { upstream_model: "claude-haiku-4-5", begun: Some(&begun), ..Asked::of(&chat) };
    let preset = |name: &str| OpenAi::new(Preset::named(name));
    let sent = |wire: &dyn Wire| {
        let encoded = wire.encode(&asked).expect("expressible");
        let body: Value = serde_json::from_str(&encoded.body).expect("JSON");
        (encoded.path, body["messages"][1].clone(), body)
    };
    let (path, message, body) = sent(&preset("vllm"));
    assert_eq!((path.as_str(), &message["content"], message.get("prefix")), (PATH, &json!("One, two \n"), None));
    assert_eq!((&body["continue_final_message"], &body["add_generation_prompt"]), (&json!(true), &json!(false)));
    // Two tokens, by the gateway's estimate, have been said.
    assert_eq!(body["max_tokens"], 98);
    let marked = json!({ "role": "assistant", "content": "One, two \n", "prefix": true });
    let (path, message, body) = sent(&preset("deepseek"));
    assert_eq!((path.as_str(), &message), ("/beta/chat/completions", &marked));
    assert!(body.get("continue_final_message").is_none());
    let (path, message, _) = sent(&Mistral);
    assert_eq!((path.as_str(), &message), (PATH, &marked));
    let (_, message, _) = sent(&Anthropic);
    assert_eq!(message, json!({ "role": "assistant", "content": [{ "type": "text", "text": "One, two" }] }));
}

#[test]
fn what_cannot_go_on_is_refused_with_a_field_that_is_never_dropped() {
    let begun = begun("One");
    let user = json!({ "role": "user", "content": "hi" });
    let refused = |wire: &dyn Wire, more: Value| {
        let mut chat = json!({ "messages": [user] });
        for (name, value) in more.as_object().expect("an object") {
            chat[name.as_str()] = value.clone();
        }
        let chat = fields(&chat.to_string());
        let failure = wire.encode(&Asked { begun: Some(&begun), ..Asked::of(&chat) }).err();
        failure.map(|failure| failure.param.expect("a field"))
    };
    let vllm = OpenAi::new(Preset::named("vllm"));
    for more in [
        json!({ "n": 2 }),
        json!({ "logprobs": true }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "guided_choice": ["a"] }),
        json!({ "messages": [user, { "role": "assistant", "content": "O" }] }),
        json!({ "messages": [] }),
    ] {
        assert_eq!(refused(&vllm, more.clone()).as_deref(), Some("messages"), "{more}");
    }
    for more in [json!({ "n": 1, "response_format": { "type": "text" } }), json!({ "tools": [] })] {
        assert_eq!(refused(&vllm, more), None);
    }
    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } });
    assert_eq!(refused(&Anthropic, thinking).as_deref(), Some("messages"));
    assert_eq!(refused(&Anthropic, json!({ "thinking": { "type": "disabled" } })), None);
}
