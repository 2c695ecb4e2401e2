//! GenerateContentResponses as chat completion chunks: those of a stream as they come, and a whole answer as the only one.
//!
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>. Each event is a response with the
//! next parts of each candidate; counts are cumulative; there is no end mark, so that a stream is over when every candidate has a
//! finish reason and the counts have come.

use super::{
    super::{
        Answer, Asked, Decoded, Frame, StreamDecoder, answers,
        chunks::{self, Chunks},
    },
    errors,
    response::{Piece, block, extra_content, finish, id_stem, logprobs, openai_tier, tier, usage},
};
use crate::{failure::Failure, tokens::estimate};
use serde_json::{Map, Value, json};
use tollgate_schemas::TokenSource;

/// Most candidates of an answer: as many as OpenAI allows choices.
pub(super) const CANDIDATES_MAX: usize = 128;

/// A whole answer.
pub(super) fn whole(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let mut document = answers::document(body)?;
    let candidates = document.get_mut("candidates").and_then(Value::as_array_mut);
    for candidate in candidates.into_iter().flatten().filter_map(Value::as_object_mut) {
        candidate.entry("finishReason").or_insert_with(|| "STOP".into());
    }
    let mut decoder = Decoder::new(asked);
    decoder.response(&document)?;
    if decoder.candidates.is_empty() {
        return Err(Failure::malformed("an answer without candidates"));
    }
    Ok(Box::new(decoder).answer())
}

/// The state between two events.
pub(super) struct Decoder {
    chunks: Chunks,
    created: i64,
    /// Candidates that were asked for.
    expected: usize,
    /// The tier that was asked for, if it has a price of its own: the Gemini API names in its documents none that served.
    asked_tier: Option<String>,
    response_model: Option<String>,
    usage: Map<String, Value>,
    candidates: Vec<Candidate>,
    done: bool,
}

/// What is known of a candidate.
#[derive(Default)]
struct Candidate {
    index: u64,
    calls: usize,
    signature: Option<String>,
    begun: bool,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        let tier = asked.chat.read::<String>("service_tier").ok().flatten();
        let expected = asked.chat.read::<usize>("n").ok().flatten().unwrap_or(1);
        Self {
            chunks: Chunks::new(asked, Value::Null),
            created: asked.created,
            expected: expected.clamp(1, CANDIDATES_MAX),
            asked_tier: tier.filter(|tier| matches!(tier.as_str(), "flex" | "priority")),
            response_model: None,
            usage: Map::new(),
            candidates: Vec::new(),
            done: false,
        }
    }

    /// Takes one response.
    fn response(&mut self, response: &Value) -> Result<Decoded, Failure> {
        self.learn(response);
        let mut choices = Vec::new();
        for (position, candidate) in response["candidates"].as_array().into_iter().flatten().enumerate() {
            choices.push(self.candidate(position, candidate)?);
        }
        if choices.is_empty()
            && self.candidates.is_empty()
            && let Some(refusal) = block(&response["promptFeedback"])
        {
            self.candidates.push(Candidate { begun: true, ..Candidate::default() });
            self.expected = 1;
            let delta = json!({ "role": "assistant", "content": null, "refusal": refusal });
            choices.push(json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": "content_filter" }));
        }
        let decoded = if choices.is_empty() { Decoded::default() } else { self.chunks.choices(choices) };
        let mut decoded = self.chunks.bounded(decoded)?;
        let finished = self.chunks.all_finished() && self.candidates.len() >= self.expected;
        if finished && let Some(usage) = response.get("usageMetadata").and_then(|_| usage(&self.usage)) {
            self.done = true;
            decoded.events.extend(self.chunks.usage(Some(answers::counts(&usage))));
        }
        Ok(decoded)
    }

    /// Takes what describes the whole answer. Later counts replace earlier ones.
    fn learn(&mut self, response: &Value) {
        if self.chunks.id.is_null() {
            self.chunks.id = response["responseId"].clone();
        }
        if let Some(version) = response["modelVersion"].as_str() {
            self.response_model = Some(version.to_owned());
        }
        for (name, value) in response["usageMetadata"].as_object().into_iter().flatten() {
            self.usage.insert(name.clone(), value.clone());
        }
    }

    /// A candidate's next parts as a choice.
    fn candidate(&mut self, position: usize, candidate: &Value) -> Result<Value, Failure> {
        let index = candidate["index"].as_u64().unwrap_or(position as u64);
        let at = self.candidates.iter().position(|known| known.index == index).unwrap_or_else(|| {
            self.candidates.push(Candidate { index, ..Candidate::default() });
            self.candidates.len() - 1
        });
        if self.candidates.len() > CANDIDATES_MAX {
            return Err(Failure::malformed("an answer with too many candidates"));
        }
        let id = format!("{}_{index}", id_stem(&self.chunks.id, self.created));
        let known = &mut self.candidates[at];
        let piece = Piece::read(&candidate["content"]["parts"], known.calls, &id)?;
        known.calls += piece.calls.len();
        known.signature = piece.signature.or(known.signature.take());
        let mut delta = Map::new();
        if !std::mem::replace(&mut known.begun, true) {
            delta.insert("role".into(), "assistant".into());
            delta.insert("refusal".into(), Value::Null);
        }
        if !piece.reasoning.is_empty() {
            delta.insert("reasoning_content".into(), piece.reasoning.into());
        }
        if !piece.text.is_empty() {
            delta.insert("content".into(), piece.text.into());
        }
        if !piece.calls.is_empty() {
            delta.insert("tool_calls".into(), piece.calls.into());
        }
        let finish = finish(candidate, known.calls > 0);
        // Told once and at the end, because texts of several deltas are put together.
        if finish.is_some()
            && let Some(signature) = known.signature.take()
        {
            delta.insert("extra_content".into(), extra_content(&signature));
        }
        if let Some((_, Some(refusal))) = &finish {
            delta.insert("refusal".into(), refusal.as_str().into());
        }
        let logprobs = logprobs(&candidate["logprobsResult"]);
        let reason = finish.map(|(reason, _)| reason);
        Ok(json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason }))
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let response = chunks::document(frame)?;
        if let Some(error) = response.get("error") {
            return Err(errors::in_stream(error));
        }
        self.response(&response)
    }

    fn is_complete(&self) -> bool {
        self.chunks.all_finished()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn answer(self: Box<Self>) -> Answer {
        let is_complete = self.is_complete();
        let mut usage = usage(&self.usage);
        if let Some(usage) = usage.as_mut().filter(|_| !is_complete) {
            // The counts lag behind: the input is known, the output is estimated.
            usage.tokens.output = usage.tokens.output.max(estimate(self.chunks.chars()));
            usage.source = TokenSource::Estimated;
        }
        let service_tier = tier(&self.usage).or(self.asked_tier);
        let shown_tier = service_tier.as_deref().map_or(Value::Null, |tier| openai_tier(tier).into());
        let shown = usage.as_ref().map(answers::counts);
        let answer = self.chunks.answer(usage, shown, Some(shown_tier));
        Answer { response_model: self.response_model, service_tier, ..answer }
    }
}
