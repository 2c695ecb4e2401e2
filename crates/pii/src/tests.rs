//! What the entities do together: prose and code left alone, patterns, allowed values, and what any text must hold.

use super::*;
use crate::nasty::{NASTY, took};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::time::Duration;

fn regions() -> Vec<String> {
    ["US", "GB", "DE"].map(str::to_owned).to_vec()
}

fn scan(pii: &Pii, text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    pii.scan(&Folded::new(text), &mut out);
    out.into_iter().map(|f| (f.label.into_owned(), text[f.span].to_owned())).collect()
}

#[test]
fn code_and_prose_are_left_alone_by_the_default_set() {
    let text = "Upgrade tokio 1.54.0 to 1.55.1 (sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08), \
        commit 4a5b6c7d8e, UUID 0192f3a4-7c1e-7b2a-9d3e-4455667788aa, order 100234567890, invoice INV-2026-000123, \
        ticket #20261123, let x: [u8; 16] = [0x41, 0x11]; 2026-11-23T19:43:00Z, port 8080, 3.14159265358979, \
        ISBN 978-3-16-148410-0, $1,234,567.89, 192.168.0.1, a[i] = b@c, @user, user@host, std::mem::swap(&mut a, &mut b)";
    assert_eq!(scan(&Pii::new(&[], &regions()).expect("known"), text), []);
}

#[test]
fn patterns_and_allowed_values() {
    let pattern = Pattern::new("EMPLOYEE_ID", "E[0-9]{6}", &[]).expect("fine");
    let beside = Pattern::new("BADGE", "[0-9]{5}", &["badge".to_owned()]).expect("fine");
    let allowed = vec![
        Allowed::value("Support@example.com").expect("fine"),
        Allowed::matching(r".+@example\.org").expect("fine"),
    ];
    let pii = Pii::new(&[Entity::EmailAddress], &[]).expect("defaults").with(vec![pattern, beside], allowed);
    let text = "E123456 wrote to support@example.com, x@example.org and x@example.organic; badge 12345, room 54321";
    let found = scan(&pii, text).into_iter().map(|(label, value)| format!("{label} {value}")).collect::<Vec<_>>();
    assert_eq!(found, ["EMAIL_ADDRESS x@example.organic", "EMPLOYEE_ID E123456", "BADGE 12345"]);
}

#[test]
fn patterns_that_cannot_be_are_refused() {
    for (name, expression) in [
        ("lower", "a"),
        ("A", "a"),
        ("_X", "a"),
        ("X1", "a"),
        ("US_SSN", "a"),
        ("FINE", ""),
        ("FINE", "a*"),
        ("FINE", "("),
        ("FINE", "(?:a{1000}){1000}"),
        ("FINE", r"(a)\1"),
    ] {
        assert!(Pattern::new(name, expression, &[]).is_err(), "{name} {expression}");
    }
    assert!(Pattern::new("FINE", &"a".repeat(1_001), &[]).is_err());
    assert!(Allowed::value("").is_err() && Allowed::matching("").is_err() && Allowed::matching("[").is_err());
}

#[test]
fn every_entity_is_documented() {
    let document = include_str!("../../../docs/guardrails.md");
    let missing = Entity::ALL.iter().filter(|entity| !document.contains(&format!("`{}`", entity.as_str())));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Entity>::new());
}

#[test]
fn disguises_hide_no_value() {
    let pii = Pii::new(&[], &regions()).expect("known");
    for (text, label) in [
        ("j\u{430}ne@ex\u{430}mple.c\u{43e}m", "EMAIL_ADDRESS"),
        ("𝐣𝐚𝐧𝐞@example.com", "EMAIL_ADDRESS"),
        ("ⓙⓐⓝⓔ@example.com", "EMAIL_ADDRESS"),
        ("४१११ ১১১১ ๑๑๑๑ 1111", "CREDIT_CARD"),
        ("ja\u{336}ne@exa\u{336}mple.com", "EMAIL_ADDRESS"),
        ("\u{410}KIAIOSFODNN7EXAMPLE", "SECRET"),
    ] {
        let found = scan(&pii, text);
        assert!(found.iter().any(|(of, value)| of == label && value == text), "{text}: {found:?}");
    }
    assert_eq!(scan(&pii, "Привет, как дела? Это просто текст о работе."), []);
}

