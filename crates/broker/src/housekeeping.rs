//! What is done now and then: old records go, compacted topics are compacted, forgotten groups' offsets expire.

use crate::{Error, durability, node::Node, node::now_ms, topic::Partition};
use std::rc::Rc;

/// Keeps house until the journal cannot be replaced.
pub(crate) async fn run(node: Rc<Node>) -> Error {
    loop {
        tokio::time::sleep(node.config.housekeeping).await;
        let topics: Vec<_> = node.topics.borrow().values().cloned().collect();
        for topic in topics {
            let settings = *topic.settings.borrow();
            let partitions = topic.partitions.borrow().clone();
            for partition in partitions.iter().filter(|partition| !partition.is_gone()) {
                retain(&node, partition, &settings);
                compact(&node, partition, &settings).await;
            }
            // Clients come first.
            tokio::task::yield_now().await;
        }
        expire_offsets(&node);
        if let Err(error) = node.forget_removed() {
            node.cannot_write(&error);
        }
        if let Err(error) = rewrite_journal(&node).await {
            return error;
        }
    }
}

/// Replaces a journal that has grown by what it amounts to. An error leaves it unknown which of the two a restart would find.
async fn rewrite_journal(node: &Node) -> Result<(), Error> {
    if !node.store.borrow().rewrite_due() {
        return Ok(());
    }
    let started = node.store.borrow_mut().start_rewrite();
    match started {
        Ok(None) => {}
        Ok(Some(rewrite)) => {
            if let Ok(done) = tokio::task::spawn_blocking(move || rewrite.run()).await
                && !node.store.borrow_mut().finish_rewrite(done)?
            {
                tracing::warn!("the broker's journal could not be replaced by a shorter one; it is tried again");
            }
        }
        Err(error) => drop(node.cannot_write(&error)),
    }
    Ok(())
}

fn retain(node: &Node, partition: &Partition, settings: &crate::log::Settings) {
    let before = partition.log.borrow().start_offset();
    let gone = partition.log.borrow_mut().retain(settings, now_ms());
    match gone {
        Ok(gone) => node.remove(gone),
        Err(error) => drop(node.cannot_write(&error)),
    }
    if partition.log.borrow().start_offset() != before
        && let Err(error) = durability::keep_start(node, partition)
    {
        node.cannot_write(&error);
    }
}

/// One pass over one partition, beside the broker's thread.
async fn compact(node: &Node, partition: &Rc<Partition>, settings: &crate::log::Settings) {
    let Some(job) = partition.log.borrow().compaction(settings, now_ms()) else { return };
    let done = match tokio::task::spawn_blocking(move || job.run()).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            tracing::warn!(topic = partition.topic, partition = partition.index, %error, "compaction failed; it is tried again");
            return;
        }
        Err(_) => return,
    };
    if partition.is_gone() {
        return;
    }
    let installed = partition.log.borrow_mut().install(done);
    match installed {
        Ok(gone) => node.remove(gone),
        Err(error) => {
            tracing::warn!(topic = partition.topic, partition = partition.index, %error, "compaction could not be finished");
        }
    }
}

fn expire_offsets(node: &Node) {
    let groups = node.groups.borrow();
    let expired = node
        .store
        .borrow_mut()
        .expire_offsets(now_ms(), node.config.limits.offsets_retention_ms, |g| groups.is_empty(g));
    match expired {
        Ok(expired) if expired.is_empty() => {}
        Ok(_) => node.durability.journaled(),
        Err(error) => drop(node.cannot_write(&error)),
    }
}
