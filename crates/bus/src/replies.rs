//! A replica's place on `replies`: one partition, a boot id, and a reader that hands what is for it to the waiters. For callers that wait
//! at ingress, and for guardrails that wait for judges.

mod waiters;

pub use waiters::{Ending, Event, Waiters};

use crate::{
    Bus, Error,
    broadcast::{Raw, Start},
};
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{Reply, ReplyTo, headers, topic};
use uuid::Uuid;

/// Where replies for this replica go, and who waits for them. Cheap to clone.
#[derive(Clone)]
pub struct Replies {
    partition: i32,
    boot_id: Uuid,
    /// Those who wait here.
    pub waiters: Waiters,
}

impl Replies {
    /// Picks a partition and reads it from its end until `stop`. Returns once the end offset is assigned, so that no reply to a
    /// request published from now on can be missed. Records of other boots are skipped by a header, so replicas may share a
    /// partition.
    pub async fn assign(bus: &Bus, stop: CancellationToken) -> Result<Self, Error> {
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
                    tracing::error!(%error, partition, "a reply for this replica cannot be parsed; whoever waits for it waits in vain")
                }
            }
        };
        let name = bus.full_name(topic::REPLIES.spec.name);
        let assigned =
            tokio::task::spawn_blocking(move || bus.broadcast(&name, &[partition], Start::End, stop, each)).await;
        assigned.map_err(|_| Error::Stopped("replies".to_owned()))??;
        tracing::info!(partition, %boot_id, "replies are assigned");
        Ok(Self { partition, boot_id, waiters })
    }

    /// At that place, without a reader: whoever has it hands replies to the waiters.
    pub fn at(partition: i32, boot_id: Uuid) -> Self {
        Self { partition, boot_id, waiters: Waiters::default() }
    }

    /// What to stamp on a request whose answer is waited for here.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo { partition: Some(self.partition), boot_id: Some(self.boot_id), topic: None }
    }
}
