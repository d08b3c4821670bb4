//! The oracle: it sees what every client sees, and what passes on every wire, and says when a
//! promise is broken. One file per promise.

mod authors;
mod bounded;
mod handed_in_order;
mod healed;
mod one_entry;
mod pushed_in_order;
mod refused;
mod removed;
mod sent_stays;
mod stored_as_sent;
mod stored_once;
mod truth;

use std::collections::BTreeMap;
use std::fmt::Debug;

use im_core::frame::{ClientFrame, ServerFrame};
use im_core::machine::{Cursor, InboxEvent, OutboxEvent};
use im_core::model::{ConversationId, Entry, Target, Timestamp, UserId};

pub(crate) use truth::Truth;

/// Something that happened, as far as a promise may be about it.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// An entry stands in the store.
    Stored(&'a Entry),
    /// A client dialled a node.
    Dialled { wire: u64, client: usize },
    /// A node takes a client's frame.
    Up { wire: u64, frame: &'a ClientFrame },
    /// A node lets go of a frame.
    Down { wire: u64, frame: &'a ServerFrame },
    /// So many items waited for a connection.
    Drained { wire: u64, count: usize },
    /// A connection is over at the node's end.
    Ended { wire: u64 },
    /// A client's application is told.
    Inbox {
        client: usize,
        event: &'a InboxEvent,
    },
    /// A client's send is answered.
    Outbox {
        client: usize,
        event: &'a OutboxEvent,
    },
    /// A client was restarted from what its disk held.
    Restored {
        client: usize,
        cursors: &'a [Cursor],
    },
    /// How everybody stands when all must be well.
    Healed {
        reports: &'a [Report],
        /// The earliest time that a node's clock shows.
        earliest: Timestamp,
        /// What is not well of the nodes and what they share.
        unwell: Option<String>,
    },
}

/// How a client stands.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) client: usize,
    pub(crate) connected: bool,
    /// The node at the other end, if there is one.
    pub(crate) node: Option<usize>,
    /// Where unanswered sends are to go.
    pub(crate) sends: Vec<Target>,
    /// Unanswered calls.
    pub(crate) calls: usize,
    pub(crate) cursors: Vec<Cursor>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What the promises are checked against.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) truth: Truth,
    /// Whose connection a wire is.
    pub(crate) wires: BTreeMap<u64, usize>,
    /// Whose client.
    pub(crate) users: Vec<UserId>,
    pub(crate) window: usize,
}

impl Seen {
    /// The user at the other end of a wire.
    pub(crate) fn user(&self, wire: u64) -> Option<&UserId> {
        self.users.get(*self.wires.get(&wire)?)
    }
}

/// A promise, checked at every step.
trait Invariant: Debug + Send {
    /// The promise in few words.
    fn name(&self) -> &'static str;

    /// Takes in what happened.
    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String>;
}

/// Every promise, and whether one was broken.
#[derive(Debug)]
pub(crate) struct Oracle {
    seen: Seen,
    invariants: Vec<Box<dyn Invariant>>,
    violation: Option<Violation>,
}

impl Oracle {
    pub(crate) fn new(truth: Truth, users: Vec<UserId>, window: usize) -> Self {
        Self {
            seen: Seen {
                truth,
                wires: BTreeMap::new(),
                users,
                window,
            },
            invariants: vec![
                // What says most plainly what is wrong comes first.
                Box::<sent_stays::SentStays>::default(),
                Box::<stored_once::StoredOnce>::default(),
                Box::<removed::Removed>::default(),
                Box::<one_entry::OneEntry>::default(),
                Box::<handed_in_order::HandedInOrder>::default(),
                Box::<pushed_in_order::PushedInOrder>::default(),
                Box::<stored_as_sent::StoredAsSent>::default(),
                Box::<bounded::Bounded>::default(),
                Box::<authors::Authors>::default(),
                Box::<refused::Refused>::default(),
                Box::<healed::Healed>::default(),
            ],
            violation: None,
        }
    }

    pub(crate) const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Something that is no invariant of its own went wrong.
    pub(crate) fn fail(&mut self, invariant: &'static str, what: &str) {
        self.violation.get_or_insert_with(|| Violation {
            invariant,
            what: what.to_owned(),
        });
    }

    /// Looks for new entries in the store; gives a line for each.
    pub(crate) fn refresh(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in self.seen.truth.news() {
            self.seen.truth.push(&entry);
            lines.push(stored_line(&entry));
            self.check(&Event::Stored(&entry));
        }
        lines
    }

    /// Takes in what happened, after what the store has.
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        if let Event::Dialled { wire, client } = event {
            self.seen.wires.insert(*wire, *client);
        }
        self.check(event);
        if let Event::Ended { wire } = event {
            self.seen.wires.remove(wire);
        }
    }

    pub(crate) const fn truth(&self) -> &Truth {
        &self.seen.truth
    }

    /// Looks whether everything is still where it was.
    pub(crate) fn check_kept(&mut self) {
        if let Err(what) = self.seen.truth.is_kept() {
            self.fail("what is stored stays", &what);
        }
    }

    /// What everybody must have in the end: see [`Healed`](healed::Healed).
    pub(crate) fn is_healed(&self, reports: &[Report], earliest: Timestamp) -> Result<(), String> {
        healed::check(&self.seen, reports, earliest)
    }

    fn check(&mut self, event: &Event<'_>) {
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.observe(&self.seen, event)
                && self.violation.is_none()
            {
                self.violation = Some(Violation {
                    invariant: invariant.name(),
                    what,
                });
            }
        }
    }
}

fn stored_line(entry: &Entry) -> String {
    let (conv, seq, from) = (&entry.conv, entry.seq, &entry.new.from);
    format!("store + {conv} {seq} {from} {}", said(entry))
}

/// What an entry says, in short.
pub(crate) fn said(entry: &Entry) -> String {
    match entry.body.as_text() {
        Some(text) => text.trim_end_matches(['.', ' ']).to_owned(),
        None => entry.body.json().to_string(),
    }
}

/// The name that a message of the workload carries in its text: unlike a `cm_id`, nothing on the
/// way can lose it.
fn label(entry: &Entry) -> Option<String> {
    entry.body.as_text()
}

/// A place in a log.
type Place = (ConversationId, im_core::model::Seq);
