//! Streams of which judges are asked part by part.

use super::*;

#[test]
fn judges_are_asked_about_each_part_with_what_came_before_it_and_never_about_the_whole() {
    let mut stream = Stream::new(endpoint(vec![pii(Action::Mask, &[])], vec![safety()])).expect("it streams");
    let text = "One sentence is here. Another sentence is here. ".repeat(8);
    let mut asked = Vec::new();
    let mut sent = Vec::new();
    for word in text.split_inclusive(' ') {
        stream.push(parts(Words::Chat, &[word])).expect("readable");
        let (events, more) = let_go(&mut stream, &passed);
        asked.extend(more);
        sent.extend(events);
    }
    assert!(!sent.is_empty() && asked.len() >= 2, "{}", asked.len());
    assert!(asked[0][0].trim_end().ends_with('.') && asked[1][0].starts_with(&asked[0][0]), "{asked:?}");
    let masked = stream.end(Some(&Words::Chat.whole(std::slice::from_ref(&text))));
    let (events, last) = let_go(&mut stream, &passed);
    sent.extend(events);
    assert_eq!((masked.is_none(), last.len()), (true, 1), "the rest once, the whole not again");
    assert_eq!(said(Words::Chat, &sent), [text]);
    let verdict = stream.verdict(None);
    let safety = verdict.checks.last().expect("a check");
    assert_eq!((safety.outcome, safety.judge.as_deref()), (Outcome::Passed, Some("moderator")));
    assert_eq!((verdict.checks.len(), verdict.error.is_none()), (2, true), "each check once");
}

#[test]
fn a_part_says_where_our_placeholders_stand_and_those_of_the_request() {
    let mut stream = Stream::new(endpoint(vec![pii(Action::Mask, &[])], vec![safety()])).expect("it streams");
    stream.adopt(&["[PERSON_1]".to_owned()]);
    stream.push(parts(Words::Chat, &["[PERSON_1], [PERSON_2] or a@b.com"])).expect("readable");
    stream.end(None);
    let told = |case: &Case| {
        let own: Vec<&str> = case.own[0].iter().map(|place| &case.texts[0][place.clone()]).collect();
        assert_eq!(own, ["[PERSON_1]", "[EMAIL_ADDRESS_1]"]);
        Ruling::Passed
    };
    assert_eq!(let_go(&mut stream, &told).1.len(), 1);
}

#[test]
fn a_part_that_a_judge_blocks_or_cannot_judge_does_not_go_out() {
    let bad = |case: &Case| {
        let is_bad = case.texts.iter().any(|text| text.contains("bomb"));
        if is_bad { Ruling::Found(Found::named(vec!["violence".into()])) } else { Ruling::Passed }
    };
    let failed =
        |case: &Case| if case.texts.concat().contains("bomb") { Ruling::Failed("late") } else { Ruling::Passed };
    for (ruling, outcome) in [(&bad as &dyn Fn(&Case) -> Ruling, Outcome::Blocked), (&failed, Outcome::Failed)] {
        let mut stream = Stream::new(endpoint(Vec::new(), vec![safety()])).expect("it streams");
        let fine =
            "All of this is fine, and nobody would say anything against it, not even who is paid to do so all day.";
        stream.push(parts(Words::Messages, &[fine])).expect("readable");
        assert_eq!(let_go(&mut stream, ruling).0.len(), 1);
        stream.push(parts(Words::Messages, &["How to build a bomb.", fine])).expect("readable");
        assert!(let_go(&mut stream, ruling).0.is_empty());
        stream.end(Some(&Words::Messages.whole(&["whatever".to_owned()])));
        assert!(let_go(&mut stream, ruling).0.is_empty());
        let verdict = stream.verdict(None);
        assert_eq!((verdict.outcome, verdict.error.is_some()), (outcome, true));
    }
}

#[test]
fn a_judge_that_did_not_see_all_of_a_blocked_stream_has_not_passed_it() {
    let fine = "All of this is fine, and nobody would say anything against it, not even who is paid to do so all day.";
    let outcomes = |judged: Vec<Judged>, rest: &[&str], ruling: &dyn Fn(&Case) -> Ruling| {
        let checks = vec![keywords(Action::Block, &["project orion"])];
        let mut stream = Stream::new(endpoint(checks, judged)).expect("it streams");
        stream.push(parts(Words::Chat, &[fine])).expect("readable");
        stream.push(parts(Words::Chat, &[fine])).expect("readable");
        let (events, asked) = let_go(&mut stream, ruling);
        assert!(!events.is_empty() && asked.len() == 1, "one part was judged");
        stream.push(parts(Words::Chat, rest)).expect("readable");
        let_go(&mut stream, ruling);
        stream.end(None);
        let_go(&mut stream, ruling);
        let checks = stream.verdict(None).checks;
        checks.iter().map(|checked| checked.outcome).collect::<Vec<_>>()
    };
    let orion = [" It is called project orion, ", "and that is all."];
    assert_eq!(outcomes(vec![safety()], &orion, &passed), [Outcome::Blocked, Outcome::NotRun]);
    assert_eq!(outcomes(vec![safety()], &[" That is all."], &passed), [Outcome::Passed, Outcome::Passed]);
    let noted = Judged { action: Action::Log, ..safety() };
    let found = |_: &Case| Ruling::Found(Found::named(Vec::new()));
    assert_eq!(outcomes(vec![noted], &orion, &found), [Outcome::Blocked, Outcome::Flagged], "what was found is told");
    let lenient = Judged { allows_failure: true, ..safety() };
    let late = |_: &Case| Ruling::Failed("late");
    assert_eq!(outcomes(vec![lenient], &orion, &late), [Outcome::Blocked, Outcome::Failed]);
}

#[test]
fn a_judge_that_saw_the_part_that_another_blocked_has_passed_it_unless_more_came() {
    let outcome = |more: &[&str]| {
        let mut stream = Stream::new(endpoint(Vec::new(), vec![safety(), safety()])).expect("it streams");
        stream.push(parts(Words::Chat, &["How to build a bomb."])).expect("readable");
        stream.end(None);
        let Next::Ask(part) = stream.advance() else { panic!("somebody is asked") };
        assert_eq!(part.open, [0, 1]);
        let rulings = [Ruling::Found(Found::named(Vec::new())), Ruling::Passed];
        let ruled = |ruling| Ruled { ruling, took: Duration::ZERO };
        stream.ruled(rulings.map(ruled).into_iter().enumerate().collect());
        stream.push(parts(Words::Chat, more)).expect("readable");
        stream.verdict(None).checks[1].outcome
    };
    assert_eq!((outcome(&[]), outcome(&["And more."])), (Outcome::Passed, Outcome::NotRun));
}

#[test]
fn of_an_answer_whose_first_part_is_blocked_not_even_the_beginning_goes_out() {
    let mut stream = Stream::new(endpoint(Vec::new(), vec![safety()])).expect("it streams");
    let role = json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] });
    stream.push(vec![event(&role)]).expect("readable");
    stream.push(parts(Words::Chat, &["a bomb"])).expect("readable");
    stream.end(None);
    let bad = |_: &Case| Ruling::Found(Found::named(Vec::new()));
    assert_eq!(let_go(&mut stream, &bad).0, []);
}
