//! OpenAI's text completions, the API before chat, spoken by OpenAI and by most servers of its format.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>. Requests and answers pass through like those of a chat, of
//! whose format this is the older form: a choice has a `text` and no message.

use super::{
    Answer, Asked, Encoded, StreamDecoder,
    beside::Side,
    completions::{self, Quirks},
};
use crate::failure::Failure;

/// The side for servers of the format.
#[derive(Debug)]
pub(super) struct TextCompletions(pub(super) Quirks);

impl Side for TextCompletions {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        Ok(Encoded::new("/completions", completions::encode(asked, self.0)?.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(completions::Decoder::of_texts(asked, self.0))
    }
}
