//! Headers, versions, and what is said to clients that are too old or too new.

use super::super::{Refused, Request, api_versions, reply::Part, request::parse};
use bytes::{Buf, Bytes};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, FetchRequest, HeartbeatRequest, HeartbeatResponse, MetadataRequest,
        SaslHandshakeRequest, TopicName,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &42_i32.to_be_bytes(), &[0, 2], b"me"].concat()
}

fn closes(frame: Vec<u8>, because: &str) {
    match parse(frame.into()) {
        Err(Refused::Close(reason)) => assert!(reason.contains(because), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_is_read() {
    let request = parse([header(12, 0), vec![0, 1, b'g', 0, 0, 0, 5, 0, 1, b'm']].concat().into()).unwrap();
    assert_eq!((request.api, request.version, request.correlation_id), (ApiKey::Heartbeat, 0, 42));
    assert_eq!(request.client_id.as_deref(), Some("me"));
    let body: HeartbeatRequest = request.decode().unwrap();
    assert_eq!((&**body.group_id, body.generation_id, &*body.member_id), ("g", 5, "m"));
    assert!(request.decode::<SaslHandshakeRequest>().is_err(), "of another api");
}

#[test]
fn a_client_without_a_name_may_come() {
    let frame = [&header(3, 0)[..8], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat();
    let request = parse(frame.into()).unwrap();
    assert_eq!(request.client_id, None);
    assert_eq!(request.decode::<MetadataRequest>().unwrap().topics, None);
}

#[test]
fn what_is_not_served_closes() {
    closes(vec![0, 18, 0], "header");
    closes(header(22_222, 0), "api key 22222");
    closes(header(24, 0), "api key 24"); // AddPartitionsToTxn
    closes(header(1, 13), "Fetch in version 13");
    closes(header(1, -1), "Fetch in version -1");
    closes(header(0, 2), "Produce in version 2");
    closes(header(18, 0)[..9].to_vec(), "client id");
    closes([&header(18, 0)[..8], &[0, 2, 0xff, 0xfe]].concat(), "UTF-8");
    closes([header(18, 3), vec![9]].concat(), "cut short"); // tagged fields of the header
}

#[test]
fn a_newer_client_is_told_what_is_served() {
    for version in [5, 99, -1] {
        let refused = parse(header(18, version).into());
        assert!(matches!(refused, Err(Refused::OldApiVersions { correlation_id: 42 })), "{refused:?}");
    }
    let list = api_versions(Some(ResponseError::UnsupportedVersion));
    assert_eq!(list.error_code, 35);
    let produce = list.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 9));
}

#[test]
fn nothing_may_be_null_or_not_utf8_that_may_not() {
    let names = [header(17, 1), vec![0xff, 0xff]].concat();
    let request = parse(names.into()).unwrap();
    assert!(request.decode::<SaslHandshakeRequest>().is_err(), "null");
    let text = [header(17, 1), vec![0, 1, 0xff]].concat();
    assert!(parse(text.into()).unwrap().decode::<SaslHandshakeRequest>().is_err(), "not UTF-8");
}

/// With null for the array of topics as four bytes, not one: the rest is left over.
#[test]
fn librdkafka_asks_for_all_topics() {
    let request = parse([header(3, 12), vec![0], vec![0, 0, 0, 0], vec![1, 0, 0]].concat().into()).unwrap();
    assert_eq!(request.decode::<MetadataRequest>().unwrap().topics, None);
}

/// The decoder reads a tagged field that it knows without regard to the length it claims.
#[test]
fn a_known_tagged_field_with_a_wrong_length_does_no_harm() {
    let fetch = |claimed: u8| {
        let mut body = Vec::new();
        FetchRequest::default().encode(&mut body, 12).unwrap();
        assert_eq!(body.pop(), Some(0), "no tagged fields");
        parse([header(1, 12), vec![0], body, vec![1, 0, claimed, 3, b'm', b'e']].concat().into())
    };
    for claimed in 0..=3 {
        assert_eq!(fetch(claimed).unwrap().decode::<FetchRequest>().unwrap().cluster_id.as_deref(), Some("me"));
    }
    assert!(fetch(4).is_err());
}

fn reply(version: i16, response: &impl Encodable, api: ApiKey) -> Bytes {
    let request = Request { api, version, correlation_id: 42, client_id: None, body: Bytes::new() };
    let mut parts = request.reply(response).unwrap().parts;
    assert_eq!(parts.len(), 1);
    let Some(Part::Bytes(mut bytes)) = parts.pop() else { panic!("a file") };
    assert_eq!(bytes.get_i32() as usize, bytes.len());
    assert_eq!(bytes.get_i32(), 42);
    bytes
}

#[test]
fn replies_have_the_header_of_their_version() {
    assert_eq!(reply(3, &HeartbeatResponse::default(), ApiKey::Heartbeat), Bytes::from_static(&[0, 0, 0, 0, 0, 0]));
    assert_eq!(reply(4, &HeartbeatResponse::default(), ApiKey::Heartbeat)[0], 0);
    assert_eq!(reply(4, &HeartbeatResponse::default(), ApiKey::Heartbeat).len(), 1 + 4 + 2 + 1);
    // ApiVersions never has tagged fields in its header (KIP-511).
    for version in 0..=4 {
        let mut bytes = reply(version, &api_versions(None), ApiKey::ApiVersions);
        let decoded = ApiVersionsResponse::decode(&mut bytes, version).unwrap();
        assert_eq!((decoded, bytes.len()), (api_versions(None), 0));
    }
}

#[test]
fn an_answer_that_its_version_cannot_say_is_refused() {
    let request = Request { api: ApiKey::Metadata, version: 0, correlation_id: 1, client_id: None, body: Bytes::new() };
    let long = StrBytes::from_string("x".repeat(40_000));
    let topic = kafka_protocol::messages::metadata_response::MetadataResponseTopic::default();
    let topics = vec![topic.with_name(Some(TopicName(long)))];
    let response = kafka_protocol::messages::MetadataResponse::default().with_topics(topics);
    assert!(matches!(request.reply(&response), Err(Refused::Close(_))));
}
