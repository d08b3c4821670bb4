//! The connection that sends, and the ones that listen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{PortError, PortErrorKind, To};
use im_link::bus::{Inbox, Sender, Unsent};
use im_link::{ConnectError, Link, Task, escaped};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::Rocket;
use crate::message::{self, Stored, TO};
use crate::topic::{Topic, code, explain};
use crate::wire::{Answer, Fields, Wire};

/// How long a broker may wait for something to come before it answers with nothing; it looks
/// every five seconds.
const PULL_WAIT_MS: u64 = 15_000;
/// When it has not answered by then, it does not.
const PULL_ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The most messages of an answer; brokers give no more by default.
const PULL_MAX: u32 = 32;
/// Of a pull: the broker may wait; what is wanted is said in the request.
const MAY_WAIT: u32 = 2;
const SAYS_WHAT: u32 = 4;
/// The most messages that a node lags behind; beyond it a sweep is cheaper than catching up.
const LAG_MAX: i64 = 4096;
/// It has the message, though not on its disk or on a copy by now.
const STORED: [u32; 4] = [code::DONE, 10, 11, 12];

/// A connection to the broker that has the topic.
struct Session {
    wire: Wire,
    topic: Topic,
}

impl Session {
    async fn open(rocket: &Rocket) -> Result<Self, ConnectError> {
        let topic = Topic::open(rocket).await?;
        let wire = Wire::open(&rocket.at, &topic.broker, rocket.login.clone()).await?;
        let session = Self { wire, topic };
        session.end(0).await.map_err(|answer| {
            // Where it was is not where it is.
            *rocket.last.lock() = None;
            explain(&rocket.at, answer.as_ref())
        })?;
        Ok(session)
    }

    /// The place of the next message of a queue.
    async fn end(&self, queue: u32) -> Result<i64, Option<Answer>> {
        let fields = Fields::from([
            ("topic", self.topic.name.clone()),
            ("queueId", queue.to_string()),
        ]);
        match self.wire.ask(code::MAX_OFFSET, fields, &[]).await {
            Some(answer) if answer.code == code::DONE => {
                answer.number("offset").ok_or(Some(answer))
            }
            answer => Err(answer),
        }
    }

    async fn pull(&self, queue: u32, place: i64, flags: u32) -> Option<Answer> {
        let fields = Fields::from([
            ("consumerGroup", self.topic.name.clone()),
            ("topic", self.topic.name.clone()),
            ("queueId", queue.to_string()),
            ("queueOffset", place.to_string()),
            ("maxMsgNums", PULL_MAX.to_string()),
            ("sysFlag", flags.to_string()),
            ("commitOffset", "0".to_owned()),
            ("suspendTimeoutMillis", PULL_WAIT_MS.to_string()),
            ("subscription", "*".to_owned()),
            ("subVersion", "0".to_owned()),
            ("expressionType", "TAG".to_owned()),
        ]);
        self.wire.ask(code::PULL, fields, &[]).await
    }

    fn sending(&self, to: &To) -> Fields {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let properties = match to {
            To::All => String::new(),
            To::Node(node) => message::property(TO, &escaped(node.as_str())),
        };
        Fields::from([
            ("producerGroup", self.topic.name.clone()),
            ("topic", self.topic.name.clone()),
            ("defaultTopic", "TBW102".to_owned()),
            ("defaultTopicQueueNums", "1".to_owned()),
            ("queueId", self.topic.queue_of(to).to_string()),
            ("sysFlag", "0".to_owned()),
            ("bornTimestamp", now.as_millis().to_string()),
            ("flag", "0".to_owned()),
            ("properties", properties),
            ("reconsumeTimes", "0".to_owned()),
            ("unitMode", "false".to_owned()),
            ("batch", "false".to_owned()),
        ])
    }
}

/// Sends.
pub(crate) struct Mouth(Session);

impl Mouth {
    pub(crate) async fn open(rocket: &Rocket) -> Result<Self, ConnectError> {
        Ok(Self(Session::open(rocket).await?))
    }
}

#[async_trait]
impl Link for Mouth {
    async fn closed(&self) {
        self.0.wire.closed.notified().await;
    }

