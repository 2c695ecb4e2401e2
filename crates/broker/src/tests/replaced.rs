//! Users and grants that change while clients are connected.

use super::{
    Running,
    batch::{Entry, PLAIN, encode},
    calls::{From, Wait, fetch, refusal},
    client::Client,
};
use crate::{Access, Pattern, User};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError::{SaslAuthenticationFailed, TopicAuthorizationFailed},
    records::Compression,
};

fn batch() -> Bytes {
    encode(&[Entry::new("k", "v")], PLAIN, Compression::None)
}

fn user(name: &str, password: &str, access: Access) -> User {
    User { name: name.into(), password: password.into(), access }
}

fn operator() -> User {
    user("operator", "secret", Access::All)
}

fn writes(topic: &str) -> Access {
    Access::Only { read: Vec::new(), write: vec![Pattern::Exact(topic.into())], groups: Vec::new() }
}

fn reads(topic: &str) -> Access {
    Access::Only { read: vec![Pattern::Exact(topic.into())], write: Vec::new(), groups: Vec::new() }
}

/// Topics a and b; the operator, and whoever else is named.
fn broker(users: &[User], anonymous: Access) -> (Running, Client) {
    let broker = Running::with(|config| {
        config.anonymous = anonymous;
        config.users = [&[operator()], users].concat();
    });
    let mut first = logged_in(&broker, "operator", "secret");
    for topic in ["a", "b"] {
        first.create_topic(topic, 1, &[]).unwrap();
    }
    (broker, first)
}

fn logged_in(broker: &Running, name: &str, password: &str) -> Client {
    let mut client = broker.client();
    client.log_in(name, password).unwrap();
    client
}

#[test]
fn open_connections_are_judged_by_the_new_grants() {
    let (broker, mut operates) = broker(&[user("app", "one", writes("a"))], Access::Nothing);
    let mut app = logged_in(&broker, "app", "one");
    app.produce("a", 0, batch()).unwrap();
    assert_eq!(refusal(app.produce("b", 0, batch())), Some(TopicAuthorizationFailed));
    let access = broker.handle.access();
    for (granted, refused) in [("b", "a"), ("a", "b")] {
        access.replace(vec![operator(), user("app", "one", writes(granted))], Access::Nothing);
        app.produce(granted, 0, batch()).unwrap();
        assert_eq!(refusal(app.produce(refused, 0, batch())), Some(TopicAuthorizationFailed));
    }
    // A topic that is new, for a user that is new.
    operates.create_topic("new", 1, &[]).unwrap();
    access
        .replace(vec![operator(), user("app", "one", writes("a")), user("new", "two", writes("new"))], Access::Nothing);
    logged_in(&broker, "new", "two").produce("new", 0, batch()).unwrap();
    app.produce("a", 0, batch()).unwrap();
    operates.create_topic("newer", 1, &[]).unwrap();
}

#[test]
fn who_is_gone_or_has_another_password_is_disconnected() {
    let users = [user("gone", "1", writes("a")), user("changed", "2", writes("a")), user("stays", "3", writes("a"))];
    let (broker, mut operates) = broker(&users, Access::Nothing);
    let mut clients = ["gone 1", "changed 2", "stays 3"].map(|login| {
        let (name, password) = login.split_once(' ').unwrap();
        logged_in(&broker, name, password)
    });
    let changed = user("changed", "new", writes("a"));
    broker.handle.access().replace(vec![operator(), changed, user("stays", "3", writes("a"))], Access::Nothing);
    let [gone, had_old, stays] = &mut clients;
    // Although they say nothing.
    gone.expect_closed();
    had_old.expect_closed();
    stays.produce("a", 0, batch()).unwrap();
    operates.produce("a", 0, batch()).unwrap();
    let mut again = broker.client();
    assert_eq!(refusal(again.log_in("changed", "2")), Some(SaslAuthenticationFailed));
    logged_in(&broker, "changed", "new").produce("a", 0, batch()).unwrap();
}

#[test]
fn a_fetch_that_waits_gets_nothing_that_it_may_no_longer_read() {
    let (broker, mut operates) = broker(&[user("app", "one", reads("a"))], Access::Nothing);
    let mut app = logged_in(&broker, "app", "one");
    let from = [From { topic: "a", partition: 0, offset: 0, max_bytes: 1_000 }];
    app.send(12, &fetch(&from, Wait { max_ms: 60_000, min_bytes: 1, max_bytes: 1_000 })).unwrap();
    // Gives the broker time to read it; if it does so too late, the answer is the same.
    (0..10).for_each(|_| _ = operates.metadata(None).unwrap());
    broker.handle.access().replace(vec![operator(), user("app", "one", reads("b"))], Access::Nothing);
    operates.produce("a", 0, batch()).unwrap();
    let told = app.receive_fetched(12, &from).unwrap().remove(0);
    assert_eq!(refusal(told), Some(TopicAuthorizationFailed));
}

#[test]
fn who_never_logged_in_is_judged_too() {
    let (broker, mut operates) = broker(&[], writes("a"));
    let mut anybody = broker.client();
    anybody.produce("a", 0, batch()).unwrap();
    broker.handle.access().replace(vec![operator()], writes("b"));
    anybody.produce("b", 0, batch()).unwrap();
    assert_eq!(refusal(anybody.produce("a", 0, batch())), Some(TopicAuthorizationFailed));
    broker.handle.access().replace(vec![operator(), user("app", "one", writes("a"))], Access::Nothing);
    anybody.expect_closed();
    assert!(broker.client().metadata(None).is_err());
    operates.produce("a", 0, batch()).unwrap();
    broker.handle.access().replace(vec![operator()], writes("a"));
    broker.client().produce("a", 0, batch()).unwrap();
}

#[test]
fn guesses_end_for_the_user_that_is_guessed_and_for_nobody_else() {
    let (broker, _operates) =
        broker(&[user("app", "one", writes("a")), user("other", "two", writes("a"))], Access::Nothing);
    // Many at once, because one a second is let through for as long as this takes.
    let guesses = 100;
    let mut clients: Vec<Client> = (0..guesses).map(|_| broker.client()).collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| client.log_in_told("app", "guess"))).collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let told = |words: &str| outcomes.iter().filter(|outcome| outcome.contains(words)).count();
    assert_eq!(told("wrong user name or password") + told("too many wrong passwords"), guesses, "{outcomes:?}");
    assert!(told("wrong user name") >= 20 && told("too many") > 0, "{outcomes:?}");
    logged_in(&broker, "other", "two");
    logged_in(&broker, "operator", "secret");
}
