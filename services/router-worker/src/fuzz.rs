//! What the fuzzers of `fuzz/` call, and what they found: any bytes as what a provider or a caller sends, and what must hold of
//! what comes of it.
//!
//! Panics are how a fuzzer is told. Not compiled into the product.

use crate::{
    failure::Failure,
    providers::{Answer, Asked, Fields, Frame, Framing, Kind, Parser, Unframed, Wire, eventstream, kind},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tollgate_runtime::config::{Provider, ProviderKind};
use tollgate_schemas::{ApiType, StreamEvent};

/// A stream's frames are the same however its bytes are split: whole, in pieces of `piece` bytes, and byte by byte.
pub fn sse(stream: &[u8], piece: usize) {
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(whole, frames(stream, piece.max(1)), "in pieces of {piece}");
    assert_eq!(whole, frames(stream, 1), "byte by byte");
    let bytes: usize = whole.iter().map(|frame| frame.data.len() + frame.event.as_ref().map_or(0, String::len)).sum();
    // A byte that is not UTF-8 becomes a replacement character of three.
    assert!(bytes <= 3 * stream.len(), "frames hold no more than came");
}

/// The messages of a binary event stream, and what ends them, are the same however its bytes are split. `stream` as it is, and as
/// one whole message whose checksums fit: the headers are as many bytes as `piece` says.
pub fn event_stream(stream: &[u8], piece: usize) {
    let (headers, payload) = stream.split_at(piece.min(stream.len()));
    for bytes in [stream, &eventstream::sealed(headers, payload)] {
        let whole = messages(bytes, bytes.len().max(1));
        assert_eq!(whole, messages(bytes, piece.max(1)), "in pieces of {piece}");
        assert_eq!(whole, messages(bytes, 1), "byte by byte");
    }
}

fn messages(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<Unframed>) {
    let (mut parser, mut frames) = (Parser::new(Framing::EventStream), Vec::new());
    let broken = stream.chunks(piece).find_map(|part| parser.push(part, &mut frames).err());
    (frames, broken)
}

fn frames(stream: &[u8], piece: usize) -> Vec<Frame> {
    let (mut parser, mut frames) = (Parser::default(), Vec::new());
    for part in stream.chunks(piece) {
        parser.push(part, &mut frames).expect("below the bound");
    }
    frames
}

/// A stream of each kind of provider, whatever its framing: it ends, and what came of it is an answer.
pub fn stream(stream: &[u8]) {
    let frames = frames(stream, stream.len().max(1));
    each_kind(|wire, asked| {
        let mut decoder = wire.decoder(asked);
        for frame in &frames {
            match decoder.frame(frame) {
                Ok(decoded) => decoded.events.iter().for_each(|event| {
                    // OpenAI's end mark is the one event that is no document.
                    assert!(event.data == "[DONE]" || serde_json::from_str::<&RawValue>(&event.data).is_ok());
                }),
                Err(_) => break,
            }
            if decoder.is_done() {
                break;
            }
        }
        // Of a stream that was cut off, only what it used is read.
        let is_complete = decoder.is_complete();
        let answer = decoder.answer();
        if is_complete {
            check(&answer, asked);
        }
        let _ = answer.usage_or_estimate(asked);
    });
    for wire in named_wires() {
        for event in events_of(&*wire, &frames) {
            let document = serde_json::from_str::<Value>(&event.data).expect("a document");
            assert!(document["type"].is_null() || event.event.as_deref() == document["type"].as_str());
        }
    }
    for wire in unnamed_wires().into_iter().chain(google_wires()) {
        for event in events_of(&*wire, &frames) {
            // Raw, as below.
            assert!(event.event.is_none() && !event.data.contains('\n'));
            serde_json::from_str::<&RawValue>(&event.data).expect("a document");
        }
    }
}

/// What a caller sees of a stream, until it breaks.
fn events_of(wire: &dyn Wire, frames: &[Frame]) -> Vec<StreamEvent> {
    let chat = Fields::default();
    let (mut decoder, mut events) = (wire.decoder(&asked(&chat)), Vec::new());
    for frame in frames {
        let Ok(decoded) = decoder.frame(frame) else { break };
        events.extend(decoded.events);
    }
    events.extend(decoder.end());
    let _ = decoder.answer();
    events
}

/// A whole answer, and an error document, of each kind of provider.
pub fn answer(body: &[u8]) {
    for wire in named_wires().into_iter().chain(unnamed_wires()) {
        let chat = Fields::default();
        if let Ok(answer) = wire.decode(&asked(&chat), body) {
            let document = Fields::parse(answer.body.get()).expect("a document");
            assert_eq!(document.read::<String>("model").ok().flatten().as_deref(), Some("shown"));
        }
    }
    for wire in google_wires() {
        let chat = Fields::default();
        if let Ok(answer) = wire.decode(&asked(&chat), body) {
            let document: Value = serde_json::from_str(answer.body.get()).unwrap_or_default();
            assert!(document["modelVersion"].is_null() || document["modelVersion"] == "shown");
        }
    }
    each_kind(|wire, asked| {
        if let Ok(answer) = wire.decode(asked, body) {
            check(&answer, asked);
        }
        for status in [400, 429, 500] {
            let _: Failure = wire.classify(status, body);
        }
    });
}

/// A caller's body, translated for each kind of provider: an object, or a refusal.
pub fn request(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let Ok(chat) = Fields::parse(text) else { return };
    for stream in [false, true] {
        for kind in wires().chain(named_wires()).chain(unnamed_wires()).chain(google_wires()).chain(count_wires()) {
            if let Ok(encoded) = kind.encode(&Asked { stream, ..asked(&chat) }) {
                assert!(Fields::parse(&encoded.body).is_ok(), "an object");
            }
        }
    }
}

/// The caller's document is one, and its counts can be added up.
fn check(answer: &Answer, asked: &Asked<'_>) {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "choices")]
        _choices: Vec<Box<RawValue>>,
        model: String,
    }
    // Raw, because texts pass through as they came: half of a surrogate pair, written as an escape, is JSON's grammar.
    let document: Document = serde_json::from_str(answer.body.get()).expect("a document with choices");
    assert_eq!(document.model, asked.shown_model, "the caller sees the name that it asked for");
    let _ = answer.usage_or_estimate(asked);
}

