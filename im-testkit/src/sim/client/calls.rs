//! A client's requests, each repeated under its key until it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use im_core::frame::{ClientFrame, RequestId, ServerFrame};
use im_core::model::{ConversationId, Value};
use tokio::time::Instant;

/// How long a request waits for its answer before it is sent again.
const ANSWER: Duration = Duration::from_secs(6);

#[derive(Debug)]
struct Pending {
    method: &'static str,
    params: Value,
    /// The group that it makes.
    makes: Option<usize>,
    /// Sent again then; not while the client is away.
    at: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Calls {
    client: usize,
    rng: fastrand::Rng,
    next: i64,
    connected: bool,
    pending: BTreeMap<i64, Pending>,
    due: Vec<i64>,
}

impl Calls {
    pub(super) const fn new(client: usize, rng: fastrand::Rng) -> Self {
        Self {
            client,
            rng,
            next: 0,
            connected: false,
            pending: BTreeMap::new(),
            due: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn handle_call(
        &mut self,
        method: &'static str,
        params: Value,
        makes: Option<usize>,
    ) {
        self.next += 1;
        let pending = Pending {
            method,
            params,
            makes,
            at: None,
        };
        self.pending.insert(self.next, pending);
        if self.connected {
            self.due.push(self.next);
        }
    }

    pub(super) fn handle_connected(&mut self) {
        self.connected = true;
        self.due = self.pending.keys().copied().collect();
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.connected = false;
        self.due.clear();
        for pending in self.pending.values_mut() {
            pending.at = None;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for (id, pending) in &mut self.pending {
            if pending.at.is_some_and(|at| at <= now) {
                pending.at = None;
                self.due.push(*id);
            }
        }
    }

    /// Gives a group that was made.
    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        frame: &ServerFrame,
    ) -> Option<(usize, ConversationId)> {
        match frame {
            ServerFrame::Res {
                id: RequestId::Int(id),
                value,
            } => {
                let made = self.pending.remove(id)?.makes?;
                let conv = value.get("conv")?.as_text()?.parse().ok()?;
                Some((made, conv))
            }
            ServerFrame::Err(err) => {
                let Some(RequestId::Int(id)) = &err.id else {
                    return None;
                };
                match err.failure.retry_after_ms {
                    None => drop(self.pending.remove(id)),
                    Some(ms) => {
                        if let Some(pending) = self.pending.get_mut(id) {
                            let ms = ms + self.rng.u64(0..=ms + 50);
                            pending.at = Some(now + Duration::from_millis(ms));
                        }
                    }
                }
                None
            }
            _ => None,
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<ClientFrame> {
        if !self.connected {
            return None;
        }
        let id = self.due.pop()?;
        let pending = self.pending.get_mut(&id)?;
        pending.at = Some(now + ANSWER);
        Some(ClientFrame::Req {
            id: RequestId::Int(id),
            method: pending.method.to_owned(),
            params: pending.params.clone(),
            key: Some(format!("c{}-{id}", self.client)),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.values().filter_map(|pending| pending.at).min()
    }
}
