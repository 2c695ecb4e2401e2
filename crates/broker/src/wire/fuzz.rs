//! What fuzzers and property tests call: any bytes as a frame, through everything that reads them.

use super::{Refused, Request, request::parse};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{messages::*, protocol};

/// Parses a frame (without its length prefix) and decodes the body, as a handler would.
pub(crate) fn fuzz_frame(data: &[u8]) {
    if let Ok(request) = parse(Bytes::copy_from_slice(data)) {
        // Refused or not: here it matters only that it ends, in little memory.
        let _ = decode_any(&request);
    }
}

/// Decodes the body as what its api key says, and encodes it again. `None` for an api that is not served.
pub(super) fn decode_any(request: &Request) -> Option<Result<Bytes, Refused>> {
    macro_rules! dispatch {
        ($($api:ident $body:ident,)*) => {
            match request.api {
                $(ApiKey::$api => Some(decode_encode::<$body>(request)),)*
                _ => None,
            }
        };
    }
    dispatch! {
        Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest, Metadata MetadataRequest,
        OffsetCommit OffsetCommitRequest, OffsetFetch OffsetFetchRequest, FindCoordinator FindCoordinatorRequest,
        JoinGroup JoinGroupRequest, Heartbeat HeartbeatRequest, LeaveGroup LeaveGroupRequest,
        SyncGroup SyncGroupRequest,
        DescribeGroups DescribeGroupsRequest, ListGroups ListGroupsRequest, SaslHandshake SaslHandshakeRequest,
        ApiVersions ApiVersionsRequest, CreateTopics CreateTopicsRequest, DeleteTopics DeleteTopicsRequest,
        DeleteRecords DeleteRecordsRequest, InitProducerId InitProducerIdRequest,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest, DescribeConfigs DescribeConfigsRequest,
        SaslAuthenticate SaslAuthenticateRequest, CreatePartitions CreatePartitionsRequest,
        DeleteGroups DeleteGroupsRequest, IncrementalAlterConfigs IncrementalAlterConfigsRequest,
        OffsetDelete OffsetDeleteRequest, DescribeCluster DescribeClusterRequest,
    }
}

fn decode_encode<T: protocol::Request>(request: &Request) -> Result<Bytes, Refused> {
    let (body, mut bytes): (T, _) = (request.decode()?, BytesMut::new());
    body.encode(&mut bytes, request.version).map_err(|reason| Refused::Close(format!("{reason:#}")))?;
    Ok(bytes.freeze())
}
