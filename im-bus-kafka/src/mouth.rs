//! Sends: a lane for each partition that is sent to, a request at a time, in which goes what came
//! meanwhile.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use im_core::port::{PortError, PortErrorKind, To};
use im_link::bus::{Sender, Unsent};
use im_link::{ANSWER_WAIT, ConnectError, Link, Task};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient};
use rskafka::record::Record;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::topic::Topic;

/// The most messages that wait for a lane; the bus has a bound on all, and bytes, before.
const WAITING_MAX: usize = 4096;
/// The most bytes of a request of several messages. The client writes 8 KiB at once; of a longer
/// request it writes the length first, and, as it leaves Nagle's algorithm on, the rest when the
/// broker's system acknowledges that, 43 ms later.
const REQUEST_BYTES_MAX: usize = 7_500;
/// What Kafka adds to a message at most, but for its key.
const RECORD_HEAD_BYTES: usize = 64;
/// How old what is deleted is at least.
const KEPT: Duration = Duration::from_secs(120);

/// Sends.
pub(crate) struct Mouth {
    topic: Topic,
    /// By partition; opened when something is sent there.
    lanes: Vec<OnceCell<Lane>>,
}

impl Mouth {
    pub(crate) async fn open(topic: Topic) -> Result<Self, ConnectError> {
        let mouth = Self {
            lanes: (0..topic.partitions()).map(|_| OnceCell::new()).collect(),
            topic,
        };
        mouth.lane(&To::All).await?;
        Ok(mouth)
    }

    async fn lane(&self, to: &To) -> Result<&Lane, ConnectError> {
        let partition = self.topic.partition_of(to);
        let lane = usize::try_from(partition).unwrap_or_default();
        let lane = &self.lanes[lane];
        lane.get_or_try_init(|| async { Ok(Lane::new(self.topic.partition(partition).await?)) })
            .await
    }
}

#[async_trait]
impl Link for Mouth {
    /// It hears of its end by the next answer that is missing.
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        match self.lane(&To::All).await {
            Ok(lane) => lane.partition.get_offset(OffsetAt::Latest).await.is_ok(),
            Err(_) => false,
        }
    }
}

#[async_trait]
impl Sender for Mouth {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        let lane = self.lane(to).await.map_err(|_| Unsent::Lost)?;
        let (done, sent) = oneshot::channel();
        let key = match to {
            To::All => None,
            To::Node(node) => Some(node.as_str().as_bytes().to_vec()),
        };
        let job = Job { key, frame, done };
        lane.jobs.send(job).await.map_err(|_| Unsent::Lost)?;
        sent.await.unwrap_or(Err(Unsent::Lost))
    }
}

/// What waits for a partition, and who sends it.
struct Lane {
    partition: Arc<PartitionClient>,
    jobs: mpsc::Sender<Job>,
    _sending: Task,
}

/// A message, and who waits for it.
struct Job {
    key: Option<Vec<u8>>,
    frame: Bytes,
    done: oneshot::Sender<Result<(), Unsent>>,
}

impl Job {
    fn bytes(&self) -> usize {
        RECORD_HEAD_BYTES + self.key.as_ref().map_or(0, Vec::len) + self.frame.len()
    }
}

impl Lane {
    fn new(partition: PartitionClient) -> Self {
        let partition = Arc::new(partition);
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        Self {
            jobs,
            _sending: Task::spawn(send(Arc::clone(&partition), waiting)),
            partition,
        }
    }
}

async fn send(partition: Arc<PartitionClient>, mut waiting: mpsc::Receiver<Job>) {
    let (mut next, mut old) = (None, Old::default());
    loop {
        let first = match next.take() {
            Some(job) => job,
            None => match waiting.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let (mut jobs, mut bytes) = (Vec::new(), first.bytes());
        jobs.push(first);
        while let Ok(job) = waiting.try_recv() {
            bytes += job.bytes();
            if bytes > REQUEST_BYTES_MAX {
                next = Some(job);
                break;
            }
            jobs.push(job);
        }
        if let Some(offset) = produce(&partition, jobs).await {
            old.delete(&partition, offset);
        }
    }
}

/// Sends, and tells those who wait. Gives the place of the first, if they were taken.
async fn produce(partition: &PartitionClient, jobs: Vec<Job>) -> Option<i64> {
    let now = now();
    let (mut records, mut waiting) = (Vec::new(), Vec::new());
    for job in jobs {
        records.push(Record {
            key: job.key,
            value: Some(job.frame.to_vec()),
            headers: Default::default(),
            timestamp: now,
        });
        waiting.push(job.done);
    }
    let produced = partition.produce(records, Compression::NoCompression).await;
    for done in waiting {
        // Who does not wait any more has given up.
        let _ = done.send(produced.as_ref().map(|_| ()).map_err(judge));
    }
    produced.ok()?.first().copied()
}

/// By it Kafka knows what is old.
fn now() -> DateTime<Utc> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let ms = i64::try_from(now.as_millis()).unwrap_or_default();
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

fn judge(error: &Error) -> Unsent {
    let Error::ServerError { protocol_error, .. } = error else {
        return Unsent::Lost;
    };
    let kind = match protocol_error {
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => {
            PortErrorKind::TooLarge
        }
        ProtocolError::TopicAuthorizationFailed => PortErrorKind::Internal,
        // Such as a leader that moves: a new session finds it.
        _ => return Unsent::Lost,
    };
    Unsent::Refused(PortError::new(kind))
}

/// What may be deleted by and by. Kafka has no say in it where the topic has its defaults, by which
/// it keeps a week.
#[derive(Default)]
struct Old(Option<(Instant, i64)>);

impl Old {
    /// Deletes what came before a place that was reached long ago; `offset` is reached now.
    fn delete(&mut self, partition: &Arc<PartitionClient>, offset: i64) {
        let now = Instant::now();
        match self.0 {
            Some((then, _)) if now < then + KEPT => return,
            None => {}
            Some((_, until)) => {
                let partition = Arc::clone(partition);
                tokio::spawn(async move {
                    let wait = i32::try_from(ANSWER_WAIT.as_millis()).unwrap_or(i32::MAX);
                    let deleted = partition.delete_records(until, wait);
                    if let Ok(Err(error)) = timeout(ANSWER_WAIT, deleted).await {
                        tracing::debug!(%error, "what is old stays on the topic");
                    }
                });
            }
        }
        self.0 = Some((now, offset));
    }
}
