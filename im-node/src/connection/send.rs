//! `send` frames: the fast path when everything is known, a queue when something must be read.
//!
//! Sends of one connection keep their order: while one of them waits for a read, those behind it
//! wait too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_core::frame::{CloseCode, ErrorCode, Failure};
use im_core::model::Draft;
use im_core::port::{PortError, PortErrorKind};
use im_core::rule::forward::check_own;
use parking_lot::Mutex;

use super::Connection;
use crate::appender::{Submission, Waiter, answer_sent, busy, port_failure};
use crate::hub::LocalUser;
use crate::link::Link;
use crate::node::Inner;
use crate::service::{Decided, Prepared};

/// Sends that wait behind one that must read. Bounded by the sends in flight.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    waiting: Mutex<(VecDeque<Waiting>, bool)>,
}

#[derive(Debug)]
struct Waiting {
    draft: Draft,
    /// It was refused already, but a retry of what is stored must get `sent`.
    refused: Option<Failure>,
}

impl Connection {
    pub(super) fn on_send(&mut self, local: &Arc<LocalUser>, draft: Draft) {
        let link = &self.link;
        let in_flight = link.sends_in_flight.fetch_add(1, Ordering::AcqRel);
        // The transport stops reading at half of this; what it had read still fits.
        if in_flight >= 2 * super::SENDS_IN_FLIGHT_MAX {
            link.refuse("send", None, Some(draft.cm_id), busy());
            return link.send_answered();
        }
        let now = self.inner.clock.now();
        let refused = self.inner.hub.take_token(&local.id, now).err().map(|wait| {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Failure::retry(ErrorCode::RateLimited, "too many messages", ms)
        });
        if refused.is_some() {
            let sends_per_s = self.inner.settings.limits.sends_per_s;
            if self.flood.refuse(now, sends_per_s) {
                return link.bye(CloseCode::Flooding, self.inner.settings.reconnect_ms);
            }
            return self.queue(local, Waiting { draft, refused });
        }
        if let Err(fault) = check_own(&draft.body) {
            let refused = Some(fault.into());
            return self.queue(local, Waiting { draft, refused });
        }
        if self.sends.waiting.lock().1 {
            return self.queue(
                local,
                Waiting {
                    draft,
                    refused: None,
                },
            );
        }
        match self.inner.prepare_fast(&local.id, &draft) {
            Some(Ok(prepared)) => submit(&self.inner, link, draft, prepared),
            Some(Err(refused)) => self.queue(
                local,
                Waiting {
                    draft,
                    refused: Some(refused),
                },
            ),
            None => self.queue(
                local,
                Waiting {
                    draft,
                    refused: None,
                },
            ),
        }
    }

    fn queue(&self, local: &Arc<LocalUser>, waiting: Waiting) {
        let mut queue = self.sends.waiting.lock();
        queue.0.push_back(waiting);
        if std::mem::replace(&mut queue.1, true) {
            return;
        }
        drop(queue);
        let (inner, link) = (Arc::clone(&self.inner), Arc::clone(&self.link));
        let (sends, local) = (Arc::clone(&self.sends), Arc::clone(local));
        self.inner
            .spawn(async move { pump(&inner, &link, &sends, &local).await });
    }
}

/// Works off the queue; ends when it is empty.
async fn pump(inner: &Arc<Inner>, link: &Arc<Link>, sends: &SendQueue, local: &LocalUser) {
    loop {
        let next = {
            let mut waiting = sends.waiting.lock();
            let next = waiting.0.pop_front();
            if next.is_none() {
                waiting.1 = false;
            }
            next
        };
        let Some(Waiting { draft, refused }) = next else {
            return;
        };
        // The device may have a connection elsewhere by now, and an answer to the same message
        // there: what would be decided here could belie it.
        if link.is_closing() {
            link.send_answered();
            continue;
        }
        let deciding = decide(inner, local, &draft, refused);
        let decided = tokio::time::timeout(inner.settings.commit_deadline, deciding).await;
        let late = || Err(port_failure(&PortError::new(PortErrorKind::Unavailable)));
        let decided = decided.unwrap_or_else(|_| late());
        match decided {
            Ok(Decided::Commit(_)) if link.is_closing() => link.send_answered(),
            Ok(Decided::Commit(prepared)) => submit(inner, link, draft, *prepared),
            Ok(Decided::Sent { conv, appended }) => {
                answer_sent(inner, link, &conv, draft.cm_id, appended);
                link.send_answered();
            }
            Err(failure) => {
                link.refuse("send", None, Some(draft.cm_id), failure);
                link.send_answered();
            }
        }
    }
}

async fn decide(
    inner: &Inner,
    local: &LocalUser,
    draft: &Draft,
    refused: Option<Failure>,
) -> Result<Decided, Failure> {
    if let Some(failure) = refused {
        return inner.sent_or(&local.id, draft, failure).await;
    }
    // What had to be read for the first is known for those behind it.
    match inner.prepare_fast(&local.id, draft) {
        Some(Ok(prepared)) => Ok(Decided::Commit(Box::new(prepared))),
        Some(Err(failure)) => inner.sent_or(&local.id, draft, failure).await,
        None => inner.prepare(&local.id, draft).await,
    }
}

fn submit(inner: &Inner, link: &Arc<Link>, draft: Draft, prepared: Prepared) {
    metrics::counter!("im_sends_total").increment(1);
    let waiter = Waiter::Link {
        link: Arc::clone(link),
        cm_id: draft.cm_id,
    };
    let submission = Submission {
        commit: prepared.commit,
        waiter,
    };
    // The hooks' lock is held until the message has its place in the lane.
    let submitted = inner.appender.submit(submission);
    drop(prepared.in_order);
    if let Err(Submission {
        waiter: Waiter::Link { link, cm_id },
        ..
    }) = submitted
    {
        link.refuse("send", None, Some(cm_id), busy());
        link.send_answered();
    }
}
