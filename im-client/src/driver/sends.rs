//! Sends between the application and the outbox: who waits for what.

use std::collections::BTreeMap;

use im_core::frame::{ClientFrame, ErrorCode, Failure, Limits};
use im_core::machine::{OutboxEvent, OutboxFull};
use im_core::model::CmId;
use tokio::sync::{mpsc, oneshot};

use super::{Driver, now};
use crate::client::{Done, SendCommand, Sent};
use crate::error::SendError;
use crate::event::Event;

/// The most sends taken in one turn, to be made durable together.
const BATCH_MAX: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sends {
    from: mpsc::Receiver<SendCommand>,
    /// One that the outbox has no room for.
    parked: Option<SendCommand>,
    /// Those to be told when the state file holds their send.
    accepted: Vec<oneshot::Sender<Result<(), SendError>>>,
    /// Who waits for the outcome of a send.
    waiting: BTreeMap<CmId, Vec<Done>>,
}

impl Sends {
    pub(super) const fn new(from: mpsc::Receiver<SendCommand>) -> Self {
        Self {
            from,
            parked: None,
            accepted: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// The next send, if there is room for one.
    pub(super) async fn next(&mut self) -> SendCommand {
        if self.parked.is_none()
            && let Some(send) = self.from.recv().await
        {
            return send;
        }
        std::future::pending().await
    }

    /// What was taken is durable.
    pub(super) fn accept(&mut self) {
        for accepted in self.accepted.drain(..) {
            let _ = accepted.send(Ok(()));
        }
    }
}

pub(super) fn too_large(bytes_max: usize) -> Failure {
    let message = format!("a frame may have {bytes_max} bytes");
    Failure::new(ErrorCode::TooLarge, message)
}

impl Driver {
    /// A send came: those that came with it are taken too.
    pub(super) fn on_send(&mut self, first: SendCommand) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(send) = next {
            self.take(send);
            taken += 1;
            let takes_more = self.sends.parked.is_none() && taken < BATCH_MAX;
            next = takes_more
                .then(|| self.sends.from.try_recv().ok())
                .flatten();
        }
    }

    /// There may be room for the one that had none.
    pub(super) fn on_parked(&mut self) {
        if let Some(send) = self.sends.parked.take() {
            self.take(send);
        }
    }

    /// Tells those who wait what became of their sends.
    pub(super) fn on_outcomes(&mut self) {
        while let Some(event) = self.outbox.poll_event() {
            let cm_id = match &event {
                OutboxEvent::Failed { cm_id, .. }
                | OutboxEvent::GaveUp { cm_id }
                | OutboxEvent::Sent { cm_id, .. } => cm_id.clone(),
            };
            let waiting = self.sends.waiting.remove(&cm_id).unwrap_or_default();
            let told = waiting
                .into_iter()
                .filter(|done| !done.is_closed())
                .filter_map(|done| done.send(outcome(&event)).ok())
                .count();
            if told == 0 {
                self.hand_out.tell(Event::Send(event));
            }
            if let Some(state) = &mut self.state {
                state.done(cm_id);
            }
        }
    }

    fn take(&mut self, send: SendCommand) {
        let limits = self
            .link
            .up()
            .map_or_else(Limits::default, |up| up.socket.welcome.limits);
        if let Some(failure) = check_size(&send, limits.frame_bytes) {
            let _ = send.accepted.send(Err(SendError::Refused(failure)));
            return;
        }
        match self.outbox.handle_send(now(), send.draft.clone()) {
            Ok(()) => {
                if let Some(state) = &mut self.state {
                    state.draft(&send.draft);
                }
                self.wait_for(send);
            }
            Err(OutboxFull::QueueFull) if self.outbox.is_empty() => {
                let failure = too_large(self.config.outbox.queue_bytes_max);
                let _ = send.accepted.send(Err(SendError::Refused(failure)));
            }
            Err(OutboxFull::QueueFull) => self.sends.parked = Some(send),
            Err(OutboxFull::Pending) => {
                if self.outbox.pending().any(|(draft, _)| *draft == send.draft) {
                    self.wait_for(send);
                } else {
                    let _ = send.accepted.send(Err(SendError::Pending));
                }
            }
        }
    }

    fn wait_for(&mut self, send: SendCommand) {
        let waiting = self.sends.waiting.entry(send.draft.cm_id).or_default();
        waiting.push(send.done);
        self.sends.accepted.push(send.accepted);
    }
}

/// Why a send is too large, if it is.
fn check_size(send: &SendCommand, bytes_max: usize) -> Option<Failure> {
    // What has a small body is small: the rest of a frame is bounded by the model.
    if send.draft.body.json().len() < bytes_max / 2 && bytes_max >= Limits::default().frame_bytes {
        return None;
    }
    let frame = ClientFrame::Send(send.draft.clone()).to_value().to_json();
    (frame.len() > bytes_max).then(|| too_large(bytes_max))
}

fn outcome(event: &OutboxEvent) -> Result<Sent, SendError> {
    match event {
        OutboxEvent::Sent {
            cm_id,
            conv,
            seq,
            id,
            at,
            dup,
        } => Ok(Sent {
            cm_id: cm_id.clone(),
            conv: conv.clone(),
            seq: *seq,
            id: *id,
            at: *at,
            dup: *dup,
        }),
        OutboxEvent::Failed { failure, .. } => Err(SendError::Refused(failure.clone())),
        OutboxEvent::GaveUp { .. } => Err(SendError::GaveUp),
    }
}
