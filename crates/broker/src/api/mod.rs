//! One handler for each request: what it asks of the broker's parts, and what the client is told.
//!
//! Handlers never wait; what must (a long poll, a rebalance, an fsync) is a future that the connection awaits in order.

mod attempts;
mod commits;
mod configs;
mod fetch;
mod groups;
mod login;
mod metadata;
mod offsets;
mod produce;
mod session;
mod topics;

pub(crate) use attempts::Attempts;
pub(crate) use session::Session;

use crate::{
    access::Access,
    node::Node,
    wire::{Answer, Handler, Refused, Request},
};
use kafka_protocol::{ResponseError, messages::ApiKey, protocol::StrBytes};
use std::rc::Rc;

/// The handlers' way to the broker.
pub(crate) struct Api {
    node: Rc<Node>,
}

impl Api {
    pub(crate) fn new(node: Rc<Node>) -> Self {
        Self { node }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    fn answer(&self, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
        let node = &self.node;
        Ok(match request.api {
            ApiKey::Produce => produce::produce(node, session, request)?,
            ApiKey::Fetch => fetch::fetch(node, session, request)?,
            ApiKey::Metadata => metadata::metadata(node, session, request)?,
            ApiKey::DescribeCluster => metadata::describe_cluster(node, session, request)?,
            ApiKey::FindCoordinator => metadata::find_coordinator(node, session, request)?,
            ApiKey::ListOffsets => offsets::list(node, session, request)?,
            ApiKey::OffsetForLeaderEpoch => offsets::for_leader_epoch(node, session, request)?,
            ApiKey::DeleteRecords => offsets::delete_records(node, session, request)?,
            ApiKey::InitProducerId => produce::init_producer_id(node, request)?,
            ApiKey::JoinGroup => groups::join(node, session, request)?,
            ApiKey::SyncGroup => groups::sync(node, session, request)?,
            ApiKey::Heartbeat => groups::heartbeat(node, session, request)?,
            ApiKey::LeaveGroup => groups::leave(node, session, request)?,
            ApiKey::DescribeGroups => groups::describe(node, session, request)?,
            ApiKey::ListGroups => groups::list(node, session, request)?,
            ApiKey::DeleteGroups => groups::delete(node, session, request)?,
            ApiKey::OffsetCommit => commits::commit(node, session, request)?,
            ApiKey::OffsetFetch => commits::fetch(node, session, request)?,
            ApiKey::OffsetDelete => commits::delete(node, session, request)?,
            ApiKey::CreateTopics => topics::create(node, session, request)?,
            ApiKey::DeleteTopics => topics::delete(node, session, request)?,
            ApiKey::CreatePartitions => topics::add_partitions(node, session, request)?,
            ApiKey::DescribeConfigs => configs::describe(node, session, request)?,
            ApiKey::IncrementalAlterConfigs => configs::alter(node, session, request)?,
            ApiKey::SaslHandshake => login::handshake(request)?,
            ApiKey::SaslAuthenticate => login::authenticate(node, session, request)?,
            ApiKey::ApiVersions => Answer::Now(request.reply(&crate::wire::api_versions(None))?),
            other => Answer::Close(format!("{other:?} is not served")),
        })
    }
}

impl Handler for Api {
    type Session = Session;

    fn handle(&self, session: &Rc<Session>, request: Request) -> Answer {
        let open_to_strangers =
            matches!(request.api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        if session.rejected.get() {
            return Answer::Close("it went on after a wrong password".to_owned());
        }
        if !open_to_strangers && *session.access() == Access::Nothing {
            return Answer::Close("it did not log in (SASL/PLAIN)".to_owned());
        }
        self.answer(session, &request).unwrap_or_else(|refused| Answer::Close(refused.to_string()))
    }

    fn more_waiting(&self, session: &Rc<Session>) {
        session.hurry.notify_one();
    }

    fn gone(&self, session: &Rc<Session>) {
        self.node.abandon(&session.tokens.take());
    }
}

/// The wire's number for how something went; 0 is well.
fn code(result: Result<(), ResponseError>) -> i16 {
    result.map_or_else(|error| error.code(), |()| 0)
}

/// A refusal with words for a person.
type Refusal = (ResponseError, String);

fn words(text: impl Into<String>) -> Option<StrBytes> {
    Some(StrBytes::from_string(text.into()))
}
