//! What a client is told to do, and what goes wrong with it.

use std::time::Duration;

use im_core::frame::{ClientFrame, ReadMark};
use im_core::machine::{Inbox, InboxConfig, Outbox};
use im_core::model::{CmId, ConversationId, Draft, Seq, Target, Value, direct_id};
use tokio::time::Instant;

use super::line::Line;
use super::{Call, Client, Command, outbox_config};
use crate::sim::id;
use crate::sim::oracle::{Event, Report};
use crate::sim::plan::To;
use crate::sim::world::user_id;

/// The longest padding of a text, so that pages fill.
const PADDING_MAX: usize = 120;

impl Client {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Say { to, count } => (0..count).for_each(|_| self.say(to)),
            Command::Read => self.read(),
            Command::Call { method, what } => self.call(method, what),
            Command::StrayAcks => self.stray_acks(),
            Command::Cut => self.cut(),
            Command::HalfOpen(until) => {
                if let Some(wire) = self.line.wire() {
                    wire.hold(true);
                    self.half_open = Some(until);
                }
            }
            Command::StopReading(until) => self.reads_from = Some(until),
            Command::StopTaking(until) => self.takes_from = Some(until),
            Command::Crash(down) => self.crash(down),
            Command::Calm => {
                self.end_half_open();
                self.reads_from = None;
                self.takes_from = None;
            }
            Command::Report(answer) => {
                // Who asked may have found what it wanted already.
                let _ = answer.send(Report {
                    client: self.number,
                    connected: self.line.is_open(),
                    node: self.line.wire().map(|wire| wire.node),
                    sends: self
                        .outbox
                        .pending()
                        .map(|(draft, _)| draft.to.clone())
                        .collect(),
                    calls: self.calls.len(),
                    cursors: self.inbox.cursors().collect(),
                });
            }
        }
    }

    pub(super) fn end_half_open(&mut self) {
        self.half_open = None;
        if let Some(wire) = self.line.wire() {
            wire.hold(false);
        }
    }

    fn say(&mut self, to: To) {
        let Some(target) = self.target(to) else {
            return;
        };
        self.said += 1;
        let name = format!("c{}-{}", self.number, self.said);
        let padding = ".".repeat(self.rng.usize(0..=PADDING_MAX));
        let cm_id = id(CmId::new(name.as_str()));
        let draft = Draft::text(cm_id, target, format!("{name} {padding}"));
        let now = Instant::now().into_std();
        if let Err(full) = self.outbox.handle_send(now, draft) {
            self.world
                .fail("an outbox takes what it has room for", &format!("{full}"));
        }
        // The application has handed it over: it survives a crash from now on.
        self.disk.save_sends(&self.outbox);
    }

    fn target(&mut self, to: To) -> Option<Target> {
        Some(match to {
            To::User(user) if self.rng.bool() => Target::User(user_id(user)),
            To::User(user) => {
                let conv = direct_id(&self.user, &user_id(user));
                match self.inbox.cursor(&conv) {
                    Some(_) => Target::Conversation(conv),
                    None => Target::User(user_id(user)),
                }
            }
            To::Group(group) => Target::Conversation(self.group(group)?),
        })
    }

    fn group(&self, group: usize) -> Option<ConversationId> {
        self.world.groups.lock().get(&group).cloned()
    }

    fn read(&mut self) {
        let cursors: Vec<_> = self.inbox.cursors().filter(|it| it.seq > Seq(0)).collect();
        if cursors.is_empty() || !self.line.is_open() {
            return;
        }
        let cursor = &cursors[self.rng.usize(0..cursors.len())];
        let mark = ReadMark {
            conv: cursor.conv.clone(),
            seq: cursor.seq,
        };
        self.send_all(vec![ClientFrame::Read(mark)]);
    }

    fn stray_acks(&self) {
        if !self.line.is_open() {
            return;
        }
        let ack = |conv: ConversationId, seq| ClientFrame::Ack(ReadMark { conv, seq });
        let mut frames = vec![ack(id(ConversationId::new("nowhere")), Seq(7))];
        for cursor in self.inbox.cursors().filter(|cursor| cursor.seq > Seq(0)) {
            frames.push(ack(cursor.conv.clone(), cursor.seq));
            frames.push(ack(cursor.conv, Seq(1)));
        }
        self.send_all(frames);
    }

    fn call(&mut self, method: &'static str, what: Call) {
        let users = |users: &[usize]| {
            let users = users
                .iter()
                .map(|user| Value::from(user_id(*user).as_str()));
            Value::from(users.collect::<Vec<_>>())
        };
        let of = |group| Some(("conv", Value::from(self.group(group)?.as_str())));
        let params = match &what {
            Call::Create {
                group,
                members,
                hides,
            } => Some(vec![
                ("title", Value::from(format!("group {group}").as_str())),
                ("members", users(members)),
                ("hide_history", Value::from(*hides)),
            ]),
            Call::Users { group, user } => {
                of(*group).map(|conv| vec![conv, ("users", users(&[*user]))])
            }
            Call::Group { group } => of(*group).map(|conv| vec![conv]),
            Call::Mute { group, user, ms } => of(*group).map(|conv| {
                let user = Value::from(user_id(*user).as_str());
                vec![conv, ("user", user), ("ms", Value::from(*ms))]
            }),
            Call::Promote { group, user } => of(*group).map(|conv| {
                let user = Value::from(user_id(*user).as_str());
                vec![conv, ("user", user), ("role", Value::from("admin"))]
            }),
        };
        let makes = match what {
            Call::Create { group, .. } => Some(group),
            _ => None,
        };
        // A group that was not made yet has no members to change.
        if let Some(params) = params {
            self.calls.handle_call(method, Value::object(params), makes);
        }
    }

    fn cut(&self) {
        if let Some(wire) = self.line.wire() {
            wire.hold(false);
            wire.cut();
        }
    }

    /// The process dies; what its disk holds is what it begins with.
    fn crash(&mut self, down: Duration) {
        let now = Instant::now();
        self.on_broken(now);
        let (std, seed) = (now.into_std(), self.rng.u64(..));
        self.outbox = Outbox::new(std, outbox_config(self.spec), seed);
        self.inbox = Inbox::new(std, InboxConfig::default(), seed ^ 1);
        self.outbox.restore(self.disk.sends.clone());
        let (since, cursors) = (self.disk.since.clone(), self.disk.cursors.clone());
        self.inbox.restore(since, cursors.clone());
        self.world.observe(&Event::Restored {
            client: self.number,
            cursors: &cursors,
        });
        self.reads_from = None;
        self.takes_from = None;
        self.line = Line::Away { until: now + down };
    }
}