    async fn is_alive(&self) -> bool {
        self.0.end(0).await.is_ok()
    }
}

#[async_trait]
impl Sender for Mouth {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        let answer = self.0.wire.ask(code::SEND, self.0.sending(to), &frame);
        let answer = answer.await.ok_or(Unsent::Lost)?;
        let kind = match answer.code {
            code if STORED.contains(&code) => return Ok(()),
            code::TOO_LARGE => PortErrorKind::TooLarge,
            code::NO_PERMISSION => PortErrorKind::Internal,
            code::BUSY => PortErrorKind::Unavailable,
            // Such as a topic that is gone: a new session finds it, or makes it.
            _ => return Err(Unsent::Lost),
        };
        Err(Unsent::Refused(PortError::new(kind)))
    }
}

/// Listens.
pub(crate) struct Ear {
    session: Arc<Session>,
    over: Arc<Notify>,
    _reading: Vec<Task>,
}

impl Ear {
    pub(crate) async fn open(
        rocket: &Rocket,
        node: &NodeId,
        inbox: Inbox,
    ) -> Result<Self, ConnectError> {
        let session = Arc::new(Session::open(rocket).await?);
        let over = Arc::new(Notify::new());
        let tos = [To::All, To::Node(node.clone())];
        let queues = BTreeSet::from(tos.map(|to| session.topic.queue_of(&to)));
        let mut reading = Vec::new();
        for queue in queues {
            let end = session.end(queue).await;
            let mut reader = Reader {
                session: Arc::clone(&session),
                queue,
                next: end.map_err(|answer| explain(&rocket.at, answer.as_ref()))?,
                node: escaped(node.as_str()),
                inbox: inbox.clone(),
            };
            // Without a wait, so that what forbids it is said at the start.
            let answer = session.pull(queue, reader.next, SAYS_WHAT).await;
            match answer {
                Some(answer) if reader.take(&answer) => {}
                answer => return Err(explain(&rocket.at, answer.as_ref())),
            }
            let over = Arc::clone(&over);
            reading.push(Task::spawn(async move {
                reader.read().await;
                over.notify_one();
            }));
        }
        Ok(Self {
            session,
            over,
            _reading: reading,
        })
    }
}

#[async_trait]
impl Link for Ear {
    async fn closed(&self) {
        self.over.notified().await;
    }

    async fn is_alive(&self) -> bool {
        self.session.end(0).await.is_ok()
    }
}

struct Reader {
    session: Arc<Session>,
    queue: u32,
    next: i64,
    node: String,
    inbox: Inbox,
}

impl Reader {
    /// Reads until an answer does not come, or is none.
    async fn read(mut self) {
        loop {
            let flags = MAY_WAIT | SAYS_WHAT;
            let answer = self.session.pull(self.queue, self.next, flags);
            match timeout(PULL_ANSWER_WAIT, answer).await {
                Ok(Some(answer)) if self.take(&answer) => {}
                _ => return,
            }
        }
    }

    /// Takes what came; whether the answer is one.
    fn take(&mut self, answer: &Answer) -> bool {
        let is_one = [code::DONE, code::NOTHING, code::AT_ONCE, code::MOVED];
        let (Some(next), true) = (
            answer.number("nextBeginOffset"),
            is_one.contains(&answer.code),
        ) else {
            return false;
        };
        if answer.code == code::DONE {
            for message in message::read(answer.body.clone()) {
                self.take_one(message);
            }
        }
        if answer.code == code::MOVED {
            self.inbox.missed();
        }
        self.next = next;
        let end = answer.number("maxOffset").unwrap_or(next);
        if end - self.next > LAG_MAX {
            self.next = end;
            self.inbox.missed();
        }
        true
    }

    fn take_one(&self, message: Stored) {
        let is_ours = message.to.is_none_or(|to| to == self.node);
        match message.body {
            // An answer may begin before the place that was asked for.
            _ if !is_ours || message.place < self.next => {}
            Some(frame) => self.inbox.take(&frame),
            None => self.inbox.take_garbage(),
        }
    }
}
