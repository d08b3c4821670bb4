//! Listens: to the partition of all and the node's, each from its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::NodeId;
use im_core::port::To;
use im_link::bus::Inbox;
use im_link::{ANSWER_WAIT, ConnectError, Link, Task};
use rskafka::client::partition::{OffsetAt, PartitionClient};
use rskafka::record::Record;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::topic::Topic;

/// How long the broker waits for something to come before it answers with nothing.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// The most bytes of an answer; one that is larger comes alone.
const FETCH_BYTES_MAX: i32 = 4 << 20;
/// The most messages that a node lags behind; beyond it a sweep is cheaper than catching up.
const LAG_MAX: i64 = 4096;

/// Listens.
pub(crate) struct Ear {
    closed: Arc<Notify>,
    _reading: Vec<Task>,
}

impl Ear {
    pub(crate) async fn open(
        topic: Topic,
        node: &NodeId,
        inbox: Inbox,
    ) -> Result<Self, ConnectError> {
        let closed = Arc::new(Notify::new());
        let tos = [To::All, To::Node(node.clone())];
        let partitions = BTreeSet::from(tos.map(|to| topic.partition_of(&to)));
        let mut reading = Vec::new();
        for partition in partitions {
            let partition = topic.partition(partition).await?;
            let end = partition.get_offset(OffsetAt::Latest).await;
            let reader = Reader {
                partition,
                next: end.map_err(|error| topic.explain(&error))?,
                node: node.clone(),
                inbox: inbox.clone(),
            };
            let over = Arc::clone(&closed);
            reading.push(Task::spawn(async move {
                reader.read().await;
                over.notify_one();
            }));
        }
        Ok(Self {
            closed,
            _reading: reading,
        })
    }
}

#[async_trait]
impl Link for Ear {
    async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Whoever reads waits for no answer for long.
    async fn is_alive(&self) -> bool {
        true
    }
}

struct Reader {
    partition: PartitionClient,
    next: i64,
    node: NodeId,
    inbox: Inbox,
}

impl Reader {
    /// Reads until an answer does not come, or is an error: also one by which the place is not
    /// there any more, or of what the client can't read. A new session starts behind it.
    async fn read(mut self) {
        let wait = i32::try_from(FETCH_WAIT.as_millis()).unwrap_or(i32::MAX);
        loop {
            let fetched = self
                .partition
                .fetch_records(self.next, 1..FETCH_BYTES_MAX, wait);
            let Ok(Ok((records, end))) = timeout(FETCH_WAIT + ANSWER_WAIT, fetched).await else {
                return;
            };
            for it in records {
                self.next = it.offset + 1;
                self.take(it.record);
            }
            if end - self.next > LAG_MAX {
                self.next = end;
                self.inbox.missed();
            }
        }
    }

    fn take(&self, record: Record) {
        let is_ours = record
            .key
            .is_none_or(|key| key == self.node.as_str().as_bytes());
        match record.value {
            _ if !is_ours => {}
            Some(frame) => self.inbox.take(&frame.into()),
            None => self.inbox.take_garbage(),
        }
    }
}
