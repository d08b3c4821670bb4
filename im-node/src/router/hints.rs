//! What the other nodes are to be told, in order. What comes while the bus takes one payload leaves
//! together in the next: the busier a node is, the less a message costs here and where it is heard.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, To};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::wire::BusMessage;
use crate::node::Inner;

/// The most payloads that wait; what comes then is dropped, which the others are told.
const PAYLOADS_MAX: usize = 1024;
/// Payloads are closed at this size: some twenty messages share what a payload costs, and a larger
/// one is slow where a client writes 8 KiB at once (`im-bus-kafka`).
const PAYLOAD_BYTES: usize = 6 << 10;
/// How long the bus may take to take one.
const PUBLISH_WAIT: Duration = Duration::from_secs(3);
/// How long a node that stops waits for what is left.
const FLUSH_WAIT: Duration = Duration::from_secs(1);
/// How often it looks.
const FLUSH_STEP: Duration = Duration::from_millis(5);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Hints {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    payloads: VecDeque<Vec<u8>>,
    /// A payload is on its way.
    is_sending: bool,
    /// Something was dropped that nobody was told of.
    is_lossy: bool,
}

impl Waiting {
    /// Room for a record of this size, in payloads of at most `most` bytes.
    fn room(&mut self, node: &NodeId, size: usize, most: usize) -> Option<&mut Vec<u8>> {
        let limit = most.min(PAYLOAD_BYTES.max(size));
        let has_room = |last: &Vec<u8>| last.len() + size <= limit;
        if !self.payloads.back().is_some_and(has_room) {
            let mut payload = Vec::new();
            record(&mut payload, node.as_str().as_bytes());
            if self.payloads.len() >= PAYLOADS_MAX || payload.len() + size > most {
                return None;
            }
            self.payloads.push_back(payload);
        }
        self.payloads.back_mut()
    }

    fn push(&mut self, node: &NodeId, message: &[u8], most: usize) {
        match self.room(node, HEAD_BYTES + message.len(), most) {
            Some(payload) => record(payload, message),
            None => {
                self.is_lossy = true;
                metrics::counter!("im_bus_hints_dropped_total").increment(1);
            }
        }
    }
}

impl Hints {
    /// One more to tell.
    pub(super) fn push(&self, node: &NodeId, message: &BusMessage, most: usize) {
        let Some(message) = written(message) else {
            return;
        };
        self.waiting.lock().push(node, &message, most);
        self.arrived.notify_one();
    }

    /// What is to leave next.
    fn take(&self, node: &NodeId, most: usize) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock();
        if waiting.is_lossy && waiting.payloads.len() < PAYLOADS_MAX {
            waiting.is_lossy = false;
            if let Some(missed) = written(&BusMessage::Missed) {
                waiting.push(node, &missed, most);
            }
        }
        let payload = waiting.payloads.pop_front();
        waiting.is_sending = payload.is_some();
        payload
    }

    fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.payloads.is_empty() && !waiting.is_sending
    }

    /// Waits until all is told, or for [`FLUSH_WAIT`].
    pub(crate) async fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT;
        while !self.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(FLUSH_STEP).await;
        }
    }
}

/// Sends what waits, for as long as the node lives.
pub(super) async fn send(inner: Weak<Inner>, hints: Arc<Hints>, bus: Arc<dyn Bus>) {
    let most = bus.capability().payload_bytes_max;
    loop {
        hints.arrived.notified().await;
        let Some(node) = inner.upgrade().map(|it| it.settings.node.clone()) else {
            return;
        };
        while let Some(payload) = hints.take(&node, most) {
            match timeout(PUBLISH_WAIT, bus.publish(To::All, Bytes::from(payload))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the bus did not take a message; the sweep heals it");
                }
                Err(_) => hints.waiting.lock().is_lossy = true,
            }
        }
    }
}

/// Bytes before each record: its length.
const HEAD_BYTES: usize = 4;

