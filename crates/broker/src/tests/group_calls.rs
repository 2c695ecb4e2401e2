//! Consumer groups over the tests' client: one member at a time, commits, what was committed.

use super::{
    calls::{by_topic, text, topic_name},
    client::{Client, Result, check},
};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch_request::OffsetFetchRequestGroup,
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};
use std::collections::{BTreeMap, HashMap};

const SESSION_TIMEOUT_MS: i32 = 60_000;

/// A member of a group as it has to name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: StrBytes,
    pub(super) generation: i32,
}

impl Member {
    /// A consumer that is in no group.
    pub(super) fn none() -> Self {
        Self { id: StrBytes::new(), generation: -1 }
    }
}

/// Committed offset and metadata by topic and partition.
pub(super) type Committed = BTreeMap<(String, i32), (i64, String)>;

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A consumer's subscription, as <https://kafka.apache.org/protocol> has it (version 0, no user data).
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).unwrap());
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(-1);
    bytes.freeze()
}

impl Client {
    /// Where a group is served: its host and port.
    pub(super) fn find_coordinator(&mut self, group: &str) -> Result<(String, i32)> {
        let version = self.version(0, 4);
        let request = FindCoordinatorRequest::default();
        if version < 4 {
            let answer = self.call(version, &request.with_key(text(group)))?;
            check(answer.error_code)?;
            return Ok((answer.host.to_string(), answer.port));
        }
        let answer = self.call(version, &request.with_coordinator_keys(vec![text(group)]))?.coordinators.remove(0);
        check(answer.error_code)?;
        Ok((answer.host.to_string(), answer.port))
    }

    /// Joins and gets the assignment it gave itself as the leader; for groups of one.
    pub(super) fn join(&mut self, group: &str, topic: &str) -> Result<Member> {
        let joined = self.join_once(group, topic, StrBytes::new())?;
        let joined = match check(joined.error_code) {
            Err(error) if error.code() == ResponseError::MemberIdRequired => {
                self.join_once(group, topic, joined.member_id)?
            }
            _ => joined,
        };
        check(joined.error_code)?;
        let member = Member { id: joined.member_id.clone(), generation: joined.generation_id };
        assert_eq!(joined.leader, joined.member_id, "the only member leads");
        let assignment = Bytes::from_static(b"everything");
        let own = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(assignment.clone());
        let version = self.version(3, 5);
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id)
            .with_protocol_type((version == 5).then(|| text("consumer")))
            .with_protocol_name((version == 5).then(|| text("range")))
            .with_assignments(vec![own]);
        let synced = self.call(version, &request)?;
        check(synced.error_code)?;
        assert_eq!(synced.assignment, assignment);
        Ok(member)
    }

    fn join_once(&mut self, group: &str, topic: &str, member_id: StrBytes) -> Result<JoinGroupResponse> {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription(topic));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(SESSION_TIMEOUT_MS)
            .with_member_id(member_id)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let version = self.version(2, 9);
        self.call(version, &request)
    }

    pub(super) fn heartbeat(&mut self, group: &str, member: &Member) -> Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(member.generation)
            .with_member_id(member.id.clone());
        let version = self.version(0, 4);
        check(self.call(version, &request)?.error_code)
    }

    pub(super) fn leave(&mut self, group: &str, member: &Member) -> Result<()> {
        let version = self.version(0, 5);
        let request = LeaveGroupRequest::default().with_group_id(group_id(group));
        let request = if version < 3 {
            request.with_member_id(member.id.clone())
        } else {
            request.with_members(vec![MemberIdentity::default().with_member_id(member.id.clone())])
        };
        let answer = self.call(version, &request)?;
        check(answer.error_code)?;
        answer.members.iter().try_for_each(|member| check(member.error_code))
    }

    /// Commits; the outcome for each partition in the same order.
    pub(super) fn commit(
        &mut self,
        group: &str,
        member: &Member,
        offsets: &[(&str, i32, i64, String)],
    ) -> Result<Vec<Result<()>>> {
        let part = |(topic, partition, offset, metadata): &(&str, i32, i64, String)| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(text(metadata)));
            (topic_name(topic), partition)
        };
        let topic = |(name, parts)| OffsetCommitRequestTopic::default().with_name(name).with_partitions(parts);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(member.generation)
            .with_member_id(member.id.clone())
            .with_topics(by_topic(offsets.iter().map(part)).into_iter().map(topic).collect());
        let version = self.version(2, 8);
        let answer = self.call(version, &request)?;
        let parts = answer.topics.iter().flat_map(|t| t.partitions.iter().map(|p| ((&t.name, p.partition_index), p)));
        let parts: HashMap<_, _> = parts.collect();
        let outcome = |(topic, partition, ..): &(&str, i32, i64, String)| {
            check(parts[&(&topic_name(topic), *partition)].error_code)
        };
        Ok(offsets.iter().map(outcome).collect())
    }

    /// Everything a group has committed.
    pub(super) fn committed(&mut self, group: &str) -> Result<Committed> {
        // The older and the newer answer have types of their own with the same fields.
        macro_rules! collect {
            ($topics:expr) => {{
                let mut committed = Committed::new();
                for topic in $topics {
                    for partition in topic.partitions {
                        check(partition.error_code)?;
                        let metadata = partition.metadata.unwrap_or_default().to_string();
                        let key = (topic.name.to_string(), partition.partition_index);
                        committed.insert(key, (partition.committed_offset, metadata));
                    }
                }
                Ok(committed)
            }};
        }
        let version = self.version(2, 8);
        let request = OffsetFetchRequest::default();
        if version < 8 {
            let answer = self.call(version, &request.with_group_id(group_id(group)).with_topics(None))?;
            check(answer.error_code)?;
            collect!(answer.topics)
        } else {
            let group = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None);
            let answer = self.call(version, &request.with_groups(vec![group]))?.groups.remove(0);
            check(answer.error_code)?;
            collect!(answer.topics)
        }
    }

    pub(super) fn delete_group(&mut self, group: &str) -> Result<()> {
        let version = self.version(0, 2);
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        check(self.call(version, &request)?.results[0].error_code)
    }

    pub(super) fn delete_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<()> {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
        let answer = self.call(0, &request)?;
        check(answer.error_code)?;
        check(answer.topics[0].partitions[0].error_code)
    }
}