/// Every kind by its name, each with what it cannot do without.
pub(crate) fn kinds() -> Vec<(&'static str, Kind)> {
    let kinds = [
        ProviderKind::Openai,
        ProviderKind::Anthropic,
        ProviderKind::Azure,
        ProviderKind::Bedrock,
        ProviderKind::Cohere,
        ProviderKind::Databricks,
        ProviderKind::Gemini,
        ProviderKind::Mistral,
        ProviderKind::Vertex,
    ];
    let some = |text: &str| Some(text.to_owned());
    let with = |k: ProviderKind| {
        let base_url = matches!(k, ProviderKind::Azure | ProviderKind::Databricks).then(|| "https://x.test".to_owned());
        let (project, location, region) = (some("a-project"), some("global"), some("us-east-1"));
        let provider = Provider { base_url, project, location, region, ..Provider::of(k) };
        (k.as_str(), kind(&provider).expect("a kind that is spoken"))
    };
    kinds.into_iter().map(with).collect()
}

fn wires() -> impl Iterator<Item = Arc<dyn Wire>> {
    kinds().into_iter().map(|(_, kind)| kind.wire)
}

/// For callers of APIs whose events have names: a provider's own, and translations.
fn named_wires() -> Vec<Arc<dyn Wire>> {
    wires_of(&[ApiType::Messages, ApiType::Responses])
}

/// The same for APIs whose events have none, or that have no stream; and every kind's embeddings.
fn unnamed_wires() -> Vec<Arc<dyn Wire>> {
    let embeddings = kinds().into_iter().filter_map(|(_, kind)| kind.speaks(ApiType::Embeddings));
    wires_of(&[ApiType::Completions, ApiType::Moderations]).into_iter().chain(embeddings).collect()
}

/// For callers of Google's API, whose events have no names either: its own, and translations.
fn google_wires() -> impl Iterator<Item = Arc<dyn Wire>> {
    kinds().into_iter().filter_map(|(_, kind)| kind.speaks(ApiType::GenerateContent))
}

fn wires_of(apis: &[ApiType]) -> Vec<Arc<dyn Wire>> {
    let kinds = [ProviderKind::Anthropic, ProviderKind::Openai, ProviderKind::Mistral];
    let spoken = kinds.map(|of| kind(&Provider::of(of)).expect("a kind that is spoken"));
    spoken.iter().flat_map(|kind| apis.iter().filter_map(move |api| kind.speaks(*api))).collect()
}

/// For callers who count tokens.
fn count_wires() -> impl Iterator<Item = Arc<dyn Wire>> {
    kinds().into_iter().filter_map(|(_, kind)| kind.speaks(ApiType::CountTokens))
}

fn each_kind(check: impl Fn(&dyn Wire, &Asked<'_>)) {
    let chat = Fields::parse(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}"#,
    );
    let chat = chat.expect("an object");
    wires().for_each(|wire| check(&*wire, &asked(&chat)));
}

fn asked(chat: &Fields) -> Asked<'_> {
    Asked { shown_model: "shown", stream: true, ..Asked::of(chat) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fixtures_hold_holds() {
        for text in [
            include_str!("../fixtures/openai/stream.txt"),
            include_str!("../fixtures/anthropic/stream.txt"),
            include_str!("../fixtures/azure/stream.txt"),
            include_str!("../fixtures/cohere/stream.txt"),
            include_str!("../fixtures/databricks/stream.txt"),
            include_str!("../fixtures/mistral/stream.txt"),
            include_str!("../fixtures/gemini/stream.txt"),
            include_str!("../fixtures/bedrock/stream.txt"),
            include_str!("../fixtures/responses/stream.txt"),
        ] {
            sse(text.as_bytes(), 7);
            stream(text.as_bytes());
            event_stream(text.as_bytes(), 7);
        }
        for text in [
            include_str!("../fixtures/openai/chat.json"),
            include_str!("../fixtures/anthropic/chat.json"),
            include_str!("../fixtures/azure/chat.json"),
            include_str!("../fixtures/cohere/chat.json"),
            include_str!("../fixtures/databricks/chat.json"),
            include_str!("../fixtures/mistral/chat.json"),
            include_str!("../fixtures/gemini/chat.json"),
            include_str!("../fixtures/bedrock/chat.json"),
            include_str!("../fixtures/responses/response.json"),
        ] {
            let fixture: Value = serde_json::from_str(text).expect("JSON");
            for part in fixture.as_object().expect("an object").values() {
                answer(part.to_string().as_bytes());
                request(part.to_string().as_bytes());
            }
        }
    }

    #[test]
    fn an_end_mark_alone_is_no_answer() {
        stream(b"data: [DONE]\n\n");
        each_kind(|wire, asked| {
            let mut decoder = wire.decoder(asked);
            let _ = decoder.frame(&Frame { event: None, data: "[DONE]".into() });
            assert!(!decoder.is_complete());
        });
    }
}
