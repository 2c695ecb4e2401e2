//! The one table of what this broker serves: apis, their versions, their shapes.

use super::shape::Shape;
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsResponse, api_versions_response::ApiVersion},
};
use std::sync::LazyLock;

/// Api, first and last version, and the shape of its requests in all of them (see [`super::shape`]).
///
/// * Produce: 0 to 2 are advertised because librdkafka takes a broker without them for one that lacks codecs
///   (KAFKA-18659), and refused when used, as Apache Kafka 4 does.
/// * Fetch: 13 and later name topics by id only.
/// * SaslHandshake: after 0 the login would follow without Kafka's framing.
/// * OffsetCommit, OffsetFetch: 9 is for KIP-848 groups.
const ROWS: &[(ApiKey, i16, i16, &str)] = &[
    (ApiKey::Produce, 0, 9, "s 2 4 { s { 4 b } }"),
    (ApiKey::Fetch, 4, 12, "4 4 4 4 1 7-:4 7-:4 { s { 4 9-:4 8 12-:4 5-:8 4 } } 7-:{ s [4] } 11-:s"),
    (ApiKey::ListOffsets, 1, 8, "4 2-:1 { s { 4 4-:4 8 } }"),
    (ApiKey::Metadata, 0, 12, "{ 10-:16 s } 4-:1 8-10:1 8-:1"),
    (ApiKey::OffsetCommit, 2, 8, "s 4 s 7-:s -4:8 { s { 4 8 6-:4 s } }"),
    (ApiKey::OffsetFetch, 1, 8, "-7:s -7:{ s [4] } 8-:{ s { s [4] } } 7-:1"),
    (ApiKey::FindCoordinator, 0, 4, "-3:s 1-:1 4-:[s]"),
    (ApiKey::JoinGroup, 0, 9, "s 4 1-:4 s 5-:s s { s b } 8-:s"),
    (ApiKey::Heartbeat, 0, 4, "s 4 s 3-:s"),
    (ApiKey::LeaveGroup, 0, 5, "s -2:s 3-:{ s s 5-:s }"),
    (ApiKey::SyncGroup, 0, 5, "s 4 s 3-:s 5-:s 5-:s { s b }"),
    (ApiKey::DescribeGroups, 0, 5, "[s] 3-:1"),
    (ApiKey::ListGroups, 0, 5, "4-:[s] 5-:[s]"),
    (ApiKey::SaslHandshake, 1, 1, "s"),
    (ApiKey::ApiVersions, 0, 4, "3-:s 3-:s"),
    (ApiKey::CreateTopics, 2, 7, "{ s 4 2 { 4 [4] } { s s } } 4 1"),
    (ApiKey::DeleteTopics, 1, 6, "6-:{ s 16 } -5:[s] 4"),
    (ApiKey::DeleteRecords, 0, 2, "{ s { 4 8 } } 4"),
    (ApiKey::InitProducerId, 0, 4, "s 4 3-:8 3-:2"),
    (ApiKey::OffsetForLeaderEpoch, 2, 4, "3-:4 { s { 4 4 4 } }"),
    (ApiKey::DescribeConfigs, 1, 4, "{ 1 s [s] } 1 3-:1"),
    (ApiKey::SaslAuthenticate, 0, 2, "b"),
    (ApiKey::CreatePartitions, 0, 3, "{ s 4 { [4] } } 4 1"),
    (ApiKey::DeleteGroups, 0, 2, "[s]"),
    (ApiKey::IncrementalAlterConfigs, 0, 1, "{ 1 s { s 1 s } } 1"),
    (ApiKey::OffsetDelete, 0, 0, "s { s { 4 } }"),
    (ApiKey::DescribeCluster, 0, 1, "1 1-:1"),
];

/// An api that is served.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) key: ApiKey,
    pub(super) min: i16,
    pub(super) max: i16,
    pub(super) shape: Shape,
}

static APIS: LazyLock<Vec<Api>> = LazyLock::new(|| {
    let api = |&(key, min, max, words)| Api { key, min, max, shape: Shape::new(words) };
    ROWS.iter().map(api).collect()
});

/// Exactly what is advertised.
pub(super) fn apis() -> &'static [Api] {
    &APIS
}

pub(super) fn find(key: i16) -> Option<&'static Api> {
    apis().iter().find(|api| api.key as i16 == key)
}

/// What ApiVersions answers. With `UNSUPPORTED_VERSION` the client chooses a version from the list and asks again
/// (KIP-511).
pub(crate) fn api_versions(error: Option<ResponseError>) -> ApiVersionsResponse {
    let version = |api: &Api| {
        ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
    };
    ApiVersionsResponse::default()
        .with_error_code(error.map_or(0, |error| error.code()))
        .with_api_keys(apis().iter().map(version).collect())
}
