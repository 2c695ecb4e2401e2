//! Groups: what each operation sends, and how its answer is held against the model.

use super::{
    super::{calls::refusal, group_calls::Member},
    World,
    op::{By, Commit, GROUPS, TOPICS},
    state::Group,
};
use kafka_protocol::{ResponseError, protocol::StrBytes};

const METADATA_BYTES_MAX: usize = 4_096;

impl World {
    fn group(&mut self, group: usize) -> &mut Group {
        self.model.groups.entry(GROUPS[group].to_owned()).or_default()
    }

    /// Joins a group that has no member.
    pub(super) fn join(&mut self, client: usize, group: usize, topic: usize) {
        if self.group(group).member.is_none() {
            let member = self.clients[client].join(GROUPS[group], TOPICS[topic]).unwrap();
            self.group(group).member = Some((member, TOPICS[topic].to_owned()));
        }
    }

    pub(super) fn leave(&mut self, client: usize, group: usize) {
        let Some((member, _)) = self.group(group).member.take() else { return };
        self.clients[client].heartbeat(GROUPS[group], &member).unwrap();
        self.clients[client].leave(GROUPS[group], &member).unwrap();
        let after = refusal(self.clients[client].heartbeat(GROUPS[group], &member));
        assert_eq!(after, Some(ResponseError::UnknownMemberId));
    }

    pub(super) fn commit(&mut self, client: usize, group: usize, by: By, commits: &[Commit]) {
        let mut offsets: Vec<(&str, i32, i64, String)> = Vec::new();
        for commit in commits {
            let (topic, partition) = (TOPICS[commit.topic], i32::try_from(commit.partition).unwrap());
            if offsets.iter().all(|(other, number, ..)| (*other, *number) != (topic, partition)) {
                offsets.push((topic, partition, commit.offset, "m".repeat(commit.metadata_bytes)));
            }
        }
        let current = self.group(group).member.as_ref().map(|(member, _)| member.clone());
        let stranger = Member { id: StrBytes::from_static_str("stranger"), generation: 1 };
        let (member, refused) = match (by, current) {
            (By::Nobody, None) => (Member::none(), vec![]),
            (By::Nobody, Some(_)) => (Member::none(), vec![ResponseError::UnknownMemberId]),
            (By::Member, Some(member)) => (member, vec![]),
            (By::OldGeneration, Some(member)) => {
                (Member { generation: member.generation - 1, ..member }, vec![ResponseError::IllegalGeneration])
            }
            (By::Stranger, Some(_)) => (stranger, vec![ResponseError::UnknownMemberId]),
            (_, None) => (stranger, vec![ResponseError::UnknownMemberId, ResponseError::IllegalGeneration]),
        };
        let outcomes = self.clients[client].commit(GROUPS[group], &member, &offsets).unwrap();
        for ((topic, partition, offset, metadata), outcome) in offsets.into_iter().zip(outcomes) {
            let mut refused = refused.clone();
            let known = self.model.topics.get(topic);
            if known.is_none_or(|known| known.partitions.len() <= usize::try_from(partition).unwrap()) {
                refused.push(ResponseError::UnknownTopicOrPartition);
            }
            if metadata.len() > METADATA_BYTES_MAX {
                refused.push(ResponseError::OffsetMetadataTooLarge);
            }
            match outcome {
                Ok(()) => {
                    assert_eq!(refused, [], "{topic}-{partition} must not be committed");
                    self.group(group).offsets.insert((topic.to_owned(), partition), (offset, metadata));
                }
                Err(error) => assert!(refused.contains(&error.code()), "{topic}-{partition}: {error}, not {refused:?}"),
            }
        }
    }

    pub(super) fn committed(&mut self, client: usize, group: usize) {
        let committed = self.clients[client].committed(GROUPS[group]).unwrap();
        assert_eq!(committed, self.group(group).offsets, "{}", GROUPS[group]);
    }

    pub(super) fn delete_group(&mut self, client: usize, group: usize) {
        let deleted = refusal(self.clients[client].delete_group(GROUPS[group]));
        let known = self.group(group);
        match (&known.member, known.offsets.is_empty()) {
            (Some(_), _) => return assert_eq!(deleted, Some(ResponseError::NonEmptyGroup)),
            (None, false) => assert_eq!(deleted, None),
            // It may still know that there was a group.
            (None, true) => assert!(matches!(deleted, None | Some(ResponseError::GroupIdNotFound))),
        }
        known.offsets.clear();
    }

    pub(super) fn delete_offset(&mut self, client: usize, group: usize, topic: usize, partition: usize) {
        let (name, number) = (TOPICS[topic], i32::try_from(partition).unwrap());
        let deleted = refusal(self.clients[client].delete_offset(GROUPS[group], name, number));
        let exists = self.partition(topic, partition).is_some();
        let known = self.group(group);
        let mut refused = Vec::new();
        if !exists {
            refused.push(ResponseError::UnknownTopicOrPartition);
        }
        if known.member.as_ref().is_some_and(|(_, subscribed)| subscribed == name) {
            refused.push(ResponseError::GroupSubscribedToTopic);
        }
        let nothing = known.member.is_none() && known.offsets.is_empty();
        if nothing && deleted == Some(ResponseError::GroupIdNotFound) {
            return;
        }
        match deleted {
            None => {
                assert_eq!(refused, []);
                known.offsets.remove(&(name.to_owned(), number));
            }
            Some(code) => assert!(refused.contains(&code), "{code}, not {refused:?}"),
        }
    }
}
