//! Webhooks: every entry posted to an endpoint, in the order of its conversation.

mod event;
mod sign;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::Entry;
use im_core::port::Clock;

pub use sign::{SecretError, Signer};

use crate::follow::{Failed, Sink, Taken};
use crate::reach::{Address, Answer, Reach, ReachError};
use event::Event;

/// How long an endpoint is left alone that says it is gone (410).
const GONE: Duration = Duration::from_secs(3_600);

/// Where a webhook goes, and what.
#[derive(Clone)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// What requests are signed with.
    pub signer: Signer,
    /// Which events; `None`: all. What ends in `.*` stands for all that begin so.
    pub events: Option<Vec<String>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    fn wants(&self, kind: &str) -> bool {
        let Some(events) = &self.events else {
            return true;
        };
        events.iter().any(|event| match event.strip_suffix(".*") {
            Some(part) => kind
                .strip_prefix(part)
                .is_some_and(|rest| rest.starts_with('.')),
            None => event == kind,
        })
    }
}

/// The sink of one endpoint.
#[derive(Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    reach: Reach,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook that goes out by `reach`.
    #[must_use]
    pub fn new(endpoint: Endpoint, reach: Reach, clock: Arc<dyn Clock>) -> Self {
        Self {
            endpoint,
            reach,
            clock,
        }
    }

    async fn post(&self, event: Event) -> Result<(), Failed> {
        let at = self.clock.timestamp().0.div_euclid(1_000);
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", event.id.clone()),
            ("webhook-timestamp", at.to_string()),
            (
                "webhook-signature",
                self.endpoint.signer.sign(&event.id, at, &event.body),
            ),
        ];
        let body = Bytes::from(event.body);
        let answer = self
            .reach
            .post(&self.endpoint.address, &headers, body)
            .await;
        metrics::counter!("im_webhook_posts_total").increment(1);
        judge(answer)
    }
}

/// What an answer means: all but a 2xx is tried again.
fn judge(answer: Result<Answer, ReachError>) -> Result<(), Failed> {
    let failed = match answer {
        Ok(answer) if answer.is_good() => return Ok(()),
        Ok(answer) => Failed {
            why: format!("HTTP {}", answer.status),
            after: answer
                .retry_after
                .or_else(|| (answer.status == 410).then_some(GONE)),
            refused: matches!(answer.status, 400..=499)
                && !matches!(answer.status, 408 | 410 | 429),
        },
        Err(error) => Failed {
            why: error.to_string(),
            after: None,
            refused: false,
        },
    };
    metrics::counter!("im_webhook_failures_total").increment(1);
    Err(failed)
}

#[async_trait]
impl Sink for Webhook {
    async fn take(&self, run: &[Entry]) -> Taken {
        for (count, entry) in run.iter().enumerate() {
            let event = Event::of(entry);
            if self.endpoint.wants(&event.kind)
                && let Err(failed) = self.post(event).await
            {
                return Taken {
                    count,
                    failed: Some(failed),
                };
            }
        }
        Taken::all(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::Allow;

    #[test]
    fn an_endpoint_gets_what_it_asked_for() {
        let mut endpoint = Endpoint {
            address: Address::parse("https://a.example", Allow::default()).unwrap(),
            signer: Signer::parse(sign::tests::SECRET, None).unwrap(),
            events: None,
        };
        assert!(endpoint.wants("message.sent"));
        endpoint.events = Some(vec!["message.*".to_owned(), "members.changed".to_owned()]);
        for (kind, wants) in [
            ("message.sent", true),
            ("members.changed", true),
            ("messages.sent", false),
            ("members.other", false),
            ("message", false),
        ] {
            assert_eq!(endpoint.wants(kind), wants, "{kind}");
        }
        assert!(!format!("{endpoint:?}").contains("MfKQ"));
    }

    #[test]
    fn only_the_endpoints_own_word_refuses_an_event() {
        let answer = |status| Answer {
            status,
            retry_after: None,
        };
        assert_eq!(judge(Ok(answer(204))), Ok(()));
        for (status, refused) in [
            (301, false),
            (400, true),
            (404, true),
            (408, false),
            (410, false),
            (422, true),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let failed = judge(Ok(answer(status))).unwrap_err();
            assert_eq!(failed.refused, refused, "{status}");
        }
        assert!(!judge(Err(ReachError::TimedOut)).unwrap_err().refused);
    }
}
