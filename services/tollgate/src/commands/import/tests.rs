//! Whole files.

use super::*;
use tollgate_runtime::{
    Config,
    config::{Destination, Endpoint, Millis, OnUnsupported, Routing, Task, Trigger},
};

const LARGE: &str = include_str!("tests/large.yaml");

fn imported(text: &str) -> Imported {
    litellm(text).expect("is imported")
}

fn config(imported: &Imported) -> Config {
    let given = |_: &str| Ok(Some("http://variable.test".to_owned()));
    let loaded = parse(&imported.yaml, Role::Guardrail, &given).unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml));
    loaded.config
}

/// With every variable resolved, as `tollgate config check` does.
fn resolved(imported: &Imported) -> Config {
    let given = |_: &str| Ok(Some("http://variable.test".to_owned()));
    parse(&imported.yaml, Role::All, &given).unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml)).config
}

fn endpoint<'c>(config: &'c Config, name: &str) -> &'c Endpoint {
    config.endpoint(name).unwrap_or_else(|| panic!("no endpoint {name}"))
}

/// Notes whose path is exactly that.
fn at<'i>(imported: &'i Imported, path: &str) -> Vec<&'i str> {
    imported.notes.iter().filter(|note| note.path == path).map(|note| note.text.as_str()).collect()
}

#[test]
fn a_large_file_becomes_one_that_passes() {
    let imported = imported(LARGE);
    resolved(&imported);
    let config = config(&imported);
    let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["gpt-4o", "claude", "long", "embed", "local", "bedrock-claude", "openai/*"]);
    assert_eq!(config.teams[0].endpoints, names);

    let gpt = endpoint(&config, "gpt-4o");
    let split: Vec<(&str, &str, u32)> =
        gpt.destinations.iter().map(|it| (it.provider.as_str(), it.model.as_str(), it.weight)).collect();
    assert_eq!(split, [("azure", "gpt-4o-eu", 9), ("azure-my-us", "gpt-4o-us", 1), ("openai", "gpt-4o", 0)]);
    assert_eq!(gpt.aliases, ["gpt-4", "gpt-4-turbo"]);
    let limits = &gpt.destinations[0].limits;
    assert_eq!((limits[0].requests, limits[1].tokens), (Some(900), Some(100_000)));
    let fallbacks: Vec<(&str, Vec<Trigger>)> =
        gpt.fallbacks.iter().map(|it| (it.name.as_str(), it.on.clone())).collect();
    assert_eq!(
        fallbacks,
        [
            ("claude-sonnet-4-5", vec![]),
            ("gemini-2.5-pro", vec![Trigger::ContextWindow]),
            ("anthropic-claude-sonnet-4-5", vec![Trigger::ContentPolicy])
        ]
    );
    assert_eq!((gpt.retry.attempts, gpt.retry.max_attempts), (3, 8));
    assert_eq!(gpt.timeout.total, Millis(30_000));
    assert_eq!((gpt.routing, gpt.on_unsupported), (Routing::Weighted, OnUnsupported::Drop));
    let cache = gpt.cache.expect("a cache");
    assert_eq!(cache.ttl, Millis(600_000));
    assert_eq!(config.cache.store.expose(), "redis://:${REDIS_PASSWORD}@${REDIS_HOST}:6379");

    // Whoever has no fallbacks of its own has the default ones.
    let claude = endpoint(&config, "claude");
    assert_eq!(claude.fallbacks.iter().map(|it| it.model.as_str()).collect::<Vec<_>>(), ["llama3"]);
    assert_eq!(claude.timeout.total, Millis(12_500));
    let embed = endpoint(&config, "embed");
    assert_eq!((embed.task, embed.fallbacks.len()), (Task::Embeddings, 0));
}

#[test]
fn a_mode_becomes_a_task_where_the_provider_has_it() {
    let imported = imported(
        r"
model_list:
  - { model_name: old, litellm_params: { model: openai/gpt-3.5-turbo-instruct }, model_info: { mode: completion } }
  - { model_name: safe, litellm_params: { model: mistral/mistral-moderation-latest }, model_info: { mode: moderation } }
  - { model_name: none, litellm_params: { model: anthropic/claude }, model_info: { mode: moderation } }
",
    );
    let config = config(&imported);
    let tasks: Vec<(&str, Task)> = config.endpoints.iter().map(|it| (it.name.as_str(), it.task)).collect();
    assert_eq!(tasks, [("old", Task::Completions), ("safe", Task::Moderations)]);
    assert_eq!(at(&imported, "model_list[2].litellm_params.model").len(), 1);
}