/// What reads a text again from each of its places takes four times as long for twice the text. A busy machine may take long once, so
/// the least of several times counts.
#[test]
fn twice_the_text_takes_twice_the_time() {
    const TRIES: usize = 8;
    let filled = |piece: &str, kib: usize| piece.repeat((kib << 10) / piece.len() + 1);
    for entity in Entity::ALL {
        let pii = Pii::new(&[*entity], &regions()).expect("known");
        let timed = |text: &str| {
            let mut out = Vec::new();
            took(true, || pii.scan(&Folded::new(text), &mut out))
        };
        let mut pieces: Vec<_> = NASTY.iter().copied().map(|piece| (timed(&filled(piece, 2)), piece)).collect();
        pieces.sort_by_key(|(took, _)| Reverse(*took));
        for &(_, piece) in &pieces[..3] {
            let (once, twice) = (filled(piece, 32), filled(piece, 64));
            let (mut short, mut long) = (Duration::MAX, Duration::MAX);
            let is_linear = (0..TRIES).any(|_| {
                (short, long) = (short.min(timed(&once)), long.min(timed(&twice)));
                long < short * 3
            });
            assert!(is_linear, "{} takes {short:?}, and {long:?} for twice {piece:?}", entity.as_str());
        }
    }
}

/// Texts that are dense in values, their parts, separators and words.
fn texts() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a@b.com",
        "4111 1111 1111 1111",
        "460-89-9847",
        "(212) 555-0123",
        "+442079460018",
        "DE89370400440532013000",
        "DE136695976",
        "192.168.0.1",
        "::1",
        "00:1a:2b:3c:4d:5e",
        "https://x.org/",
        "AB123456C",
        "12345678Z",
        "85.07.30-033.28",
        "131052-308T",
        "710319/2745",
        "161175-19997",
        "37605030299",
        "1893120105732",
        "60012345A",
        "0x",
        "bc1",
        "1980-03-12",
        "March 12, 1980",
        "ssn",
        "phone",
        "tel.",
        "born",
        "passport",
        "account",
        "license",
        "isikukood",
        "rodné",
        "tic",
        "order",
        " ",
        "-",
        ".",
        ":",
        "/",
        "@",
        "+",
        "(",
        ")",
        "\n",
        "é",
        "机",
        "１",
        "\u{200b}",
        "7",
        "A",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "sk-",
        "api_key=",
        "://u:pass@",
        "İ",
        "\u{430}",
        "\u{336}",
        "𝐚",
        "๑",
    ]);
    prop_oneof![proptest::collection::vec(parts, 0..16).prop_map(|parts| parts.concat()), "\\PC{0,80}", ".{0,80}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_text_gives_spans_of_itself_and_scores_from_zero_to_one(text in texts(), key in "[a-zA-Z_]{0,12}") {
        let pii = Pii::new(Entity::ALL, &regions()).expect("known");
        let mut out = Vec::new();
        pii.scan(&Folded::new(&text).beside(&key), &mut out);
        for finding in &out {
            prop_assert!(text.get(finding.span.clone()).is_some_and(|value| !value.is_empty()), "{finding:?}");
            prop_assert!((0.0..=1.0).contains(&finding.score), "{finding:?}");
        }
        let mut plainly = Vec::new();
        pii.scan_folded(&Folded::new(&text).beside(&key), &mut plainly);
        prop_assert!(plainly.iter().all(|finding| out.contains(finding)), "a disguise that is undone hides nothing");
        let resolved = mask::resolve(out.clone());
        prop_assert!(resolved.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
        for byte in out.iter().flat_map(|finding| finding.span.clone()) {
            prop_assert!(resolved.iter().any(|finding| finding.span.contains(&byte)));
        }
    }
}
