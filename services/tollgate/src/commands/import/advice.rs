//! What to do instead of what is not carried over, by its key.
//!
//! The keys are those of <https://docs.litellm.ai/docs/proxy/config_settings>.

use super::reading::Advice;

/// Of a key that this knows nothing of.
pub(super) const UNKNOWN: &str = "is not known to this import: left out; see tollgate.example.yaml for what there is";

/// Of a key of `litellm_params` that is no setting of a deployment.
pub(super) const DEFAULT_OF_REQUESTS: &str = "is sent along with each request by LiteLLM, or not known to this import: left out; callers send such fields themselves";

/// Of a key of `model_info`.
pub(super) const ABOUT_MODEL: &str = "tells of the model: left out, Tollgate makes no use of it";

const ROLES: &str =
    "asks AWS for keys: left out, Tollgate takes a key pair, with a session token if need be, or a Bedrock API key";
const CIRCUITS: &str = "left out: Tollgate's circuits open by rules of their own (docs/routing.md)";
const PER_KIND: &str =
    "left out: attempts are counted alike; `retry.on` of an endpoint says after which failures there are any";
const BUDGET: &str = "left out: budgets are for teams, users, keys, endpoints and tags (docs/governance.md)";
const TELEMETRY: &str =
    "left out: Tollgate exports OpenTelemetry, Prometheus metrics and a table of usage (docs/usage-table.md)";
const PREFERENCE: &str = "left out: there is no such choice, or it is always so";
const DATABASE: &str = "left out: Tollgate has no database; what is changed while it runs is kept in Kafka";
const ALERTS: &str = "left out: budgets tell webhooks, everything else is in metrics";
const HEALTH: &str = "left out: Tollgate does not call models to see whether they answer; circuits see it in requests";
const TOKENS: &str = "left out: tokens of an issuer are taken as `oidc` says (docs/governance.md)";
const COUNTERS: &str =
    "left out: if there is more than one ingress, set admission.store to a Valkey or Redis that they share";

/// `model_list[].litellm_params`.
pub(super) const PARAMS: Advice = &[
    ("organization", "left out: Tollgate sends no organization; OpenAI takes the one that the key belongs to"),
    ("extra_headers", "left out: Tollgate sends providers no headers of the configuration"),
    ("headers", "left out: Tollgate sends providers no headers of the configuration"),
    ("aws_access_key_id", "left out: it needs aws_secret_access_key beside it"),
    ("aws_secret_access_key", "left out: it needs aws_access_key_id beside it"),
    ("aws_session_token", "left out: it needs a key pair beside it"),
    ("aws_*", ROLES),
    ("azure_ad_token", "left out: it expires. Give an application's TENANT:CLIENT_ID:CLIENT_SECRET as api_key"),
    ("azure_*", "left out: give a key, or an application's TENANT:CLIENT_ID:CLIENT_SECRET, as api_key"),
    ("tenant_id", "left out: it needs client_id and client_secret beside it"),
    ("client_id", "left out: it needs client_secret beside it"),
    ("client_secret", "left out: it needs client_id beside it"),
    ("max_budget", BUDGET),
    ("budget_duration", BUDGET),
    ("cooldown_time", CIRCUITS),
    ("tags", "left out: no destination is chosen by a request's tags; make an endpoint for each"),
    ("tag_regex", "left out: no destination is chosen by a request's headers; make an endpoint for each"),
    ("input_cost_*", "left out: prices are per million tokens or per call (`per_call`)"),
    ("output_cost_*", "left out: prices are per million tokens or per call (`per_call`)"),
    ("mock_response", "left out: a provider of kind mock answers by itself"),
    ("use_in_pass_through", "left out: there are no pass-through routes"),
    ("configurable_clientside_auth_params", "left out: callers do not choose addresses and credentials"),
    ("auto_router_*", "left out: no model is chosen by what a request says"),
    ("api_version", "left out: only Azure has one"),
    ("api_base", "left out: the address of this kind comes from its location; `base_url` of the provider changes it"),
    ("base_url", "left out: the address of this kind comes from its location; `base_url` of the provider changes it"),
    ("api_key", "left out: Vertex AI takes the content of a service account's key file"),
    ("vertex_*", "left out: a provider of kind vertex has a project, a location and a service account's key file"),
];

