//! What a principal may do, over the wire: a client that has not logged in, one that has, and one that cannot. Not here: how
//! names match (`access`).

use super::{
    Running,
    batch::{Entry, PLAIN, encode},
    calls::{LATEST, refusal},
    client::Client,
    group_calls::Member,
};
use crate::{Access, Pattern, User};
use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::ApiVersionsRequest, records::Compression};

fn batch() -> Bytes {
    encode(&[Entry::new("k", "v")], PLAIN, Compression::None)
}

/// Anybody may write `in.*` and read `out.*`; the operator may do everything.
fn locked() -> Running {
    let broker = Running::with(|config| {
        config.anonymous = Access::Only {
            read: vec![Pattern::Prefix("out.".into())],
            write: vec![Pattern::Prefix("in.".into())],
            groups: vec![Pattern::Prefix(String::new())],
        };
        config.reserved_groups = vec![Pattern::Prefix("tollgate.".into())];
        config.users = vec![User { name: "operator".into(), password: "secret".into(), access: Access::All }];
    });
    let mut operator = operator(&broker);
    for topic in ["in.a", "out.a", "usage"] {
        operator.create_topic(topic, 1, &[]).unwrap();
        operator.produce(topic, 0, batch()).unwrap();
    }
    broker
}

fn operator(broker: &Running) -> Client {
    let mut client = broker.client();
    client.log_in("operator", "secret").unwrap();
    client
}

#[test]
fn topics_take_what_their_rules_allow() {
    let broker = locked();
    let mut client = broker.client();
    let denied = Some(ResponseError::TopicAuthorizationFailed);
    assert_eq!(client.produce("in.a", 0, batch()).unwrap().base_offset, 1);
    assert_eq!(client.fetch("out.a", 0, 0, 1_000).unwrap().batches.len(), 1);
    assert_eq!(refusal(client.produce("out.a", 0, batch())), denied);
    assert_eq!(refusal(client.produce("usage", 0, batch())), denied);
    assert_eq!(refusal(client.fetch("in.a", 0, 0, 1_000)), denied);
    assert_eq!(refusal(client.list_offset("usage", 0, LATEST)), denied);
    assert_eq!(refusal(client.produce("secret", 0, batch())), denied, "what exists is not told");
    client.init_producer_id().unwrap();
    let mixed = [("in.a", 0, batch()), ("usage", 0, batch())];
    let mut mixed = client.produce_all(&mixed).unwrap();
    assert_eq!((refusal(mixed.remove(0)), refusal(mixed.remove(0))), (None, denied));
    let mut operator = operator(&broker);
    assert_eq!(operator.list_offset("in.a", 0, LATEST).unwrap().0, 3);
    assert_eq!(operator.list_offset("usage", 0, LATEST).unwrap().0, 1);
    assert_eq!(operator.list_offset("out.a", 0, LATEST).unwrap().0, 1);
}

#[test]
fn metadata_shows_what_one_may_use() {
    let broker = locked();
    let mut client = broker.client();
    let all = client.metadata(None).unwrap();
    let names: Vec<_> = all.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect();
    assert_eq!(names, ["in.a", "out.a"]);
    let asked = client.metadata(Some(&["in.a", "usage"])).unwrap();
    let codes: Vec<_> = asked.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, ResponseError::TopicAuthorizationFailed.code()]);
    assert!(asked.topics[1].partitions.is_empty());
    assert_eq!(operator(&broker).metadata(None).unwrap().topics.len(), 3);
}

#[test]
fn only_the_operator_administers() {
    let broker = locked();
    let mut client = broker.client();
    let denied = [Some(ResponseError::TopicAuthorizationFailed), Some(ResponseError::ClusterAuthorizationFailed)];
    assert!(denied.contains(&refusal(client.create_topic("in.b", 1, &[]))));
    assert!(denied.contains(&refusal(client.delete_topic("in.a"))));
    assert!(denied.contains(&refusal(client.add_partitions("in.a", 2))));
    assert!(denied.contains(&refusal(client.configure("in.a", "retention.ms", Some("1")))));
    assert!(denied.contains(&refusal(client.delete_records("in.a", 0, -1))));
    let mut operator = operator(&broker);
    assert_eq!(operator.metadata(None).unwrap().topics.len(), 3);
    assert_eq!(operator.list_offset("in.a", 0, super::calls::EARLIEST).unwrap().0, 0);
}

#[test]
fn reserved_groups_are_the_operators() {
    let broker = locked();
    let mut client = broker.client();
    let denied = Some(ResponseError::GroupAuthorizationFailed);
    let commit = |client: &mut Client, group, topic| {
        client.commit(group, &Member::none(), &[(topic, 0, 1, String::new())]).unwrap().remove(0)
    };
    assert_eq!(refusal(client.join("tollgate.ledger", "out.a")), denied);
    assert_eq!(refusal(commit(&mut client, "tollgate.ledger", "out.a")), denied);
    assert_eq!(refusal(client.committed("tollgate.ledger")), denied);
    assert_eq!(refusal(client.find_coordinator("tollgate.ledger")), denied);
    assert_eq!(refusal(client.delete_group("tollgate.ledger")), denied);
    assert_eq!(refusal(commit(&mut client, "mine", "usage")), Some(ResponseError::TopicAuthorizationFailed));
    commit(&mut client, "mine", "out.a").unwrap();
    let member = client.join("ours", "out.a").unwrap();
    client.leave("ours", &member).unwrap();
    commit(&mut operator(&broker), "tollgate.ledger", "usage").unwrap();
}

#[test]
fn a_wrong_password_opens_nothing() {
    let broker = locked();
    for (user, password) in [("operator", "wrong"), ("operator", ""), ("nobody", "secret"), ("", "")] {
        let mut client = broker.client();
        assert_eq!(refusal(client.log_in(user, password)), Some(ResponseError::SaslAuthenticationFailed));
        assert!(client.metadata(Some(&["usage"])).is_err(), "the connection ends");
    }
}

#[test]
fn where_nobody_is_let_in_a_login_comes_first() {
    let broker = Running::with(|config| {
        config.anonymous = Access::Nothing;
        config.users = vec![User { name: "team".into(), password: "secret".into(), access: Access::All }];
    });
    assert!(broker.client().metadata(None).is_err());
    assert!(broker.client().create_topic("t", 1, &[]).is_err());
    let mut client = broker.client();
    assert_eq!(client.call(3, &ApiVersionsRequest::default()).unwrap().error_code, 0);
    client.log_in("team", "secret").unwrap();
    client.create_topic("t", 1, &[]).unwrap();
}
