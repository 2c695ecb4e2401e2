//! Guardrails and judges that are refused, each with the place of what is wrong.

use crate::config::{Role, parse};

fn fatal(text: &str) -> Vec<String> {
    match parse(text, Role::Guardrail, &|_| Ok(None)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.into_iter().filter(|problem| problem.fatal).map(|problem| problem.path).collect(),
    }
}

const PROVIDERS: &str = "
providers:
  openai: { kind: openai }
  claude: { kind: anthropic }
  demo: { kind: mock }
  bedrock: { kind: bedrock, region: us-east-1 }
  azure: { kind: azure, base_url: 'https://x.test' }
";

#[test]
fn a_judge_that_cannot_answer_its_check_is_refused() {
    let text = format!(
        "{PROVIDERS}
judges:
  moderator: {{ kind: openai_moderation, provider: openai, model: omni-moderation-latest }}
  reader: {{ kind: llm, provider: claude, model: m }}
  engine: {{ kind: presidio, url: 'http://presidio:3000' }}
  own: {{ kind: webhook, url: 'https://x.test', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails:
      budget: 1ms
      input:
        topics: {{ allow: [ support ], judge: moderator }}
        safety: {{ action: mask, judge: reader }}
        injection: {{ action: block, threshold: 2, judge: engine }}
        pii: {{ action: mask, judge: engine }}
        custom: [ {{ name: A, action: block, judge: reader }}, {{ name: b, action: mask, judge: own }}, {{ name: b, action: log, judge: none }} ]
      output:
        safety: {{ action: block }}
        topics: {{ judge: reader }}
        injection: {{ action: mask }}
"
    );
    assert_eq!(
        fatal(&text),
        [
            "endpoints[0].guardrails.budget",
            "endpoints[0].guardrails.input.topics.judge",
            "endpoints[0].guardrails.input.safety.action",
            "endpoints[0].guardrails.input.injection.threshold",
            "endpoints[0].guardrails.input.injection.judge",
            "endpoints[0].guardrails.input.custom[2].name",
            "endpoints[0].guardrails.input.custom[0].name",
            "endpoints[0].guardrails.input.custom[0].policy",
            "endpoints[0].guardrails.input.custom[2].judge",
            "endpoints[0].guardrails.output.topics",
            "endpoints[0].guardrails.output.safety.judge",
            "endpoints[0].guardrails.output.injection.action",
        ]
    );
}

#[test]
fn an_action_that_cannot_be_is_refused() {
    let text = |section: &str| {
        format!(
            "{PROVIDERS}
judges:
  moderator: {{ kind: openai_moderation, provider: openai, model: omni-moderation-latest }}
  own: {{ kind: webhook, url: 'https://x.test', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw }}
guardrails: {{ {section} }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails:
      input:
        pii: {{ action: mask_and_restore }}
        keywords: {{ action: hash, words: [ x ] }}
        safety: {{ action: hash, judge: moderator }}
        injection: {{ action: mask_and_restore }}
        custom: [ {{ name: b, action: mask_and_restore, judge: own }} ]
      output:
        pii: {{ action: hash }}
        keywords: {{ action: mask_and_restore, words: [ x ] }}
        custom: [ {{ name: b, action: mask_and_restore, judge: own }} ]
"
        )
    };
    let always = [
        "endpoints[0].guardrails.input.safety.action",
        "endpoints[0].guardrails.input.injection.action",
        "endpoints[0].guardrails.output.keywords.action",
        "endpoints[0].guardrails.output.custom[0].action",
    ];
    let keyless = [
        "endpoints[0].guardrails.input.keywords.action",
        "endpoints[0].guardrails.input.safety.action",
        "endpoints[0].guardrails.output.pii.action",
    ];
    assert_eq!(fatal(&text("")), [&always[..], &keyless].concat());
    assert_eq!(fatal(&text("hash_key: 0123456789abcdef0123456789abcdef")), always);
    assert_eq!(fatal(&text("hash_key: short, strict: {}")), [&always[..], &["guardrails.hash_key"]].concat());
}

#[test]
fn only_the_guardrail_needs_the_key_of_hashes() {
    let text = format!(
        "{PROVIDERS}
guardrails: {{ hash_key: '${{UNSET}}' }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails: {{ input: {{ pii: {{ action: hash }} }} }}
"
    );
    assert_eq!(fatal(&text), ["guardrails.hash_key"]);
    let config = parse(&text, Role::RouterWorker, &|_| Ok(None)).expect("valid for whoever does not need it").config;
    assert!(config.guardrails.is_empty() && config.hash_key.is_some());
    let shown = serde_json::to_string(&config).expect("JSON") + &format!("{config:?}");
    assert!(!shown.contains("UNSET"));
}

#[test]
fn a_judge_that_cannot_be_reached_is_refused() {
    let text = format!(
        "{PROVIDERS}
judges:
  a: {{ kind: openai_moderation, provider: claude, model: m }}
  b: {{ kind: llm, endpoint: gone }}
  c: {{ kind: bedrock_guardrail, provider: bedrock, model: abc }}
  d: {{ kind: azure_content_safety, provider: azure, threshold: 1.5 }}
  e: {{ kind: presidio, provider: demo }}
  f: {{ kind: webhook, url: 'https://x.test', secret: none, threshold: 0.5, images: true }}
  g: {{ kind: llama_guard, endpoint: chat, categories: [ S1 ], cache: {{ ttl: 1ms, max_entries: 0 }} }}
  h: {{ kind: llm, provider: nobody }}
  i: {{ kind: llama_guard, endpoint: chat, categories: [ S14, hate, Hate, S15, s1, another_hazard, violence ] }}
endpoints:
  - {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ] }}
  - {{ name: 'judge:x', destinations: [ {{ name: d, provider: demo, model: m }} ] }}
"
    );
    assert_eq!(
        fatal(&text),
        [
            "endpoints[1].name",
            "judges.a.provider",
            "judges.b.endpoint",
            "judges.c.model",
            "judges.d.threshold",
            "judges.e.provider",
            "judges.e.url",
            "judges.f.secret",
            "judges.f.images",
            "judges.f.threshold",
            "judges.g.cache.ttl",
            "judges.g.cache.max_entries",
            "judges.h.provider",
            "judges.i.categories[2]",
            "judges.i.categories[3]",
            "judges.i.categories[4]",
            "judges.i.categories[6]",
        ]
    );
}

#[test]
fn guardrails_of_teams_and_keys_are_checked_as_those_of_endpoints_are() {
    let text = format!(
        "{PROVIDERS}
guardrails: {{ strict: {{ allow_weaker: true }} }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails: {{ allow_weaker: true }}
teams: [ {{ name: search, guardrails: {{ allow_weaker: true, input: {{ safety: {{ action: block }} }} }} }} ]
keys: [ {{ name: web, team: search, sha256: '{}', guardrails: {{ policy: gone }} }} ]
",
        "0".repeat(64)
    );
    assert_eq!(
        fatal(&text),
        [
            "endpoints[0].guardrails.allow_weaker",
            "guardrails.strict.allow_weaker",
            "teams[0].guardrails.input.safety.judge",
            "keys[0].guardrails.policy",
        ]
    );
}

#[test]
fn a_judges_own_endpoint_is_one_that_no_caller_can_name() {
    let text = format!(
        "{PROVIDERS}
judges:
  moderator: {{ kind: openai_moderation, provider: openai, model: omni-moderation-latest }}
  guard: {{ kind: llama_guard, endpoint: chat }}
  engine: {{ kind: presidio, url: 'http://presidio:3000' }}
endpoints: [ {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ] }} ]
"
    );
    let config = parse(&text, Role::RouterWorker, &|_| Ok(None)).expect("valid").config;
    let own = config.judge_endpoints();
    assert_eq!(own.len(), 1);
    let (name, endpoint) = &own[0];
    assert_eq!((*name, endpoint.name.as_str()), ("moderator", "judge:moderator"));
    assert_eq!(endpoint.destinations[0].model, "omni-moderation-latest");
    assert_eq!(config.judges["guard"].asks("guard"), "chat");
    assert!(config.endpoint("judge:moderator").is_none());
}