/// `model_list[].model_info`.
pub(super) const INFO: Advice = &[
    (
        "base_model",
        "left out: prices go by the model's name at the provider; if this one has another, give it a row under prices",
    ),
    ("team_id", "left out: say under teams which endpoints a team may use"),
    ("access_groups", "left out: say under teams which endpoints a team may use"),
    ("input_cost_*", "left out: prices are per million tokens or per call (`per_call`)"),
    ("output_cost_*", "left out: prices are per million tokens or per call (`per_call`)"),
    ("id", "left out: destinations have names, which are in the table of usage"),
];

/// `litellm_settings`.
pub(super) const LITELLM: Advice = &[
    ("success_callback", TELEMETRY),
    ("failure_callback", TELEMETRY),
    ("callbacks", TELEMETRY),
    ("service_callbacks", TELEMETRY),
    ("langfuse_default_tags", TELEMETRY),
    ("turn_off_message_logging", "left out: Tollgate's traces and logs hold no messages"),
    ("redact_*", TELEMETRY),
    ("set_verbose", "left out: RUST_LOG says what is logged"),
    ("json_logs", "left out: how logs look is not said in this file"),
    ("max_budget", BUDGET),
    ("budget_duration", BUDGET),
    ("default_internal_user_params", "left out: see users and teams (docs/governance.md)"),
    ("default_team_settings", "left out: see teams (docs/governance.md)"),
    ("default_team_params", "left out: see teams (docs/governance.md)"),
    ("key_generation_settings", "left out: administrators of a team make its keys (docs/governance.md)"),
    ("upperbound_key_generate_params", "left out: see limits and budgets of teams (docs/governance.md)"),
    ("allowed_fails", CIRCUITS),
    ("cooldown_time", CIRCUITS),
    ("guardrails", "left out: write guardrails at endpoints, or as policies"),
    ("modify_params", "left out: requests are not mended on the way; on_unsupported: drop leaves fields out"),
    ("mcp_*", "left out: there is no MCP gateway in this version"),
    ("public_mcp_servers", "left out: there is no MCP gateway in this version"),
    ("force_ipv4", PREFERENCE),
    ("enable_*", PREFERENCE),
    ("disable_*", PREFERENCE),
    ("ssl_verify", "left out: certificates are always verified"),
    ("default_in_memory_ttl", "left out: the ttl of the outcome is that of cache_params"),
    ("default_in_redis_ttl", "left out: the ttl of the outcome is that of cache_params"),
];

/// `litellm_settings.cache_params`.
pub(super) const CACHE: Advice = &[
    (
        "supported_call_types",
        "left out: whatever an endpoint with a cache answers is kept; take `cache` from those that should not",
    ),
    ("namespace", "left out: Tollgate's names in the store begin with its own word"),
    ("redis_startup_nodes", "left out: the store is one Valkey or Redis; the outcome keeps answers in memory"),
    ("sentinel_nodes", "left out: the store is one Valkey or Redis; the outcome keeps answers in memory"),
    ("service_name", "left out: the store is one Valkey or Redis"),
    ("max_connections", PREFERENCE),
    ("ssl_*", "left out: certificates are always verified"),
    ("s3_*", "left out: answers are kept in memory, or in a Valkey or Redis (cache.store)"),
    ("gcs_*", "left out: answers are kept in memory, or in a Valkey or Redis (cache.store)"),
    ("similarity_threshold", "left out: only the same request gets the same answer again"),
    ("qdrant_*", "left out: only the same request gets the same answer again"),
];

/// `router_settings`.
pub(super) const ROUTER: Advice = &[
    ("redis_*", COUNTERS),
    ("allowed_fails", CIRCUITS),
    ("allowed_fails_policy", CIRCUITS),
    ("cooldown_time", CIRCUITS),
    ("disable_cooldowns", CIRCUITS),
    ("retry_policy", PER_KIND),
    ("model_group_retry_policy", PER_KIND),
    ("retry_after", "left out: `retry.backoff` of an endpoint is the first pause, doubled each time"),
    ("routing_strategy_args", "left out: docs/routing.md says what fastest, cheapest and least_busy go by"),
    ("enable_pre_call_check*", "left out: a request that is too long goes to fallbacks with on: [ context_window ]"),
    ("optional_pre_call_checks", "left out: see limits, budgets and sticky"),
    ("enable_tag_filtering", "left out: no destination is chosen by a request's tags; make an endpoint for each"),
    ("tag_filtering_match_any", "left out: no destination is chosen by a request's tags; make an endpoint for each"),
    ("max_fallbacks", "left out: `retry.max_attempts` of an endpoint bounds the calls of one request"),
    ("default_litellm_params", DEFAULT_OF_REQUESTS),
    ("default_max_parallel_requests", "left out: `concurrency` of a destination or a provider bounds its calls"),
    ("provider_budget_config", BUDGET),
    ("set_verbose", "left out: RUST_LOG says what is logged"),
    ("debug_level", "left out: RUST_LOG says what is logged"),
    ("cache_responses", "left out: endpoints have a `cache`"),
    ("cache_kwargs", "left out: endpoints have a `cache`"),
    ("caching_groups", "left out: endpoints have a `cache`"),
    ("client_ttl", PREFERENCE),
    ("routing_groups", "left out: set `routing` at the endpoints"),
    ("alerting_config", ALERTS),
];