#[test]
fn providers_and_prices_of_the_large_file() {
    let imported = imported(LARGE);
    let config = config(&imported);
    let key = |name: &str| config.providers[name].api_key.as_ref().map(|key| key.expose().to_owned());
    assert_eq!(key("azure").as_deref(), Some("${AZURE_API_KEY_EU}"));
    assert_eq!(key("anthropic").as_deref(), Some("${ANTHROPIC_API_KEY}"));
    assert_eq!(key("vertex").as_deref(), Some("${file:/secrets/vertex.json}"));
    assert_eq!(key("bedrock").as_deref(), Some("${AWS_ID}:${AWS_SECRET}"));
    assert_eq!(key("ollama"), None);
    assert_eq!(config.providers["bedrock"].region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.providers["azure"].api_version.as_deref(), Some("2024-10-21"));
    assert_eq!(config.providers["ollama"].base_url.as_deref(), Some("http://localhost:11434/v1"));
    assert_eq!(config.providers["azure"].base_url.as_deref(), Some("https://my-eu.openai.azure.com"));

    let [price] = &config.prices[..] else { panic!("{:?}", config.prices) };
    assert_eq!((price.provider.as_str(), price.model.as_str()), ("anthropic", "claude-sonnet-4-5"));
    assert!(imported.yaml.contains("input: 3, output: 15, cache_read: 0.3"), "{}", imported.yaml);
}

#[test]
fn what_was_not_carried_over_is_named_with_its_path() {
    let imported = imported(LARGE);
    for path in [
        "model_list[0].litellm_params.temperature",
        "model_list[2].litellm_params.weight",
        "model_list[4].model_info.supports_vision",
        "model_list[9].litellm_params.model",
        "model_list[10].model_info.mode",
        "litellm_settings.callbacks",
        "litellm_settings.cache_params.supported_call_types",
        "router_settings.cooldown_time",
        "router_settings.fallbacks[1].nobody",
        "router_settings.invented",
        "general_settings.master_key",
        "general_settings.database_url",
        "environment_variables.LANGFUSE_SECRET_KEY",
        "guardrails",
        "made_up_section",
        "model_list",
    ] {
        assert_eq!(at(&imported, path).len(), 1, "{path} in {:#?}", imported.notes);
    }
    for note in &imported.notes {
        assert!(imported.yaml.contains(&format!("# * {note}\n")), "{note}");
    }
}

#[test]
fn no_secret_is_in_the_outcome_or_in_the_notes() {
    let text = r#"
model_list:
  - { model_name: a, litellm_params: { model: openai/gpt-4o, api_key: sk-canary-1, extra_headers: { X: canary-2 } } }
  - { model_name: b, litellm_params: { model: openai/gpt-4o-mini, api_key: sk-canary-1 } }
  - { model_name: c, litellm_params: { model: azure/d, api_base: "https://r.openai.azure.com", tenant_id: canary-3, client_id: canary-4, client_secret: canary-5 } }
  - { model_name: d, litellm_params: { model: bedrock/m, aws_access_key_id: canary-6, aws_secret_access_key: canary-7, aws_role_name: canary-8 } }
  - { model_name: e, litellm_params: { model: gemini-2.5-pro, vertex_project: p, vertex_credentials: '{"private_key":"canary-9"}' } }
  - { model_name: f, litellm_params: { model: hosted_vllm/m, api_base: "https://me:canary-10@vllm.test/v1" } }
  - { model_name: g, litellm_params: { model: sagemaker/m, api_key: canary-11 } }
  - { model_name: h, litellm_params: { model: groq/m, litellm_credential_name: mine } }
  - { model_name: i, litellm_params: canary-12 }
credential_list: [ { credential_name: mine, credential_values: { api_key: canary-13 } } ]
litellm_settings: { cache: true, cache_params: { type: redis, host: h, password: canary-14 }, unknown: canary-15, num_retries: canary-16 }
router_settings: { redis_password: canary-17, fallbacks: [ { a: [ { model: b, api_key: canary-18 } ] } ] }
general_settings: { master_key: sk-canary-19, database_url: "postgresql://u:canary-20@db/x" }
environment_variables: { OPENAI_API_KEY: canary-21 }
"#;
    let imported = imported(text);
    let said: String = imported.notes.iter().map(|note| format!("{note}\n{note:?}\n")).collect();
    assert!(!imported.yaml.contains("canary") && !said.contains("canary"), "{}", imported.yaml);
    let config = config(&imported);
    let key = |name: &str| config.providers[name].api_key.as_ref().expect("a key").expose().to_owned();
    assert_eq!(key("openai"), "${IMPORTED_OPENAI_API_KEY}");
    assert_eq!(key("azure"), "${IMPORTED_AZURE_TENANT_ID}:${IMPORTED_AZURE_CLIENT_ID}:${IMPORTED_AZURE_CLIENT_SECRET}");
    assert_eq!(key("groq"), "${IMPORTED_GROQ_API_KEY}");
    assert_eq!(config.providers.keys().filter(|name| name.starts_with("openai")).count(), 1);
    for path in ["model_list[0].litellm_params.api_key", "model_list[3].litellm_params.aws_role_name"] {
        assert_eq!(at(&imported, path).len(), 1, "{path}");
    }
    let whole = at(&imported, "");
    assert!(whole.iter().any(|text| text.contains("IMPORTED_OPENAI_API_KEY, ")), "{whole:?}");
}

