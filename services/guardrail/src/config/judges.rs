//! Compiles the judges of the configuration. What is wrong with them the configuration's own check says.

use crate::judges::cache::Cache;
use crate::judges::{Counts, Judge, Kind, Looked, Takes, is_known_to_presidio};
use crate::pipeline::Seat;
use std::collections::HashMap;
use std::sync::Arc;
use tollgate_runtime::Secret;
use tollgate_runtime::config::{self, Config, JudgeKind, Problem};
use tollgate_runtime::outbound::Target;

/// The longest text that Azure AI Content Safety takes, in characters.
const CONTENT_SAFETY_CHARS: usize = 10_000;

/// All judges by name.
pub(super) struct Judges(HashMap<String, Arc<Judge>>);

impl Judges {
    pub(super) fn of(config: &Config) -> Self {
        Self(config.judges.iter().map(|(name, judge)| (name.clone(), Arc::new(compile(name, judge)))).collect())
    }

    /// Who answers a check: a judge of that name, or nobody.
    pub(super) fn seat(&self, judge: Option<&String>) -> Seat {
        match judge.map(|name| (name, self.0.get(name))) {
            None => Seat::Empty,
            Some((name, None)) => Seat::Vacant(name.as_str().into()),
            Some((_, Some(judge))) => Seat::Taken(judge.clone()),
        }
    }
}

/// Entities that Presidio's analyzer is asked for and does not know unless it has been taught them: it would leave them out without a word.
pub(super) fn unknown_entities(config: &Config) -> impl Iterator<Item = Problem> {
    let analyzers = config.judges.iter().filter(|(_, judge)| judge.kind == JudgeKind::Presidio);
    let entities = analyzers.flat_map(|(name, judge)| judge.entities.iter().map(move |entity| (name, entity)));
    entities.filter(|(_, entity)| !is_known_to_presidio(entity)).map(|(name, entity)| Problem {
        path: format!("judges.{name}.entities"),
        message: format!(
            "`{entity}` is no entity that Presidio brings along, and one that an analyzer does not know it leaves out without a word: see \
             its GET /supportedentities"
        ),
        fatal: false,
    })
}

fn compile(name: &str, judge: &config::Judge) -> Judge {
    let endpoint = || judge.asks(name);
    let counts = || Counts { categories: judge.categories.clone(), threshold: judge.threshold };
    let moderations = |takes| Kind::Moderations { endpoint: endpoint(), takes, counts: counts() };
    let url = judge.url.as_deref().unwrap_or_default();
    let kind = match judge.kind {
        JudgeKind::OpenaiModeration => moderations(Takes::Inputs),
        JudgeKind::BedrockGuardrail => moderations(Takes::Parts),
        JudgeKind::AzureContentSafety => moderations(Takes::Windows(CONTENT_SAFETY_CHARS)),
        JudgeKind::LlamaGuard => Kind::LlamaGuard { endpoint: endpoint(), counts: counts() },
        JudgeKind::Llm => Kind::Llm { endpoint: endpoint(), by_schema: judge.json_schema },
        JudgeKind::Presidio => Kind::Presidio {
            target: Target::own(&format!("{}/analyze", url.trim_end_matches('/'))),
            looked: Looked {
                language: judge.language.clone(),
                entities: judge.entities.clone(),
                threshold: judge.threshold,
            },
        },
        JudgeKind::Webhook => {
            let secret = judge.secret.clone().unwrap_or_else(|| Secret::new(""));
            Kind::Webhook { target: Target::webhook(url, &secret, judge.allow_private) }
        }
    };
    let cache = judge.cache.map(|cache| Cache::new(cache.ttl.duration(), cache.max_entries));
    Judge { name: name.into(), kind, cache, sees_images: judge.images }
}
