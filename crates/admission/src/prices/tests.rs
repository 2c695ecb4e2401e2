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
    assert_eq!(built_in().values().flat_map(HashMap::values).map(Vec::len).sum::<usize>(), lines);
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
fn a_moderation_at_openai_is_free_and_not_without_a_price() {
    let cost = PriceBook::new(&[], "local").cost(&call("any", "openai", "omni-moderation-latest"), &USED);
    assert_eq!((usd(&cost).as_deref(), cost.status), (Some("0"), PriceStatus::Free));
    assert!(cost.version.is_some());
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
fn what_is_priced_by_the_call_alone_costs_that_whatever_was_read() {
    let rows = configured(json!([
        { "provider": "p", "model": "judge", "per_call": "0.00038" },
        { "provider": "p", "model": "both", "per_call": "0.25", "input": "1" },
    ]));
    let book = PriceBook::new(&rows, "local");
    let cost = |model| book.cost(&call("p", "azure", model), &USED);
    assert_eq!((usd(&cost("judge")).as_deref(), cost("judge").status), (Some("0.00038"), PriceStatus::Priced));
    assert_eq!((cost("both").usd, cost("both").status), (None, PriceStatus::Partial), "tokens have a price there");
    let judge = Callable { provider: "p".into(), kind: "azure".into(), model: "judge".into(), free: false };
    let bound = book.bound(&[judge], 1_000_000, 1_000_000, "2026-11-23").map(|usd| usd.to_string());
    assert_eq!(bound.as_deref(), Some("0.00038"));
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

#[test]
fn a_bound_is_the_dearest_of_what_could_be_charged() {
    let rows = configured(json!([
        { "provider": "p", "model": "m", "input": "1", "output": "2" },
        { "provider": "p", "model": "m", "input": "3", "output": "2", "service_tier": "priority" },
        { "provider": "p", "model": "cached", "input": "1", "output": "1", "cache_read": "0.1", "cache_write_1h": "2" },
        { "provider": "p", "model": "half", "input": "1" },
    ]));
    let book = PriceBook::new(&rows, "local");
    let callable =
        |model: &str| Callable { provider: "p".into(), kind: "openai".into(), model: model.into(), free: false };
    let bound = |models: &[&str]| {
        let all: Vec<Callable> = models.iter().map(|model| callable(model)).collect();
        book.bound(&all, 1_000_000, 1_000_000, "2026-11-23").map(|usd| usd.normalize().to_string())
    };
    assert_eq!(bound(&["m"]).as_deref(), Some("5"), "a caller may ask for the dear tier");
    assert_eq!(bound(&["cached"]).as_deref(), Some("3"), "all of the prompt may be written to the cache");
    assert_eq!(bound(&["cached", "m"]).as_deref(), Some("5"));
    assert_eq!(bound(&["m", "half"]), None, "one that has no price may be the one that serves");
    assert_eq!(bound(&["m", "nothing"]), None);
    let free = Callable { free: true, ..callable("nothing") };
    assert_eq!(book.bound(&[free], 5, 5, "2026-11-23"), Some(Decimal::ZERO));
}

proptest::proptest! {
    #[test]
    fn no_call_costs_more_than_its_bound(input in 0u64..500_000, output in 0u64..500_000, read in 0u64..500_000, write in 0u64..500_000, hour in 0u64..500_000, tier in 0usize..3) {
        let rows = configured(json!([
            { "provider": "p", "model": "m", "input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75", "cache_write_1h": "6" },
            { "provider": "p", "model": "m", "input": "5", "output": "30", "cache_read": "0.5", "service_tier": "priority", "per_call": "0.01" },
            { "provider": "p", "model": "m", "input": "6", "output": "20", "cache_read": "0.6", "above_tokens": 200_000 },
        ]));
        let book = PriceBook::new(&rows, "local");
        let read = read.min(input);
        let write = write.min(input - read);
        let tokens = Tokens { input, output, cache_read: Some(read), cache_write: Some(write), cache_write_1h: Some(hour.min(write)), reasoning: None };
        let call = Called { service_tier: [None, Some("priority"), Some("auto")][tier], ..call("p", "openai", "m") };
        let callable = Callable { provider: "p".into(), kind: "openai".into(), model: "m".into(), free: false };
        let bound = book.bound(std::slice::from_ref(&callable), input, output, "2026-11-23").expect("priced");
        if let Some(usd) = book.cost(&call, &tokens).usd {
            proptest::prop_assert!(usd <= bound, "{usd} > {bound}");
        }
    }
}
