//! Servers that speak OpenAI's chat format: where each is, under which name its prices are listed, and what it does otherwise.
//!
//! Each row names the public reference that it comes from. A local server's address is that of its default port on this machine;
//! `base_url` in the file is stronger than any address here. A server's models cost what the price list says under `price_name`,
//! and nothing is known of those of a name that the list lacks (the local ones, `nvidia`): give them under `prices`.

/// One of the servers, as `providers.NAME.preset` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// As written in the file.
    pub name: &'static str,
    /// Where it is; `/chat/completions` is below it.
    pub base_url: &'static str,
    /// The provider's name in the built-in price list.
    pub price_name: &'static str,
    /// `gen_ai.provider.name` in OpenTelemetry's conventions, where they have one; else `name`.
    pub otel_name: &'static str,
    /// Its reference lists `max_tokens` and not `max_completion_tokens`.
    pub max_tokens_only: bool,
    /// Its reference lists no `stream_options`; usage comes unasked.
    pub no_stream_options: bool,
    /// It serves OpenAI's Responses API too, conversations without a state included: bodies pass to it unchanged.
    pub responses: bool,
    /// Its models that think refuse a call of a tool that they are shown without the reasoning before it: what callers
    /// give back of it goes there as `reasoning_content`.
    pub gives_back_reasoning: bool,
    /// How it is asked to go on with the beginning of an answer; `None`: its reference has no word for it.
    pub continues: Option<Continues>,
}

/// How a server of OpenAI's chat format is asked to go on with the assistant's message that comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continues {
    /// By `continue_final_message` in the body.
    FinalMessage,
    /// By `prefix` in the message, at this path in front of the usual one.
    Prefix(&'static str),
}

/// That lists both names of the maximum, or the newer one, and `stream_options`.
const fn like_openai(name: &'static str, base_url: &'static str) -> Preset {
    Preset {
        name,
        base_url,
        price_name: name,
        otel_name: name,
        max_tokens_only: false,
        no_stream_options: false,
        responses: false,
        gives_back_reasoning: false,
        continues: None,
    }
}

/// That lists only the older name of the maximum.
const fn older_maximum(name: &'static str, base_url: &'static str) -> Preset {
    Preset { max_tokens_only: true, ..like_openai(name, base_url) }
}

/// All of them, local ones first.
pub const PRESETS: [Preset; 18] = [
    // https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    Preset { continues: Some(Continues::FinalMessage), ..like_openai("vllm", "http://127.0.0.1:8000/v1") },
    // https://docs.ollama.com/api/openai-compatibility
    older_maximum("ollama", "http://127.0.0.1:11434/v1"),
    // https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    like_openai("llama_cpp", "http://127.0.0.1:8080/v1"),
    // https://lmstudio.ai/docs/developer/openai-compat
    older_maximum("lm_studio", "http://127.0.0.1:1234/v1"),
    // https://huggingface.co/docs/text-generation-inference/reference/launcher and …/messages_api
    older_maximum("tgi", "http://127.0.0.1:3000/v1"),
    // https://console.groq.com/docs/openai
    like_openai("groq", "https://api.groq.com/openai/v1"),
    // https://docs.together.ai/docs/openai-api-compatibility
    older_maximum("together", "https://api.together.xyz/v1"),
    // https://docs.fireworks.ai/tools-sdks/openai-compatibility
    like_openai("fireworks", "https://api.fireworks.ai/inference/v1"),
    // https://api-docs.deepseek.com/api/create-chat-completion, …/guides/chat_prefix_completion and
    // …/guides/thinking_mode
    Preset {
        gives_back_reasoning: true,
        continues: Some(Continues::Prefix("/beta")),
        ..older_maximum("deepseek", "https://api.deepseek.com")
    },
    // https://docs.x.ai/docs/api-reference; it calls Responses its preferred API
    Preset { otel_name: "x_ai", responses: true, ..like_openai("xai", "https://api.x.ai/v1") },
    // https://openrouter.ai/docs/api-reference/chat-completion
    like_openai("openrouter", "https://openrouter.ai/api/v1"),
    // https://docs.perplexity.ai/docs/sonar/openai-compatibility; usage is in every chunk of a stream
    Preset { no_stream_options: true, ..older_maximum("perplexity", "https://api.perplexity.ai") },
    // https://inference-docs.cerebras.ai/api-reference/chat-completions
    like_openai("cerebras", "https://api.cerebras.ai/v1"),
    // https://docs.sambanova.ai/docs/en/features/openai-compatibility
    older_maximum("sambanova", "https://api.sambanova.ai/v1"),
    // https://docs.tokenfactory.nebius.com/api-reference/introduction
    older_maximum("nebius", "https://api.tokenfactory.nebius.com/v1"),
    // https://deepinfra.com/docs/advanced/openai_api
    older_maximum("deepinfra", "https://api.deepinfra.com/v1/openai"),
    // OpenAI itself, at whatever address: a proxy, or another gateway in front of it
    Preset { responses: true, ..like_openai("openai", "https://api.openai.com/v1") },
    // https://docs.nvidia.com/nim/large-language-models/latest/reference/api-reference
    older_maximum("nvidia", "https://integrate.api.nvidia.com/v1"),
];

impl Preset {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Every name, for people.
    pub fn names() -> String {
        PRESETS.map(|preset| preset.name).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_addresses_are_whole() {
        for (at, preset) in PRESETS.iter().enumerate() {
            assert_eq!(Preset::named(preset.name), Some(preset));
            assert!(PRESETS[at + 1..].iter().all(|other| other.base_url != preset.base_url), "{}", preset.name);
            assert!(preset.base_url.starts_with("http") && !preset.base_url.ends_with('/'), "{}", preset.name);
        }
        assert!(Preset::named("llamacpp").is_none() && Preset::names().starts_with("vllm, ollama"));
    }
}
