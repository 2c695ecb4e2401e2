//! The built-in list, and the configuration over it.

use super::*;
use serde_json::json;

fn configured(rows: serde_json::Value) -> Vec<Configured> {
    serde_json::from_value(rows).expect("prices")
}

fn call<'a>(provider: &'a str, kind: &'a str, model: &'a str) -> Called<'a> {
    Called { provider, kind, model, free: kind == "mock", service_tier: None, date: "2026-11-23" }
}

fn usd(cost: &Cost) -> Option<String> {
    cost.usd.map(|usd| usd.to_string())
}

const USED: Tokens = Tokens {
    input: 1_000_000,
    output: 1_000_000,
    cache_read: None,
    cache_write: None,
    cache_write_1h: None,
    reasoning: None,
};

#[test]
fn every_line_of_the_built_in_list_is_a_price() {
    let lines = BUILT_IN.lines().count() - 1;
    assert!(BUILT_IN.starts_with(
        "provider,model,mode,input_usd_per_mtok,output_usd_per_mtok,cache_read_usd_per_mtok,cache_write_usd_per_mtok,"
    ));
    assert_eq!(built_in().values().map(Vec::len).sum::<usize>(), lines);
    for record in csv::Reader::from_reader(BUILT_IN.as_bytes()).records() {
        let record = record.expect("record");
        for at in 3..9 {
            assert!(
                record[at].is_empty() || record[at].parse::<Decimal>().is_ok_and(|price| price.scale() <= 6),
                "{record:?}"
            );
        }
    }
}

#[test]
fn the_provider_s_name_comes_before_its_kind_and_the_configuration_before_the_list() {
    let book = PriceBook::new(&[], "local");
    let of = |book: &PriceBook, call: Called<'_>| book.cost(&call, &USED);
    assert_eq!(usd(&of(&book, call("any", "openai", "gpt-4o"))).as_deref(), Some("12.5"));
    assert_eq!(of(&book, call("any", "openai", "gpt-4o-of-my-own")).status, PriceStatus::Unpriced);
    assert_eq!(of(&book, call("any", "openai", "gpt-4o-2099-01-01")).usd, None);
    let rows = configured(json!([
        { "provider": "openai", "model": "gpt-4o", "input": "1", "output": "1" },
        { "provider": "mine", "model": "gpt-4o", "input": "7", "output": "0.5", "per_call": "0.25" },
        { "provider": "demo", "model": "mock", "input": "1", "output": "2" },
    ]));
    let book = PriceBook::new(&rows, "local");
    assert_eq!(usd(&of(&book, call("other", "openai", "gpt-4o"))).as_deref(), Some("2"));
    assert_eq!(usd(&of(&book, call("mine", "openai", "gpt-4o"))).as_deref(), Some("7.75"));
    assert_eq!(usd(&of(&book, call("demo", "mock", "mock"))).as_deref(), Some("3"));
    let free = of(&book, call("demo", "mock", "mock-500"));
    assert_eq!((usd(&free).as_deref(), free.status, free.version), (Some("0"), PriceStatus::Free, None));
}

#[test]
fn a_component_without_a_price_gives_no_cost() {
    let rows = configured(
        json!([{ "provider": "p", "model": "m", "input": "1", "output": "0" }, { "provider": "p", "model": "zero", "input": "0", "output": "0" }]),
    );
    let book = PriceBook::new(&rows, "local");
    let cached = Tokens { cache_read: Some(1), ..USED };
    let cost = book.cost(&call("p", "openai", "m"), &cached);
    assert_eq!((cost.usd, cost.status), (None, PriceStatus::Partial));
    assert!(cost.version.is_some_and(|version| version.starts_with("config-")));
    let zero_reads = Tokens { cache_read: Some(0), ..USED };
    assert_eq!(usd(&book.cost(&call("p", "openai", "m"), &zero_reads)).as_deref(), Some("1"));
    assert_eq!(book.cost(&call("p", "openai", "zero"), &USED).status, PriceStatus::Free);
}

#[test]
fn the_most_particular_row_that_applies_wins() {
    let row = |input: &str, more: serde_json::Value| {
        let mut row = json!({ "provider": "p", "model": "m", "input": input, "output": "0" });
        row.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        row
    };
    let rows = configured(json!([
        row("1", json!({})),
        row("2", json!({ "above_tokens": 200_000 })),
        row("3", json!({ "service_tier": "priority" })),
        row("4", json!({ "region": "eu" })),
        row("5", json!({ "valid_from": "2026-12-01" })),
    ]));
    let cost = |region: &str, tokens: u64, tier: Option<&str>, date: &str| {
        let call = Called { service_tier: tier, date, ..call("p", "openai", "m") };
        let used = Tokens { input: tokens, ..Tokens::default() };
        let cost = PriceBook::new(&rows, region).cost(&call, &used);
        cost.usd.map(|usd| (usd * PER / Decimal::from(tokens)).normalize().to_string())
    };
    let today = "2026-11-23";
    assert_eq!(cost("local", 1000, None, today).as_deref(), Some("1"));
    assert_eq!(cost("local", 200_001, Some("default"), today).as_deref(), Some("2"));
    assert_eq!(cost("local", 1000, Some("priority"), today).as_deref(), Some("3"));
    assert_eq!(cost("local", 1000, Some("flex"), today), None);
    assert_eq!(cost("eu", 1000, None, today).as_deref(), Some("4"));
    assert_eq!(cost("local", 1000, None, "2026-12-01").as_deref(), Some("5"));
}
