//! DescribeConfigs and IncrementalAlterConfigs of topics; what little the broker tells of itself. Deliberately absent:
//! changing the broker's own settings, which whoever embeds it gives at the start.

use super::{Refusal, Session, words};
use crate::{
    Error,
    node::{NODE_ID, Node},
    store::catalog::{self, Change, Described, Kind, Source},
    topic::Topic,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        incremental_alter_configs_response::AlterConfigsResourceResponse,
    },
    protocol::StrBytes,
};
use std::rc::Rc;

/// Kinds of resources, as the protocol numbers them.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The source of a broker's setting that was given in its file.
const STATIC_BROKER_CONFIG: i8 = 4;

/// Operations of IncrementalAlterConfigs (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// DescribeConfigs.
pub(super) fn describe(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: DescribeConfigsRequest = request.decode()?;
    let results = asked.resources.iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe_one(node, session, resource) {
            Ok(mut configs) => {
                for config in &mut configs {
                    if !asked.include_synonyms {
                        config.synonyms.clear();
                    }
                    if !asked.include_documentation {
                        config.documentation = None;
                    }
                }
                answer.with_configs(configs)
            }
            Err((error, reason)) => answer.with_error_code(error.code()).with_error_message(words(reason)),
        }
    });
    let response = DescribeConfigsResponse::default().with_results(results.collect());
    Ok(Answer::Now(request.reply(&response)?))
}

fn describe_one(
    node: &Node,
    session: &Session,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let wanted =
        |name: &str| resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == *name));
    match resource.resource_type {
        TOPIC => {
            let topic = seen(node, session, &resource.resource_name)?;
            let overrides = node.overrides(&topic.name);
            Ok(catalog::describe(&overrides).filter(|config| wanted(config.name)).map(shown).collect())
        }
        BROKER if session.access().administers() => {
            broker_name(&resource.resource_name)?;
            Ok(of_broker(node).into_iter().filter(|config| wanted(&config.name)).collect())
        }
        BROKER => Err((ResponseError::ClusterAuthorizationFailed, "this client may not look at the broker".to_owned())),
        other => Err((ResponseError::InvalidRequest, format!("resources of type {other} have no configs here"))),
    }
}

fn seen(node: &Node, session: &Session, name: &str) -> Result<Rc<Topic>, Refusal> {
    if !session.access().sees(name) {
        return Err((ResponseError::TopicAuthorizationFailed, format!("this client may not look at {name}")));
    }
    node.topic(name).ok_or_else(|| (ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}")))
}

fn broker_name(name: &str) -> Result<(), Refusal> {
    if name == NODE_ID.to_string() {
        return Ok(());
    }
    Err((ResponseError::InvalidRequest, format!("there is no broker {name:?}; the only one is {NODE_ID}")))
}

fn shown(config: Described) -> DescribeConfigsResourceResult {
    let synonym = |value: String, source: Source| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(config.name))
            .with_value(words(value))
            .with_source(source as i8)
    };
    let mut synonyms = vec![synonym(config.default.to_owned(), Source::Default)];
    if config.source == Source::Topic {
        synonyms.insert(0, synonym(config.value.clone(), Source::Topic));
    }
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(config.name))
        .with_value(words(config.value))
        .with_config_source(config.source as i8)
        .with_synonyms(synonyms)
        .with_config_type(config.kind as i8)
        .with_documentation(words(config.documentation))
}

fn of_broker(node: &Node) -> Vec<DescribeConfigsResourceResult> {
    let limits = &node.config.limits;
    let own = |name: &'static str, value: String, kind: Kind| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(words(value))
            .with_read_only(true)
            .with_config_source(STATIC_BROKER_CONFIG)
            .with_config_type(kind as i8)
    };
    vec![
        own("auto.create.topics.enable", "false".to_owned(), Kind::Boolean),
        own("broker.id", NODE_ID.to_string(), Kind::Int),
        own("default.replication.factor", "1".to_owned(), Kind::Int),
        own("max.connections", limits.connections.to_string(), Kind::Int),
        own("offset.metadata.max.bytes", crate::store::METADATA_BYTES_MAX.to_string(), Kind::Int),
        own("socket.request.max.bytes", limits.request_bytes.to_string(), Kind::Int),
    ]
}

/// IncrementalAlterConfigs.
pub(super) fn alter(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: IncrementalAlterConfigsRequest = request.decode()?;
    let responses = asked.resources.iter().map(|resource| {
        let answer = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match alter_one(node, session, resource, asked.validate_only) {
            Ok(()) => answer,
            Err((error, reason)) => answer.with_error_code(error.code()).with_error_message(words(reason)),
        }
    });
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    Ok(Answer::Now(request.reply(&response)?))
}

fn alter_one(
    node: &Node,
    session: &Session,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    if !session.access().administers() {
        return Err((ResponseError::TopicAuthorizationFailed, "this client may not change configs".to_owned()));
    }
    if resource.resource_type != TOPIC {
        let reason = "only topics can be changed; the broker's settings are given when it starts";
        return Err((ResponseError::InvalidRequest, reason.to_owned()));
    }
    let topic = seen(node, session, &resource.resource_name)?;
    let mut overrides = node.overrides(&topic.name);
    for config in &resource.configs {
        let change = change(config)?;
        catalog::alter(&mut overrides, &config.name, change)
            .map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    }
    let parsed = catalog::parse(&overrides).map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    if validate_only {
        return Ok(());
    }
    let written = node.set_config(&topic, &overrides, parsed);
    written.map_err(|error: Error| (node.cannot_write(&error), "the broker could not write it; see its log".to_owned()))
}

fn change(config: &AlterableConfig) -> Result<Change<'_>, Refusal> {
    let invalid = |reason: String| (ResponseError::InvalidRequest, reason);
    let value = || config.value.as_deref().ok_or_else(|| invalid(format!("{}: the value is missing", config.name)));
    Ok(match config.config_operation {
        SET => Change::Set(value()?),
        DELETE => Change::Delete,
        APPEND => Change::Append(value()?),
        SUBTRACT => Change::Subtract(value()?),
        other => return Err(invalid(format!("{}: there is no operation {other}", config.name))),
    })
}
