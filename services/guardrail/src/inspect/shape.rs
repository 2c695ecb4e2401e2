//! Whose API's an answer is, and what of it is beside the point.

use super::fields::OF_THE_API;
use super::held::Fields;

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A completion's `choices`.
    Choices,
    /// Anthropic's message.
    Message,
    /// A response's `output`.
    Response,
    /// A moderation's.
    Results,
    /// Google's.
    Candidates,
    /// Embeddings.
    List,
}

/// What ended a message, and where its tools run. One of the caller's own `stop_sequences` may be among it.
const OF_MESSAGES: &[&str] = &["type", "role", "stop_reason", "stop_sequence", "container"];
/// How far a response has come, and what its request had, which comes back as it was.
const OF_RESPONSES: &[&str] = &[
    "status",
    "incomplete_details",
    "instructions",
    "tools",
    "metadata",
    "prompt",
    "prompt_cache_key",
    "safety_identifier",
    "user",
    "text",
    "previous_response_id",
    "conversation",
    "billing",
];
const OF_CANDIDATES: &[&str] = &["usageMetadata", "modelVersion", "responseId", "createTime"];

impl Shape {
    /// Of a whole answer. `None`: it is not known.
    pub(super) fn of(fields: &Fields<'_>) -> Option<Self> {
        let of = |name: &'static str| fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.get());
        let has = |name: &'static str| of(name).next().is_some();
        let is = |name: &'static str, word: &str| has(name) && of(name).all(|value| value == word);
        let shapes = [
            (has("choices"), Shape::Choices),
            (is("type", "\"message\""), Shape::Message),
            (is("object", "\"response\""), Shape::Response),
            (has("results"), Shape::Results),
            (has("candidates") || has("promptFeedback"), Shape::Candidates),
            (is("object", "\"list\""), Shape::List),
        ];
        shapes.into_iter().find_map(|(is_it, shape)| is_it.then_some(shape))
    }

    /// Whether a field beside what was said is a word of the API, a count, or what its request had.
    pub(super) fn knows(self, field: &str) -> bool {
        let own: &[&str] = match self {
            Shape::Choices | Shape::Results => &[],
            Shape::Message => OF_MESSAGES,
            Shape::Response => OF_RESPONSES,
            Shape::Candidates => OF_CANDIDATES,
            Shape::List => &["data"],
        };
        own.contains(&field) || OF_THE_API.contains(&field)
    }
}
