//! LiteLLM's providers by the beginning of `litellm_params.model`, and what each is in Tollgate.
//!
//! Sources: <https://docs.litellm.ai/docs/providers> for the beginnings, the variables that stand in for an `api_key`, and what an
//! `api_base` is there; `docs/providers.md` for Tollgate's side.

/// A provider of LiteLLM's that Tollgate knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// How its models begin, without the slash.
    prefixes: &'static [&'static str],
    /// A provider's name in the outcome.
    pub(super) name: &'static str,
    /// `providers.NAME.kind`.
    pub(super) kind: &'static str,
    /// `providers.NAME.preset`.
    pub(super) preset: Option<&'static str>,
    /// The variable that LiteLLM reads where no key is given; `None`: none is needed, or it is not so simple.
    pub(super) key: Option<&'static str>,
    /// What an address of LiteLLM's may end with that one of Tollgate's does not.
    pub(super) without: &'static [&'static str],
    /// What an address of Tollgate's ends with that one of LiteLLM's does not.
    pub(super) with: &'static str,
    /// Beginnings of the rest of the model that choose an API of the provider's, and are no part of the model.
    pub(super) apis: &'static [&'static str],
}

const fn of(prefixes: &'static [&'static str], kind: &'static str, key: Option<&'static str>) -> Kind {
    Kind { prefixes, name: kind, kind, preset: None, key, without: &[], with: "", apis: &[] }
}

const fn preset(prefixes: &'static [&'static str], preset: &'static str, key: Option<&'static str>) -> Kind {
    Kind { name: preset, preset: Some(preset), ..of(prefixes, "openai", key) }
}

const KINDS: &[Kind] = &[
    Kind { apis: &["responses/"], ..of(&["openai", "custom_openai"], "openai", Some("OPENAI_API_KEY")) },
    Kind {
        without: &["/openai/v1", "/openai"],
        apis: &["o_series/", "gpt5_series/", "responses/"],
        ..of(&["azure"], "azure", Some("AZURE_API_KEY"))
    },
    // LiteLLM puts /v1/messages behind the address, Tollgate /messages.
    Kind {
        without: &["/v1/messages", "/v1"],
        with: "/v1",
        ..of(&["anthropic"], "anthropic", Some("ANTHROPIC_API_KEY"))
    },
    of(&["gemini"], "gemini", Some("GEMINI_API_KEY")),
    of(&["vertex_ai", "vertex_ai_beta"], "vertex", None),
    Kind { apis: &["converse/", "invoke/"], ..of(&["bedrock", "bedrock_converse"], "bedrock", None) },
    of(&["cohere", "cohere_chat"], "cohere", Some("COHERE_API_KEY")),
    of(&["mistral"], "mistral", Some("MISTRAL_API_KEY")),
    Kind { without: &["/serving-endpoints"], ..of(&["databricks"], "databricks", Some("DATABRICKS_API_KEY")) },
    preset(&["groq"], "groq", Some("GROQ_API_KEY")),
    preset(&["together_ai"], "together", Some("TOGETHERAI_API_KEY")),
    preset(&["fireworks_ai"], "fireworks", Some("FIREWORKS_AI_API_KEY")),
    preset(&["deepseek"], "deepseek", Some("DEEPSEEK_API_KEY")),
    preset(&["xai"], "xai", Some("XAI_API_KEY")),
    preset(&["openrouter"], "openrouter", Some("OPENROUTER_API_KEY")),
    preset(&["perplexity"], "perplexity", Some("PERPLEXITYAI_API_KEY")),
    preset(&["cerebras"], "cerebras", Some("CEREBRAS_API_KEY")),
    preset(&["sambanova"], "sambanova", Some("SAMBANOVA_API_KEY")),
    preset(&["nebius"], "nebius", Some("NEBIUS_API_KEY")),
    preset(&["deepinfra"], "deepinfra", Some("DEEPINFRA_API_KEY")),
    preset(&["nvidia_nim"], "nvidia", Some("NVIDIA_NIM_API_KEY")),
    // LiteLLM speaks Ollama's own API, Tollgate its OpenAI-compatible one, below /v1.
    Kind { without: &["/v1"], with: "/v1", ..preset(&["ollama", "ollama_chat"], "ollama", None) },
    preset(&["hosted_vllm"], "vllm", None),
    preset(&["lm_studio"], "lm_studio", None),
];

impl Kind {
    /// The one whose models begin so.
    pub(super) fn of(prefix: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.prefixes.contains(&prefix))
    }

    /// Whether Tollgate's calls of it can be for embeddings.
    pub(super) fn embeds(&self) -> bool {
        self.kind != "anthropic"
    }
}

/// A model, told apart.
pub(super) struct Model<'a> {
    /// Whose it is.
    pub(super) kind: &'static Kind,
    /// Its name there.
    pub(super) name: &'a str,
    /// Whether LiteLLM, and this, took its provider from the name.
    pub(super) is_guessed: bool,
}

impl<'a> Model<'a> {
    /// Of `litellm_params.model` and `.custom_llm_provider`. Errors with the beginning that is not known.
    pub(super) fn of(model: &'a str, provider: Option<&'a str>) -> Result<Self, &'a str> {
        if let Some(prefix) = provider {
            let kind = Kind::of(prefix).ok_or(prefix)?;
            let name = model.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
            return Ok(Self { kind, name, is_guessed: false });
        }
        if let Some((prefix, name)) = model.split_once('/') {
            return Ok(Self { kind: Kind::of(prefix).ok_or(prefix)?, name, is_guessed: false });
        }
        let prefix = [("claude", "anthropic"), ("gemini", "vertex_ai"), ("command-", "cohere")];
        let by_name = prefix.iter().find(|(start, _)| model.starts_with(start)).map(|(_, prefix)| *prefix);
        let kind = Kind::of(by_name.unwrap_or("openai")).ok_or(model)?;
        Ok(Self { kind, name: model, is_guessed: by_name.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tollgate_runtime::config::Preset;

    #[test]
    fn beginnings_are_unique_and_presets_are_tollgates() {
        let prefixes: Vec<&str> = KINDS.iter().flat_map(|kind| kind.prefixes).copied().collect();
        assert_eq!(prefixes.iter().collect::<BTreeSet<_>>().len(), prefixes.len());
        assert!(KINDS.iter().filter_map(|kind| kind.preset).all(|name| Preset::named(name).is_some()));
    }

    #[test]
    fn a_model_says_whose_it_is() {
        let told = |model, provider| Model::of(model, provider).map(|model| (model.kind.name, model.name));
        assert_eq!(told("azure/my-deployment", None), Ok(("azure", "my-deployment")));
        assert_eq!(told("openai/facebook/opt-125m", None), Ok(("openai", "facebook/opt-125m")));
        assert_eq!(told("gpt-4o", None), Ok(("openai", "gpt-4o")));
        assert_eq!(told("claude-sonnet-4-5", None), Ok(("anthropic", "claude-sonnet-4-5")));
        assert_eq!(told("together_ai/meta-llama/Llama-3", None), Ok(("together", "meta-llama/Llama-3")));
        assert_eq!(told("meta/llama", Some("openai")), Ok(("openai", "meta/llama")));
        assert_eq!(told("sagemaker/x", None), Err("sagemaker"));
    }
}
