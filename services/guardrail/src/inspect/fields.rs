//! Names of fields, by what they hold, in all APIs at once.
//!
//! OpenAI (<https://platform.openai.com/docs/api-reference>), Anthropic (<https://docs.anthropic.com/en/api/messages>), Google
//! (<https://ai.google.dev/api/generate-content>) and Databricks
//! (<https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>). What is in none of these lists is text.

/// Fields of a request that carry a prompt, here or in another API shape that a provider might understand.
pub(super) const PROMPTS: &[&str] = &[
    "messages",
    "prediction",
    "system",
    "instructions",
    "prompt",
    "suffix",
    "input",
    "contents",
    "systemInstruction",
    "system_instruction",
];

/// Fields of a request that name what a provider has kept, which nobody here can read.
pub(super) const STORED: &[&str] = &["previous_response_id", "conversation", "cachedContent", "cached_content"];

/// Fields of a request, or of an answer, that are words of the API and no text of anybody's.
pub(super) const OF_THE_API: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "service_tier",
    "serviceTier",
    "encoding_format",
    "modalities",
    "logit_bias",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "verbosity",
    "truncation",
    "include",
    "tool_choice",
    "toolConfig",
    "tool_config",
    "safetySettings",
    "safety_settings",
    "audio",
    "context_management",
    "prompt_cache_retention",
    "prompt_cache_options",
    "prompt_cache_breakpoint",
    "cache_control",
    "id",
    "object",
    "created",
    "usage",
    "provider",
    "system_fingerprint",
    "prompt_logprobs",
    "prompt_token_ids",
];

/// Fields of a request whose own fields are words of the API: tools, schemas and how an answer is written. What is in any other field that
/// holds no prompt is read word for word.
pub(super) const DEFINITIONS: &[&str] = &[
    "tools",
    "mcp_servers",
    "functions",
    "response_format",
    "text",
    "output_config",
    "output_format",
    "generationConfig",
    "generation_config",
];

/// Fields whose own fields are named by the caller.
pub(super) const MAPS: &[&str] = &["metadata", "labels", "variables"];

/// Fields of a schema that hold values, whose keys are the caller's.
pub(super) const VALUES: &[&str] = &["default", "const", "enum", "example", "examples", "input_examples"];

/// Fields of a schema whose own fields have the caller's names, and are schemas again.
pub(super) const PROPERTIES: &[&str] = &["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Fields of a tool, or of a server of tools, for whoever calls it: shown to no model.
pub(super) const CREDENTIALS: &[&str] = &["authorization", "authorization_token", "headers"];

/// Words of JSON Schema and of the APIs' tools, which stand in every definition.
pub(super) const VOCABULARY: &[&str] = &[
    "type",
    "function",
    "functions",
    "name",
    "description",
    "parameters",
    "parametersJsonSchema",
    "input_schema",
    "inputSchema",
    "functionDeclarations",
    "function_declarations",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "default",
    "format",
    "title",
    "strict",
    "schema",
    "json_schema",
    "additionalProperties",
    "anyOf",
    "allOf",
    "oneOf",
    "$schema",
    "$ref",
    "$defs",
    "verbosity",
    // Google's generationConfig.
    "temperature",
    "topP",
    "topK",
    "seed",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "responseJsonSchema",
    "mediaResolution",
    "thinkingConfig",
    "includeThoughts",
    "thinkingBudget",
    "thinkingLevel",
];

/// Fields that hold what a tool is called with, or gave back: JSON, or JSON in a text.
pub(super) const ARGUMENTS: &[&str] = &["arguments", "input", "args", "response"];

/// Fields that name something. Patterns look at them; a judge is shown those that are more than a word.
pub(super) const NAMES: &[&str] = &["name", "filename", "file_name", "displayName", "display_name", "server_label"];

/// Fields that hold identifiers, enumerations, signatures: a single word. What is more than that is text, whatever it stands in.
pub(super) const WORDS: &[&str] = &[
    "role",
    "type",
    "id",
    "tool_call_id",
    "call_id",
    "item_id",
    "response_id",
    "container_id",
    "tool_use_id",
    "status",
    "finish_reason",
    "stop_reason",
    "format",
    "detail",
    "ttl",
    "media_type",
    "signature",
    "encrypted_index",
    // Google's, whose parsers take both spellings.
    "thoughtSignature",
    "thought_signature",
    "mimeType",
    "mime_type",
    "finishReason",
    "blockReason",
    "responseMimeType",
    "responseModalities",
    "mediaResolution",
    "thinkingLevel",
    "verbosity",
    "$schema",
    "$ref",
];

/// Fields of an answer that hold no text, whatever is in them.
pub(super) const NO_TEXT: &[&str] = &["safetyRatings"];

/// Fields that hold something a check cannot read, or where it is.
pub(super) const ADDRESSES: &[&str] = &["image_url", "video_url", "audio_url", "file_url", "fileUri", "file_uri"];

/// Whether a text is a single word: an identifier, an enumeration's value, a signature.
pub(super) fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/+=~#$|".contains(&byte))
}
