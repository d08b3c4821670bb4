//! The topic of a cluster: which broker has it, and how many queues.

use std::collections::BTreeMap;
use std::time::Duration;

use im_core::port::To;
use im_link::bus::lane_of;
use im_link::{At, ConnectError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Rocket;
use crate::wire::{Answer, Fields, Wire};

/// The queues of a topic that we make: one for all, seven for nodes.
const QUEUES: u32 = 8;
/// How often the name server is asked for a topic that was just made.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Who of a broker's copies is written to.
const MASTER: &str = "0";
/// May be read and written.
const READ_WRITE: u32 = 6;

/// Requests and answers, by the numbers of RocketMQ.
pub(crate) mod code {
    pub(crate) const SEND: u32 = 10;
    pub(crate) const PULL: u32 = 11;
    pub(crate) const MAKE_TOPIC: u32 = 17;
    pub(crate) const MAX_OFFSET: u32 = 30;
    pub(crate) const ROUTE: u32 = 105;
    pub(crate) const BROKERS: u32 = 106;

    pub(crate) const DONE: u32 = 0;
    pub(crate) const BUSY: u32 = 2;
    pub(crate) const TOO_LARGE: u32 = 13;
    pub(crate) const NO_PERMISSION: u32 = 16;
    pub(crate) const NO_TOPIC: u32 = 17;
    pub(crate) const NOTHING: u32 = 19;
    pub(crate) const AT_ONCE: u32 = 20;
    pub(crate) const MOVED: u32 = 21;
}

/// Where the topic is.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// The broker's host and port.
    pub(crate) broker: String,
    pub(crate) queues: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    broker_datas: Vec<BrokerData>,
    queue_datas: Vec<QueueData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    broker_addrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueData {
    broker_name: String,
    read_queue_nums: u32,
    write_queue_nums: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Brokers {
    broker_addr_table: BTreeMap<String, BrokerData>,
}

impl Topic {
    /// Asks the name servers; where it was, when none of them knows.
    pub(crate) async fn open(rocket: &Rocket) -> Result<Self, ConnectError> {
        let found = Self::find(rocket).await;
        let mut last = rocket.last.lock();
        match (found, &*last) {
            (Ok(topic), _) => {
                *last = Some(topic.clone());
                Ok(topic)
            }
            // One that has just started has not heard of its brokers.
            (Err(_), Some(topic)) => Ok(topic.clone()),
            (Err(error), None) => Err(error),
        }
    }

    async fn find(rocket: &Rocket) -> Result<Self, ConnectError> {
        let mut error = ConnectError::Url {
            form: crate::FORM.whole,
        };
        for server in &rocket.servers {
            match Wire::open(&rocket.at, server, rocket.login.clone()).await {
                Ok(wire) => return Self::of(rocket, &wire).await,
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    async fn of(rocket: &Rocket, names: &Wire) -> Result<Self, ConnectError> {
        if let Some(topic) = route(rocket, names).await? {
            return Ok(topic);
        }
        make(rocket, names).await?;
        // Whoever waits for this has a bound on it.
        loop {
            if let Some(topic) = route(rocket, names).await? {
                return Ok(topic);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    pub(crate) fn queue_of(&self, to: &To) -> u32 {
        lane_of(to, self.queues)
    }
}

/// What an answer that is no success means.
pub(crate) fn explain(at: &At, answer: Option<&Answer>) -> ConnectError {
    match answer {
        None => ConnectError::unreachable(at, "it closed the connection"),
        Some(answer) if answer.is_denied() => ConnectError::Credentials { at: at.clone() },
        Some(answer) => ConnectError::refused(at, format!("code {}", answer.code)),
    }
}

async fn route(rocket: &Rocket, names: &Wire) -> Result<Option<Topic>, ConnectError> {
    let fields = Fields::from([
        ("topic", rocket.topic.clone()),
        ("acceptStandardJsonOnly", "true".to_owned()),
    ]);
    let answer = names.ask(code::ROUTE, fields, &[]).await;
    let route: Route = match &answer {
        Some(answer) if answer.code == code::NO_TOPIC => return Ok(None),
        answer => read(&rocket.at, answer.as_ref())?,
    };
    let mut queues = route.queue_datas;
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let topic = queues.iter().find_map(|queues| {
        let mut brokers = route.broker_datas.iter();
        let broker = brokers.find(|it| it.broker_name == queues.broker_name)?;
        let addr = broker.broker_addrs.get(MASTER)?;
        let count = queues.read_queue_nums.min(queues.write_queue_nums);
        (count > 0).then(|| Topic {
            name: rocket.topic.clone(),
            broker: addr.clone(),
            queues: count,
        })
    });
    match topic {
        Some(topic) => Ok(Some(topic)),
        None => Err(ConnectError::refused(
            &rocket.at,
            "no broker that can be written to",
        )),
    }
}

/// Makes the topic on the first broker by name, so that nodes that do so at once do the same.
async fn make(rocket: &Rocket, names: &Wire) -> Result<(), ConnectError> {
    let at = &rocket.at;
    let answer = names.ask(code::BROKERS, Fields::new(), &[]).await;
    let brokers: Brokers = read(at, answer.as_ref())?;
    let mut brokers = brokers.broker_addr_table.values();
    let broker = brokers.find_map(|it| it.broker_addrs.get(MASTER));
    let broker =
        broker.ok_or_else(|| ConnectError::refused(at, "no broker that can be written to"))?;
    let wire = Wire::open(at, broker, rocket.login.clone()).await?;
    let queues = QUEUES.to_string();
    let fields = Fields::from([
        ("topic", rocket.topic.clone()),
        ("defaultTopic", "TBW102".to_owned()),
        ("readQueueNums", queues.clone()),
        ("writeQueueNums", queues),
        ("perm", READ_WRITE.to_string()),
        ("topicFilterType", "SINGLE_TAG".to_owned()),
        ("topicSysFlag", "0".to_owned()),
        ("order", "false".to_owned()),
        ("attributes", "+message.type=NORMAL".to_owned()),
    ]);
    let answer = wire.ask(code::MAKE_TOPIC, fields, &[]).await;
    match answer {
        Some(answer) if answer.code == code::DONE => Ok(()),
        answer => Err(explain(at, answer.as_ref())),
    }
}

fn read<T: DeserializeOwned>(at: &At, answer: Option<&Answer>) -> Result<T, ConnectError> {
    match answer {
        Some(answer) if answer.code == code::DONE => {
            let read = serde_json::from_slice(&quoted(&answer.body));
            read.map_err(|_| ConnectError::Protocol { at: at.clone() })
        }
        answer => Err(explain(at, answer)),
    }
}

/// JSON, from what RocketMQ takes for it: its keys may be bare numbers.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 16);
    let (mut is_text, mut at) = (false, 0);
    while let Some(&byte) = text.get(at) {
        quoted.push(byte);
        at += 1;
        match byte {
            b'\\' if is_text => {
                quoted.extend(text.get(at));
                at += 1;
            }
            b'"' => is_text = !is_text,
            b'{' | b',' if !is_text => {
                let digits = text[at..].iter().take_while(|it| it.is_ascii_digit());
                let end = at + digits.count();
                if end > at && text.get(end) == Some(&b':') {
                    quoted.push(b'"');
                    quoted.extend(&text[at..end]);
                    quoted.push(b'"');
                    at = end;
                }
            }
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_keys_are_quoted_and_nothing_else() {
        for (text, json) in [
            (r#"{0:"a",12:"b"}"#, r#"{"0":"a","12":"b"}"#),
            (r#"{"a":[1,2],"b":{1:2}}"#, r#"{"a":[1,2],"b":{"1":2}}"#),
            (r#"{"a":"{0:,1:\"{2:"}"#, r#"{"a":"{0:,1:\"{2:"}"#),
            (r#"{"a":"\"#, r#"{"a":"\"#),
        ] {
            assert_eq!(quoted(text.as_bytes()), json.as_bytes(), "{text}");
        }
    }
}
