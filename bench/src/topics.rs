//! Topics of one run: made for the bare hops, and all deleted at the end.

use anyhow::{Context, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

/// Creates topics with this many partitions each.
pub(crate) async fn create(brokers: &str, names: &[String], partitions: i32) -> anyhow::Result<()> {
    let new = names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect::<Vec<_>>();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for result in admin(brokers)?.create_topics(&new, &options).await? {
        result.map_err(|(topic, code)| anyhow!("topic {topic} cannot be created: {code}"))?;
    }
    Ok(())
}

/// Waits until every partition of the run's topics tells its end: right after their creation some have no leader yet.
pub(crate) async fn settled(brokers: &str, prefix: &str) -> anyhow::Result<()> {
    let (brokers, prefix) = (brokers.to_owned(), prefix.to_owned());
    let wait = move || -> anyhow::Result<()> {
        let consumer = ClientConfig::new().set("bootstrap.servers", brokers).create::<BaseConsumer>()?;
        let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
        for topic in metadata.topics().iter().filter(|t| t.name().starts_with(&prefix)) {
            for partition in topic.partitions() {
                let begun = Instant::now();
                while let Err(error) = consumer.fetch_watermarks(topic.name(), partition.id(), TIMEOUT) {
                    ensure!(begun.elapsed() < TIMEOUT, "topic {} is not usable: {error}", topic.name());
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(wait).await?
}

/// Deletes every topic with the run's prefix.
pub(crate) async fn delete(brokers: &str, prefix: &str) -> anyhow::Result<()> {
    let (brokers, prefix) = (brokers.to_owned(), prefix.to_owned());
    let list = move || -> anyhow::Result<_> {
        let admin = admin(&brokers)?;
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        let names = metadata.topics().iter().map(|t| t.name().to_owned()).filter(|name| name.starts_with(&prefix));
        Ok((names.collect::<Vec<_>>(), admin))
    };
    let (names, admin) = tokio::task::spawn_blocking(list).await?.context("listing the topics of this run")?;
    if !names.is_empty() {
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        admin.delete_topics(&names, &AdminOptions::new().operation_timeout(Some(TIMEOUT))).await?;
    }
    Ok(())
}