/// `general_settings`.
pub(super) const GENERAL: Advice = &[
    ("master_key", "left out: add an administrator under admin.keys; `tollgate keys new` prints a key and its hash"),
    ("database_*", DATABASE),
    ("store_model_in_db", "left out: models in LiteLLM's database are not in its file, and so not in the outcome"),
    ("supported_db_objects", DATABASE),
    ("allow_requests_on_db_unavailable", "left out: admission.on_store_failure says it of the store of limits"),
    ("disable_spend_logs", "left out: the table of usage is always written"),
    ("disable_spend_updates", "left out: the table of usage is always written"),
    ("store_prompts_in_spend_logs", "left out: the table of usage holds no prompts"),
    ("maximum_spend_logs_*", "left out: the table of usage is kept until you delete from it"),
    ("proxy_b*", DATABASE),
    ("alert*", ALERTS),
    ("spend_report_frequency", "left out: `tollgate usage` prints who spent what"),
    ("max_parallel_requests", "left out: write limits: [ { concurrent: N } ] at endpoints, teams or keys"),
    ("global_max_parallel_requests", "left out: write limits: [ { concurrent: N } ] at endpoints, teams or keys"),
    ("max_request_size_mb", "left out: http.body_max_bytes is the bound"),
    ("custom_auth", "left out: callers have keys or an issuer's tokens (docs/governance.md)"),
    ("enable_jwt_auth", TOKENS),
    ("litellm_jwtauth", TOKENS),
    ("enable_oauth2_auth", TOKENS),
    ("enable_oauth2_proxy_auth", TOKENS),
    ("oauth2_config_mappings", TOKENS),
    ("custom_sso", TOKENS),
    ("key_management_*", "left out: secrets come from variables and files, ${NAME} and ${file:PATH}"),
    ("use_azure_key_vault", "left out: secrets come from variables and files, ${NAME} and ${file:PATH}"),
    ("use_google_kms", "left out: secrets come from variables and files, ${NAME} and ${file:PATH}"),
    ("background_health_checks", HEALTH),
    ("health_check_*", HEALTH),
    ("pass_through_endpoints", "left out: there are no pass-through routes"),
    ("completion_model", "left out: every request names its model"),
    ("embedding_model", "left out: every request names its model"),
    ("enforce_user_param", "left out: no field of a request is demanded"),
    ("allowed_ips", "left out: bound the network in front of Tollgate, or its listen address"),
    ("allowed_routes", "left out: roles say what keys of administrators may do"),
    ("litellm_license", "left out: Tollgate needs no licence key"),
];

/// The file's other sections.
pub(super) const SECTIONS: Advice = &[
    ("include", "was not followed: put what those files say into this one, and import it again"),
    ("guardrails", "left out: write guardrails at endpoints, or as policies under guardrails"),
    ("policies", "left out: write guardrails at endpoints, or as policies under guardrails"),
    ("policy_attachments", "left out: write guardrails at endpoints, or as policies under guardrails"),
    ("callback_settings", TELEMETRY),
    ("mcp_servers", "left out: there is no MCP gateway in this version"),
    ("mcp_tools", "left out: there is no MCP gateway in this version"),
    ("search_tools", "left out: Tollgate runs no tools"),
    ("vector_store_registry", "left out: Tollgate has no vector stores"),
    ("prompts", "left out: Tollgate keeps no prompts"),
    ("files_settings", "left out: there is no Files API; jobs go by a team's topic or `tollgate submit`"),
    ("finetune_settings", "left out: there is no fine-tuning"),
    ("assistant_settings", "left out: there are no assistants"),
];
