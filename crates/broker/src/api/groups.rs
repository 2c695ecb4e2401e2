//! Consumer groups on the wire: what `group` decides, said as the protocol wants it.

use super::{Session, code};
use crate::{
    group::{Description, Join, Joined, Leaver, Listing, Output, State, Sync, Synced, Token},
    node::Node,
    wire::{Answer, Refused, Reply, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        join_group_response::JoinGroupResponseMember,
        leave_group_response::MemberResponse,
        list_groups_response::ListedGroup,
    },
    protocol::StrBytes,
};
use std::{collections::HashSet, rc::Rc};
use tokio::sync::oneshot;

/// A client that does not want to know the authorised operations, as the protocol writes it.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

fn allowed(node: &Node, session: &Session, group: &str) -> Result<(), ResponseError> {
    let may = session.access().joins(group, &node.config.reserved_groups);
    if may { Ok(()) } else { Err(ResponseError::GroupAuthorizationFailed) }
}

fn text(string: impl Into<String>) -> StrBytes {
    StrBytes::from_string(string.into())
}

fn owned(string: &Option<StrBytes>) -> Option<String> {
    string.as_ref().map(ToString::to_string)
}

/// An answer that comes when the group has decided.
fn later(
    session: &Rc<Session>,
    token: Token,
    decided: oneshot::Receiver<Output>,
    encode: impl FnOnce(Output) -> Result<Reply, Refused> + 'static,
) -> Answer {
    session.tokens.borrow_mut().push(token);
    let session = session.clone();
    Answer::Later(Box::pin(async move {
        let output = decided.await;
        session.tokens.borrow_mut().retain(|waiting| *waiting != token);
        match output {
            Ok(output) => encode(output),
            Err(_) => Err(Refused::Close("its group request was given up".to_owned())),
        }
    }))
}

/// JoinGroup.
pub(super) fn join(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: JoinGroupRequest = request.decode()?;
    let room =
        || if node.has_room_for_group(&asked.group_id) { Ok(()) } else { Err(ResponseError::GroupMaxSizeReached) };
    if let Err(error) = allowed(node, session, &asked.group_id).and_then(|()| room()) {
        let refused = JoinGroupResponse::default().with_error_code(error.code()).with_generation_id(-1);
        return Ok(Answer::Now(request.reply(&refused)?));
    }
    let join = Join {
        version: request.version,
        group: asked.group_id.to_string(),
        member: asked.member_id.to_string(),
        instance: owned(&asked.group_instance_id),
        client_id: request.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_host: session.peer.to_string(),
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        protocol_type: asked.protocol_type.to_string(),
        protocols: asked.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata)).collect(),
    };
    let (token, decided) = node.wait();
    node.groups.borrow_mut().join(node.uptime_ms(), token, join);
    node.groups_changed();
    let request = request.clone();
    Ok(later(session, token, decided, move |output| match output {
        Output::Join(_, joined) => request.reply(&joined_response(joined, request.version)),
        Output::Sync(..) => Err(Refused::Close("the group mixed up its answers".to_owned())),
    }))
}

fn joined_response(joined: Joined, version: i16) -> JoinGroupResponse {
    let member = |m: crate::group::JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(m.member))
            .with_group_instance_id(m.instance.map(text))
            .with_metadata(m.metadata)
    };
    // The name may be null from version 7 on; before that the empty string says the same.
    let protocol = joined.protocol.map(text).or_else(|| (version < 7).then(|| text("")));
    JoinGroupResponse::default()
        .with_error_code(code(joined.error.map_or(Ok(()), Err)))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(protocol)
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member))
        .with_members(joined.members.into_iter().map(member).collect())
}

/// SyncGroup.
pub(super) fn sync(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: SyncGroupRequest = request.decode()?;
    if let Err(error) = allowed(node, session, &asked.group_id) {
        return Ok(Answer::Now(request.reply(&SyncGroupResponse::default().with_error_code(error.code()))?));
    }
    let sync = Sync {
        group: asked.group_id.to_string(),
        generation: asked.generation_id,
        member: asked.member_id.to_string(),
        instance: owned(&asked.group_instance_id),
        protocol_type: owned(&asked.protocol_type),
        protocol: owned(&asked.protocol_name),
        assignments: asked.assignments.into_iter().map(|a| (a.member_id.to_string(), a.assignment)).collect(),
    };
    let (token, decided) = node.wait();
    node.groups.borrow_mut().sync(node.uptime_ms(), token, sync);
    node.groups_changed();
    let request = request.clone();
    Ok(later(session, token, decided, move |output| match output {
        Output::Sync(_, synced) => request.reply(&synced_response(synced)),
        Output::Join(..) => Err(Refused::Close("the group mixed up its answers".to_owned())),
    }))
}

fn synced_response(synced: Synced) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(code(synced.error.map_or(Ok(()), Err)))
        .with_protocol_type(synced.protocol_type.map(text))
        .with_protocol_name(synced.protocol.map(text))
        .with_assignment(synced.assignment)
}

/// Heartbeat.
pub(super) fn heartbeat(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: HeartbeatRequest = request.decode()?;
    let beat = allowed(node, session, &asked.group_id).and_then(|()| {
        let instance = asked.group_instance_id.as_deref();
        let mut groups = node.groups.borrow_mut();
        let error =
            groups.heartbeat(node.uptime_ms(), &asked.group_id, &asked.member_id, asked.generation_id, instance);
        error.map_or(Ok(()), Err)
    });
    node.groups_changed();
    Ok(Answer::Now(request.reply(&HeartbeatResponse::default().with_error_code(code(beat)))?))
}