fn written(message: &impl Serialize) -> Option<Vec<u8>> {
    match rmp_serde::to_vec(message) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::error!(%error, "a bus message could not be written");
            None
        }
    }
}

fn record(payload: &mut Vec<u8>, bytes: &[u8]) {
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    payload.extend(length.to_be_bytes());
    payload.extend(bytes);
}

/// Who sent a payload, and its messages; `None` for one that nobody wrote so. Of a message that is
/// not understood, the others are.
pub(super) fn read(payload: &[u8]) -> Option<(&str, Vec<Option<BusMessage>>)> {
    let (node, mut rest) = next(payload)?;
    let node = str::from_utf8(node).ok().filter(|node| !node.is_empty())?;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let message;
        (message, rest) = next(rest)?;
        messages.push(rmp_serde::from_slice(message).ok());
    }
    Some((node, messages))
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    rest.split_at_checked(u32::from_be_bytes(*head) as usize)
}

#[cfg(test)]
mod tests {
    use im_core::model::{ConversationId, UserId};

    use super::*;

    fn node() -> NodeId {
        NodeId::new("n1").unwrap()
    }

    fn typing(user: &str) -> BusMessage {
        BusMessage::Typing {
            conv: ConversationId::new("c").unwrap(),
            user: UserId::new(user).unwrap(),
        }
    }

    fn told(hints: &Hints, most: usize) -> Vec<Vec<Option<BusMessage>>> {
        let payloads = std::iter::from_fn(|| hints.take(&node(), most));
        let payloads = payloads.map(|it| {
            assert!(it.len() <= most, "{} bytes", it.len());
            let (from, messages) = read(&it).unwrap();
            assert_eq!(from, "n1");
            messages
        });
        payloads.collect()
    }

    #[test]
    fn what_waits_leaves_together_and_in_order() {
        let hints = Hints::default();
        for user in ["a", "b", "c"] {
            hints.push(&node(), &typing(user), 1000);
        }
        let all = ["a", "b", "c"].map(|user| Some(typing(user)));
        assert_eq!(told(&hints, 1000), [all.to_vec()]);
        assert!(told(&hints, 1000).is_empty());
    }

    #[test]
    fn payloads_are_bounded_and_what_is_dropped_is_told() {
        let hints = Hints::default();
        let one = written(&typing("a")).unwrap().len() + HEAD_BYTES;
        // Two of them and the sender's name.
        let most = 2 * one + HEAD_BYTES + 2;
        for _ in 0..=2 * PAYLOADS_MAX {
            hints.push(&node(), &typing("a"), most);
        }
        // The drop shows as soon as there is room to say so.
        let first = hints.take(&node(), most).unwrap();
        assert_eq!(read(&first).unwrap().1.len(), 2);
        let told: Vec<_> = told(&hints, most).into_iter().flatten().collect();
        assert_eq!(told.len(), 2 * PAYLOADS_MAX - 1);
        assert_eq!(told.last(), Some(&Some(BusMessage::Missed)));
    }

    #[test]
    fn what_is_too_large_for_the_bus_is_dropped_alone() {
        let hints = Hints::default();
        hints.push(&node(), &typing(&"x".repeat(64)), 60);
        hints.push(&node(), &typing("a"), 60);
        let expected = vec![Some(typing("a")), Some(BusMessage::Missed)];
        assert_eq!(told(&hints, 60), [expected]);
    }

    #[test]
    fn of_a_message_that_is_not_understood_the_others_are() {
        let mut payload = Vec::new();
        record(&mut payload, b"n1");
        record(&mut payload, &written(&typing("a")).unwrap());
        record(&mut payload, b"\xc1");
        record(&mut payload, &written(&typing("b")).unwrap());
        let (_, messages) = read(&payload).unwrap();
        assert_eq!(messages, [Some(typing("a")), None, Some(typing("b"))]);
        for end in 0..payload.len() {
            // Cut within a record, nothing of it is believed; between two, what stands before.
            assert!(read(&payload[..end]).is_none_or(|(_, read)| read.len() < 3));
        }
    }
}