#[test]
fn keys_that_nobody_knows_are_all_named() {
    let text = "
model_list:
  - model_name: a
    odd_1: x
    litellm_params: { model: gpt-4o, odd_2: x }
    model_info: { odd_3: x }
  - model_name: a
    litellm_params: { model: gpt-4o-mini }
litellm_settings: { odd_4: x, cache: true, cache_params: { type: local, odd_5: x } }
router_settings: { odd_6: x, model_group_alias: { b: { model: a, odd_7: x } } }
general_settings: { odd_8: x }
odd_9: x
credential_list: [ { credential_name: c, odd_10: x } ]
";
    let imported = imported(text);
    for n in 1..=10 {
        let named = imported.notes.iter().filter(|note| note.path.ends_with(&format!("odd_{n}"))).count();
        assert_eq!(named, 1, "odd_{n} in {:#?}", imported.notes);
    }
    assert_eq!(endpoint(&config(&imported), "a").aliases, ["b"]);
}

#[test]
fn strategies_orders_and_merged_mappings() {
    let text = "
base: &base { api_key: os.environ/KEY, api_base: 'https://one.test/v1' }
model_list:
  - { model_name: a, litellm_params: { <<: *base, model: openai/x, order: 2, rpm: 5 } }
  - { model_name: a, litellm_params: { <<: *base, model: openai/y, order: 1 } }
  - { model_name: a, litellm_params: { <<: *base, model: openai/y, max_parallel_requests: 7 } }
router_settings: { routing_strategy: latency-based-routing, num_retries: 20 }
";
    let imported = imported(text);
    let config = config(&imported);
    let a = endpoint(&config, "a");
    let order: Vec<(&str, u32)> = a.destinations.iter().map(|it| (it.name.as_str(), it.priority)).collect();
    assert_eq!(order, [("x", 2), ("y", 1), ("openai-one-y", 3)]);
    assert_eq!(a.destinations[2].concurrency, Some(7));
    assert_eq!((a.routing, a.retry.attempts, a.retry.max_attempts), (Routing::Fastest, 10, 10));
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["openai-one"]);
}

#[test]
fn a_file_that_is_none_says_so() {
    for (text, says) in [
        ("", "no mapping"),
        ("- a", "no mapping"),
        ("a: [", "not valid YAML"),
        ("general_settings: { master_key: sk-canary }", "no `model_list`"),
        ("providers: {}\nendpoints: []", "of Tollgate already"),
        ("model_list: []", "`model_list` is empty"),
        ("model_list: { a: sk-canary }", "must be a list"),
        (
            "model_list: [ { model_name: a, litellm_params: { model: replicate/x, api_key: sk-canary } } ]",
            "model_list[0].litellm_params.model: is of `replicate`",
        ),
    ] {
        let error = format!("{:#}", litellm(text).expect_err(text));
        assert!(error.contains(says) && !error.contains("canary"), "{text}: {error}");
    }
}

#[test]
fn wildcards_are_carried_over_where_tollgate_has_them() {
    let imported = imported(
        r#"
model_list:
  - { model_name: "openai/*", litellm_params: { model: "openai/*", input_cost_per_token: 0.000001 } }
  - { model_name: "mine/*", litellm_params: { model: "anthropic/claude-*" } }
  - { model_name: "fixed/*", litellm_params: { model: openai/gpt-4o } }
  - { model_name: "*", litellm_params: { model: "*" } }
  - { model_name: "a-*-b", litellm_params: { model: "openai/*" } }
  - { model_name: plain, litellm_params: { model: "openai/*" } }
  - { model_name: other, litellm_params: { model: openai/gpt-4o-mini } }
router_settings:
  model_group_alias: { all: "openai/*" }
  fallbacks: [ { other: [ "openai/*", "fixed/*" ] }, { "openai/*": [ other ] } ]
"#,
    );
    let config = config(&imported);
    let shown = |name: &str| {
        let endpoint = endpoint(&config, name);
        let of = |all: &[Destination]| all.iter().map(|it| it.model.clone()).collect::<Vec<_>>();
        (of(&endpoint.destinations), of(&endpoint.fallbacks))
    };
    let models = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(shown("openai/*"), (models(&["*"]), models(&["gpt-4o-mini"])));
    assert_eq!(shown("mine/*"), (models(&["claude-*"]), models(&[])));
    assert_eq!(shown("other"), (models(&["gpt-4o-mini"]), models(&["gpt-4o"])));
    assert_eq!(config.endpoints.len(), 4);
    for path in [
        "model_list[0].litellm_params.input_cost_per_token",
        "model_list[3].litellm_params.model",
        "model_list[4].model_name",
        "model_list[5].litellm_params.model",
        "router_settings.model_group_alias.all",
        "router_settings.fallbacks[0].other",
    ] {
        assert_eq!(at(&imported, path).len(), 1, "{path} in {:#?}", imported.notes);
    }
}
