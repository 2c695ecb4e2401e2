//! OpenAI's embeddings, spoken by OpenAI and by most servers of its format.
//!
//! Source: <https://platform.openai.com/docs/api-reference/embeddings>. Requests and answers pass through but for `model` and the
//! gateway's own field. There is no stream.

use super::{
    Answer, Asked, Assembler, Decoded, Encoded, Fields, Frame, Leaving, StreamDecoder, Wire,
    completions::{self, Quirks, usage},
    openai::OpenAi,
};
use crate::failure::Failure;
use serde::de::IgnoredAny;
use serde_json::value::to_raw_value;

/// The leaf, beside that for chats at the same server.
#[derive(Debug)]
pub(super) struct Embeddings(pub(super) OpenAi);

impl Wire for Embeddings {
    fn otel_name(&self) -> &'static str {
        self.0.otel_name()
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, Quirks::default())?;
        Ok(Encoded::new("/embeddings", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let mut fields = Fields::of_answer(body)?;
        if !matches!(fields.read::<Vec<IgnoredAny>>("data"), Ok(Some(_))) {
            return Err(Failure::malformed("an answer without embeddings"));
        }
        let response_model = fields.read("model").ok().flatten();
        fields.put("model", asked.shown_model);
        Ok(Answer {
            finish_reason: None,
            usage: fields.get("usage").and_then(usage),
            output_chars: 0,
            response_model,
            service_tier: None,
            body: to_raw_value(&fields).map_err(|_| Failure::malformed("an answer that is not JSON"))?,
        })
    }

    fn decoder(&self, _: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        self.0.classify(status, body)
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        self.0.headers(key, leaving)
    }

    fn request_id_header(&self) -> &'static str {
        self.0.request_id_header()
    }
}

/// The API has none, and admission lets none be asked for.
struct NoStream;

impl StreamDecoder for NoStream {
    fn frame(&mut self, _: &Frame) -> Result<Decoded, Failure> {
        Err(Failure::malformed("a stream of embeddings"))
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>) -> Answer {
        let body = super::raw(&Assembler::default().into_completion());
        Answer { body, finish_reason: None, usage: None, output_chars: 0, response_model: None, service_tier: None }
    }
}