/// LeaveGroup: one member before version 3, several since (KIP-345).
pub(super) fn leave(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: LeaveGroupRequest = request.decode()?;
    if let Err(error) = allowed(node, session, &asked.group_id) {
        return Ok(Answer::Now(request.reply(&LeaveGroupResponse::default().with_error_code(error.code()))?));
    }
    let leavers: Vec<Leaver> = if request.version < 3 {
        vec![Leaver { member: asked.member_id.to_string(), instance: None }]
    } else {
        let leaver = |m: &kafka_protocol::messages::leave_group_request::MemberIdentity| Leaver {
            member: m.member_id.to_string(),
            instance: owned(&m.group_instance_id),
        };
        asked.members.iter().map(leaver).collect()
    };
    let left = node.groups.borrow_mut().leave(node.uptime_ms(), &asked.group_id, &leavers);
    node.groups_changed();
    let results = match left {
        Ok(results) => results,
        Err(error) => {
            return Ok(Answer::Now(request.reply(&LeaveGroupResponse::default().with_error_code(error.code()))?));
        }
    };
    let response = if request.version < 3 {
        let first = results.into_iter().next().flatten();
        LeaveGroupResponse::default().with_error_code(code(first.map_or(Ok(()), Err)))
    } else {
        let member = |(leaver, error): (Leaver, Option<ResponseError>)| {
            MemberResponse::default()
                .with_member_id(text(leaver.member))
                .with_group_instance_id(leaver.instance.map(text))
                .with_error_code(code(error.map_or(Ok(()), Err)))
        };
        LeaveGroupResponse::default().with_members(leavers.into_iter().zip(results).map(member).collect())
    };
    Ok(Answer::Now(request.reply(&response)?))
}

/// DescribeGroups.
pub(super) fn describe(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: DescribeGroupsRequest = request.decode()?;
    let groups = node.groups.borrow();
    let one = |group: &GroupId| {
        let answer =
            DescribedGroup::default().with_group_id(group.clone()).with_authorized_operations(OPERATIONS_NOT_ASKED);
        match allowed(node, session, group) {
            Err(error) => answer.with_error_code(error.code()),
            Ok(()) => described(
                answer,
                groups.describe(group),
                node.store.borrow().state().offsets.groups().contains_key(&***group),
            ),
        }
    };
    let described = asked.groups.iter().map(one).collect();
    Ok(Answer::Now(request.reply(&DescribeGroupsResponse::default().with_groups(described))?))
}

/// A group that has only offsets is empty, not dead.
fn described(answer: DescribedGroup, group: Description, has_offsets: bool) -> DescribedGroup {
    let member = |m: crate::group::DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(text(m.member))
            .with_group_instance_id(m.instance.map(text))
            .with_client_id(text(m.client_id))
            .with_client_host(text(m.client_host))
            .with_member_metadata(m.metadata)
            .with_member_assignment(m.assignment)
    };
    let state = if group.state == State::Dead && has_offsets { State::Empty } else { group.state };
    answer
        .with_group_state(StrBytes::from_static_str(state.as_str()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(group.members.into_iter().map(member).collect())
}

/// ListGroups, those with offsets alone too.
pub(super) fn list(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: ListGroupsRequest = request.decode()?;
    let store = node.store.borrow();
    let mut listed = node.groups.borrow().list();
    let known: HashSet<String> = listed.iter().map(|g| g.group.clone()).collect();
    let resting = store.state().offsets.groups().keys().filter(|group| !known.contains(*group));
    listed.extend(resting.map(|group| Listing {
        group: group.clone(),
        protocol_type: String::new(),
        state: State::Empty,
    }));
    let listed = listed.into_iter().filter(|g| allowed(node, session, &g.group).is_ok());
    let listed = listed.filter(|g| g.matches(&asked.states_filter, &asked.types_filter)).map(|g| {
        ListedGroup::default()
            .with_group_id(GroupId(text(g.group)))
            .with_protocol_type(text(g.protocol_type))
            .with_group_state(StrBytes::from_static_str(g.state.as_str()))
            .with_group_type(StrBytes::from_static_str(Listing::TYPE))
    });
    Ok(Answer::Now(request.reply(&ListGroupsResponse::default().with_groups(listed.collect()))?))
}

/// DeleteGroups: groups without members, and their offsets.
pub(super) fn delete(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: DeleteGroupsRequest = request.decode()?;
    let results = asked.groups_names.into_iter().map(|group| {
        let deleted = allowed(node, session, &group).and_then(|()| delete_one(node, &group));
        DeletableGroupResult::default().with_group_id(group).with_error_code(code(deleted))
    });
    let response = DeleteGroupsResponse::default().with_results(results.collect());
    Ok(Answer::Now(request.reply(&response)?))
}

fn delete_one(node: &Node, group: &str) -> Result<(), ResponseError> {
    let has_offsets = node.store.borrow().state().offsets.groups().contains_key(group);
    match node.groups.borrow_mut().delete(group) {
        Ok(()) => {}
        Err(ResponseError::GroupIdNotFound) if has_offsets => {}
        Err(error) => return Err(error),
    }
    if has_offsets {
        node.store.borrow_mut().delete_group(group).map_err(|error| node.cannot_write(&error))?;
        node.durability.journaled();
    }
    Ok(())
}
