//! Requests of the application: in flight, waiting, and what becomes of them with a connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use im_core::frame::{ClientFrame, ErrFrame, Page, Pull, PullRange, RequestId, ServerFrame};
use im_core::model::{ConversationId, Value};
use tokio::sync::oneshot;

use crate::error::RequestError;

/// The most requests in flight: of the server's 32, half is left to the inbox.
const IN_FLIGHT_MAX: usize = 16;
/// How long a request may take, a connection included.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Call {
        method: String,
        params: Value,
        key: Option<String>,
    },
    Pull {
        conv: ConversationId,
        range: PullRange,
        limit: usize,
    },
}

impl Question {
    /// Whether asking twice is as good as once.
    const fn is_repeatable(&self) -> bool {
        match self {
            Self::Call { key, .. } => key.is_some(),
            Self::Pull { .. } => true,
        }
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Value),
    Page(Page),
}

pub(crate) type Answered = oneshot::Sender<Result<Answer, RequestError>>;

#[derive(Debug)]
struct Request {
    question: Question,
    until: Instant,
    answered: Answered,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next_id: i64,
    waiting: VecDeque<Request>,
    in_flight: BTreeMap<i64, Request>,
}

impl Requests {
    pub(crate) fn handle_ask(&mut self, now: Instant, question: Question, answered: Answered) {
        self.waiting.push_back(Request {
            question,
            until: now + ANSWER_MAX,
            answered,
        });
    }

    /// Whether no more should be taken from the application.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= IN_FLIGHT_MAX
    }

    pub(crate) fn handle_frame(&mut self, frame: &ServerFrame) {
        let (id, answer) = match frame {
            ServerFrame::Res { id, value } => (id, Ok(Answer::Value(value.clone()))),
            ServerFrame::Page(page) => (&page.id, Ok(Answer::Page(page.clone()))),
            ServerFrame::Err(ErrFrame {
                id: Some(id),
                failure,
                ..
            }) => (id, Err(RequestError::Refused(failure.clone()))),
            _ => return,
        };
        let RequestId::Int(id) = id else {
            return;
        };
        if let Some(request) = self.in_flight.remove(id) {
            let _ = request.answered.send(answer);
        }
    }

    pub(crate) fn handle_disconnected(&mut self) {
        for (_, request) in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if request.question.is_repeatable() {
                self.waiting.push_front(request);
            } else {
                let _ = request.answered.send(Err(RequestError::Disconnected));
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let is_late = |request: &Request| request.until <= now;
        let mut late = Vec::new();
        // Those that waited longest stand first.
        while self.waiting.front().is_some_and(is_late) {
            late.extend(self.waiting.pop_front());
        }
        late.extend(
            self.in_flight
                .extract_if(.., |_, request| is_late(request))
                .map(|(_, it)| it),
        );
        for request in late {
            let _ = request.answered.send(Err(RequestError::TimedOut));
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<ClientFrame> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let request = loop {
            let request = self.waiting.pop_front()?;
            // Nobody waits for the answer to one that was dropped.
            if !request.answered.is_closed() {
                break request;
            }
        };
        self.next_id += 1;
        let id = RequestId::Int(self.next_id);
        let frame = match request.question.clone() {
            Question::Call {
                method,
                params,
                key,
            } => ClientFrame::Req {
                id,
                method,
                params,
                key,
            },
            Question::Pull { conv, range, limit } => ClientFrame::Pull(Pull {
                id,
                conv,
                range,
                limit,
            }),
        };
        self.in_flight.insert(self.next_id, request);
        Some(frame)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting.front();
        let both = waiting.into_iter().chain(self.in_flight.values());
        both.map(|request| request.until).min()
    }
}
