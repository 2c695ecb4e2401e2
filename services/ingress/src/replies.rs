//! This replica's place on `replies`: one partition, a boot id, and a reader that hands what is for us to the waiters.

use crate::{Error, waiters::Waiters};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus,
    broadcast::{Raw, Start},
};
use tollgate_schemas::{Reply, ReplyTo, headers, topic};
use uuid::Uuid;

/// Where replies for this replica go, and who waits for them.
pub(crate) struct Replies {
    partition: i32,
    boot_id: Uuid,
    pub(crate) waiters: Waiters,
}

/// Picks a partition and reads it from its end. Returns once the end offset is assigned, so that no reply to a request
/// published from now on can be missed. Records of other boots are skipped by a header, so replicas may share a partition.
pub(crate) async fn assign(bus: &Bus, stop: CancellationToken) -> Result<Replies, Error> {
    let boot_id = Uuid::new_v4();
    let partitions = bus.partition_count(topic::REPLIES.spec.partitions);
    let partition = i32::try_from(boot_id.as_u128() % u128::from(partitions.unsigned_abs())).unwrap_or(0);
    let waiters = Waiters::default();
    let (bus, sink, ours) = (bus.clone(), waiters.clone(), boot_id.to_string());
    let each = move |record: Raw<'_>| {
        if record.header(headers::BOOT_ID) != Some(ours.as_str()) {
            return;
        }
        match serde_json::from_slice::<Reply>(record.value()) {
            Ok(reply) => sink.deliver(reply),
            Err(error) => {
                tracing::error!(%error, partition, "a reply for this replica cannot be parsed; its caller will get still_running")
            }
        }
    };
    let name = bus.full_name(topic::REPLIES.spec.name);
    let assigned =
        tokio::task::spawn_blocking(move || bus.broadcast(&name, &[partition], Start::End, stop, each)).await;
    assigned.map_err(|_| Error::Thread)??;
    tracing::info!(partition, %boot_id, "replies are assigned");
    Ok(Replies { partition, boot_id, waiters })
}

impl Replies {
    /// What to stamp on a request whose caller waits here.
    pub(crate) fn reply_to(&self) -> ReplyTo {
        ReplyTo { partition: Some(self.partition), boot_id: Some(self.boot_id), topic: None }
    }
}
