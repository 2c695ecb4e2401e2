//! Random texts in random parts: they come to the same as the whole, and nothing that is masked goes out.

use super::*;
use crate::checks::pii::custom::{Allowed, Pattern};
use proptest::prelude::*;

/// With patterns of one's own, one of which counts beside a word alone, and values that are no finding.
fn own(action: Action, entities: &[Entity]) -> Arc<Endpoint> {
    let patterns = [("EMPLOYEE_ID", "E[0-9]{6}", Vec::new()), ("BADGE", "B-[0-9]{4}", vec!["badge".to_owned()])];
    let pattern = |(name, expression, context): (&str, &str, Vec<String>)| {
        Pattern::new(name, expression, &context).expect("fine")
    };
    let allowed = ["a@b.com", "(212) 555-0123", "E000000"].map(|value| Allowed::value(value).expect("fine"));
    let pii = Pii::new(entities, &[]).expect("defaults").with(patterns.map(pattern).into(), allowed.into());
    endpoint(vec![configured("output.pii", action, Check::Pii(pii))], Vec::new())
}

/// Checks that mask, each in its own way.
fn maskings() -> impl Strategy<Value = Arc<Endpoint>> {
    let hashing = endpoint(vec![pii(Action::Hash, Entity::ALL)], Vec::new());
    let short = own(Action::Mask, &[Entity::EmailAddress]);
    prop::sample::select(vec![masking(), hashing, own(Action::Mask, Entity::ALL), short, own(Action::Hash, &[])])
}

/// Texts with values, parts of values, and prose between them.
fn texts() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a@b.com",
        "jane.roe@example.com",
        "4111 1111 1111 1111",
        "460-89-9847",
        "(212) 555-0123",
        "DE89370400440532013000",
        "192.168.0.1",
        "https://x.org/?u=1",
        "project orion",
        "project ",
        "orion",
        "机密",
        "phone ",
        "ssn ",
        "order ",
        " ",
        " ",
        ". ",
        "@",
        ":",
        "\n",
        "\u{200b}",
        "ß",
        "机",
        "\"",
        "\\",
        "7",
        "March 12, 1980",
        "born ",
        "sk-aB3dE6gH9jK2mN5pQ8sTu",
        "E123456",
        "E000000",
        "E12",
        "B-1234",
        "B-",
        "badge ",
        "d3JpdGUgdG8gamFuZS5yb2VAZXhhbXBsZS5jb20=",
        "project ori\u{43e}n",
        "j\u{430}ne@example.com",
        "\u{336}",
        "𝐨",
        "and so it goes on in plain words, as people write them to each other, sentence after sentence, on and on and on. ",
        "nothing of interest happens here; it is only there so that the stream has something that can go out before it ends, which it does. ",
    ]);
    proptest::collection::vec(parts, 0..24).prop_map(|parts| parts.concat())
}

/// A text in random parts.
fn cut(text: &str, lengths: &[usize]) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut parts, mut lengths) = (0, Vec::new(), lengths.iter().cycle());
    while at < chars.len() {
        let end = (at + lengths.next().copied().unwrap_or(1)).min(chars.len());
        parts.push(chars[at..end].iter().collect());
        at = end;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn parts_come_to_the_same_as_the_whole(
        one in texts(), two in texts(), lengths in prop::collection::vec(1usize..12, 1..6), in_turn: bool, words in prop::sample::select(ALL.to_vec()),
        at_once in 1usize..5, endpoint in maskings(),
    ) {
        let mut all: Vec<Value> = Vec::new();
        let (first, second) = (cut(&one, &lengths), cut(&two, &lengths));
        let (mut left, mut right) = (first.iter().map(|part| words.part(0, part)), second.iter().map(|part| words.part(1, part)));
        if in_turn {
            loop {
                let (a, b) = (left.next(), right.next());
                if a.is_none() && b.is_none() {
                    break;
                }
                all.extend(a.into_iter().chain(b));
            }
        }
        all.extend(left);
        all.push(words.end(0, &one));
        all.extend(right);
        all.push(words.end(1, &two));
        let events: Vec<StreamEvent> = all.iter().map(event).collect();
        let mut stream = Stream::new(endpoint.clone()).expect("it streams");
        let mut sent = Vec::new();
        for events in events.chunks(at_once) {
            stream.push(events.to_vec()).expect("readable");
            sent.extend(let_go(&mut stream, &passed).0);
        }
        let both = [one, two];
        let body = words.whole(&both);
        let masked = stream.end(Some(&body));
        sent.extend(let_go(&mut stream, &passed).0);
        prop_assert_eq!(sent.len(), events.len(), "number and order of events stay");
        let (expected, outcome) = checked_whole(&endpoint, words, &both);
        let whole = words.texts(masked.as_deref().unwrap_or(&body));
        let mut streamed = said(words, &sent);
        // A text of which nothing came has no event.
        if one_is_missing(&both, &streamed) {
            streamed = whole.clone();
        }
        prop_assert_eq!(&streamed, &whole, "what is kept is what was sent");
        prop_assert_eq!(renumbered(&streamed), renumbered(&expected));
        prop_assert_eq!(stream.verdict(masked).outcome, outcome);
    }

    #[test]
    fn a_known_value_never_goes_out(
        before in texts(), after in texts(), lengths in prop::collection::vec(1usize..12, 1..6), words in prop::sample::select(ALL.to_vec()),
        endpoint in prop::sample::select(vec![masking(), own(Action::Mask, Entity::ALL), own(Action::Hash, Entity::ALL)]),
        value in prop::sample::select(vec!["mary.major@example.com", "4012888888881881", "536-90-4399", "FR1420041010050500013M02606"]),
    ) {
        let text = format!("{before} {value} {after}");
        let mut stream = Stream::new(endpoint).expect("it streams");
        let mut sent = Vec::new();
        for part in cut(&text, &lengths) {
            stream.push(parts(words, &[&part])).expect("readable");
            sent.extend(let_go(&mut stream, &passed).0);
        }
        stream.end(None);
        sent.extend(let_go(&mut stream, &passed).0);
        let streamed = said(words, &sent).concat();
        prop_assert!(!streamed.contains(value), "{streamed:?}");
    }
}

fn one_is_missing(both: &[String; 2], streamed: &[String]) -> bool {
    both.iter().any(String::is_empty) && streamed.len() < 2
}
