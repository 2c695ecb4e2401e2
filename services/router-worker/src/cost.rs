//! What `examples/translation.rs` measures: a typical request on its way to a kind of provider, and the answer on its way back.
//!
//! Pure, like the leaves and dialects that it calls: the clock is the example's. Panics where a document does not fit. Not
//! compiled into the product.

mod documents;

use crate::{
    dialects, fuzz,
    providers::{Answer, Asked, Fields, Kind, Parser, Wire},
};
use documents::Said;
use std::sync::Arc;
use tollgate_schemas::{ApiType, StreamEvent};

/// Chunks of a streamed answer: a token each.
pub const CHUNKS: usize = 300;

/// From what a caller speaks to what a provider speaks, and back.
pub struct Way {
    /// The caller's API.
    pub caller: &'static str,
    /// The kind of provider.
    pub provider: &'static str,
    wire: Arc<dyn Wire>,
    body: String,
    fields: Fields,
    said: Said,
}

/// Chat completions to each kind of provider; the other APIs over chat completions to OpenAI, and to a provider that speaks them.
/// The first is passed on as it is: what the others are compared with.
pub fn ways() -> Vec<Way> {
    let kinds = fuzz::kinds();
    let chat = |(name, kind): &(&'static str, Kind)| {
        Way::new(("chat", *name), kind.wire.clone(), documents::chat(), documents::said_by(name))
    };
    let mut ways = kinds.iter().map(chat).collect::<Vec<_>>();
    let over = |api| dialects::over(api, &of(&kinds, "openai").wire).expect("a dialect");
    let own = |name: &str, api| of(&kinds, name).speaks(api).expect("its own API");
    let (messages, responses) = (documents::messages(), documents::responses());
    let wire = over(ApiType::Messages);
    ways.push(Way::new(("Messages", "openai"), wire, messages.clone(), documents::openai()));
    let wire = own("anthropic", ApiType::Messages);
    ways.push(Way::new(("Messages", "anthropic (unchanged)"), wire, messages, documents::anthropic()));
    let wire = over(ApiType::Responses);
    let translated = Way::new(("Responses", "openai"), wire, responses.clone(), documents::openai());
    // What comes of it is a response, as one who speaks the API itself would say it.
    let response = translated.given();
    ways.push(translated);
    let wire = own("openai", ApiType::Responses);
    ways.push(Way::new(("Responses", "openai (unchanged)"), wire, responses, response));
    ways
}

fn of<'a>(kinds: &'a [(&'static str, Kind)], name: &str) -> &'a Kind {
    &kinds.iter().find(|(known, _)| *known == name).expect("a kind").1
}

impl Way {
    fn new(
        (caller, provider): (&'static str, &'static str),
        wire: Arc<dyn Wire>,
        body: serde_json::Value,
        said: Said,
    ) -> Self {
        let body = body.to_string();
        let fields = Fields::parse(&body).expect("an object");
        Self { caller, provider, wire, body, fields, said }
    }

    /// From the caller's bytes to the provider's; how many these are.
    pub fn encode(&self, stream: bool) -> usize {
        let body = Fields::parse(&self.body).expect("an object");
        self.wire.encode(&Asked { stream, ..Asked::of(&body) }).expect("expressible").body.len()
    }

    /// From the provider's whole answer to the caller's; how many bytes this is.
    pub fn decode(&self) -> usize {
        self.answer().body.get().len()
    }

    /// From a provider's stream to the caller's events and the whole answer; how many bytes these are.
    pub fn decode_stream(&self) -> usize {
        let (events, answer) = self.stream();
        events.iter().map(|event| event.data.len()).sum::<usize>() + answer.body.get().len()
    }

    fn answer(&self) -> Answer {
        self.wire.decode(&Asked::of(&self.fields), &self.said.whole).expect("decodes")
    }

    /// As the bytes come: a chunk at a time.
    fn stream(&self) -> (Vec<StreamEvent>, Answer) {
        let mut decoder = self.wire.decoder(&Asked { stream: true, ..Asked::of(&self.fields) });
        let (mut parser, mut frames, mut events) = (Parser::new(self.wire.framing()), Vec::new(), Vec::new());
        for piece in &self.said.stream {
            parser.push(piece, &mut frames).expect("small");
            for frame in frames.drain(..) {
                events.extend(decoder.frame(&frame).expect("decodes").events);
            }
        }
        assert!(decoder.is_complete(), "the stream has its end");
        events.extend(decoder.end());
        (events, decoder.answer())
    }

    /// What the caller is given.
    fn given(&self) -> Said {
        let (events, _) = self.stream();
        let stream = events.iter().map(|event| documents::sse(event.event.as_deref(), &event.data));
        Said { whole: self.answer().body.get().as_bytes().to_vec(), stream: stream.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_carries_all_of_the_text() {
        let text = documents::text();
        let mut seen = 0;
        for way in ways() {
            let name = format!("{} to {}", way.caller, way.provider);
            for stream in [false, true] {
                assert!(way.encode(stream) > documents::PROMPT_BYTES, "{name}: request");
            }
            assert!(way.answer().body.get().contains(&text), "{name}: whole");
            let (events, answer) = way.stream();
            assert!(events.len() >= CHUNKS, "{name}: {} events", events.len());
            assert!(answer.body.get().contains(&text), "{name}: streamed");
            assert!(way.decode() > text.len() && way.decode_stream() > 2 * text.len(), "{name}: bytes");
            seen += 1;
        }
        assert_eq!(seen, fuzz::kinds().len() + 4);
    }
}
