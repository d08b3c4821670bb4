//! The server that an inbox meets: logs, the real delivery machine, and answers.

use std::sync::Arc;

use im_core::frame::{
    ClientFrame, ConvLine, ErrFrame, ErrorCode, Failure, Page, Pull, PullRange, RequestId,
    ServerFrame, Synced,
};
use im_core::machine::{Push, StartAt};
use im_core::model::{
    Body, ConversationKind, Entry, Epoch, Mentions, MessageId, NewEntry, Seq, UserId, Value,
};

use super::{LINES, Log, Own, PAGE, Run, conv, number};

impl Log {
    pub(super) fn head(&self) -> u64 {
        self.left.unwrap_or(self.entries.len() as u64)
    }

    /// What the user may see.
    pub(super) fn visible(&self) -> &[Arc<Entry>] {
        let from = (self.first_seq.max(1) - 1).min(self.head());
        &self.entries[from as usize..self.head() as usize]
    }
}

impl Run {
    pub(super) fn happen(&mut self) {
        let n = self.world.rng.usize(0..self.case.convs);
        if self.world.fault(self.case.lose_tail) {
            return self.lose_tail(n);
        }
        let change = self.world.fault(self.case.member);
        let trim = self.world.fault(self.case.trim);
        self.stamp += 1;
        let log = self.logs.get_mut(&conv(n)).unwrap();
        log.stamp = self.stamp;
        if trim {
            log.first_seq = log.first_seq.max(self.world.rng.u64(0..=log.head() + 1));
            return;
        }
        let is_new = !log.is_known || (log.left.is_some() && change);
        if log.left.is_some() && change {
            log.left = None;
            if self.world.rng.bool() {
                log.first_seq = log.entries.len() as u64 + 1;
            }
        }
        log.is_known = true;
        let leaves = !is_new && log.left.is_none() && change;
        self.append(n);
        if is_new {
            self.push_line(n);
        }
        self.push_last(n);
        let log = self.logs.get_mut(&conv(n)).unwrap();
        if leaves {
            log.left = Some(log.entries.len() as u64);
            self.delivery.handle_left(n);
            self.windows += 1;
        }
    }

    fn append(&mut self, n: usize) {
        self.ids += 1;
        let new = NewEntry {
            id: MessageId(self.ids),
            from: UserId::new("bo").unwrap(),
            at: self.world.timestamp(),
            cm_id: None,
            digest: 0,
            body: Body::text("x"),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        let log = self.logs.get_mut(&conv(n)).unwrap();
        let seq = Seq(log.entries.len() as u64 + 1);
        log.entries.push(Arc::new(new.at(conv(n), seq)));
    }

    /// The log comes back without its end, in another life.
    fn lose_tail(&mut self, n: usize) {
        self.stamp += 1;
        let log = self.logs.get_mut(&conv(n)).unwrap();
        if log.left.is_some() || !log.is_known {
            return;
        }
        self.tails += 1;
        let keep = log.entries.len() as u64 - self.world.rng.u64(0..=log.entries.len() as u64 / 2);
        log.entries.truncate(keep as usize);
        log.first_seq = log.first_seq.min(keep + 1);
        log.epoch += 1;
        log.stamp = self.stamp;
        // The node hears of it and has no way to go on but to say so.
        if self.world.rng.bool() {
            self.cut();
        } else if self.world.connection.is_some() {
            self.delivery.handle_left(n);
            self.rests.insert(n);
            self.behind(n);
            // On one connection nothing of the old life comes after this.
            self.world.lose_late(
                |frame| matches!(frame, ServerFrame::Entry(entry) if entry.conv == conv(n)),
            );
        }
    }

    pub(super) fn behind(&mut self, n: usize) {
        let log = &self.logs[&conv(n)];
        let frame = ServerFrame::Behind {
            conv: conv(n),
            last_seq: Seq(log.head()),
            epoch: Epoch(log.epoch),
        };
        if let Some(on) = self.world.connection {
            self.world.send_client(on, frame);
        }
    }

    fn push_line(&mut self, n: usize) {
        if let Some(on) = self.world.connection {
            let line = self.line(n).to_value();
            let event = Value::object([("kind", Value::from("conv")), ("line", line)]);
            self.world.send_client(on, ServerFrame::Event(event));
        }
    }

    fn push_last(&mut self, n: usize) {
        let log = &self.logs[&conv(n)];
        let rests = log.left.is_some() || self.rests.contains(&n);
        let Some(on) = self.world.connection.filter(|_| !rests) else {
            return;
        };
        let entry = Arc::clone(log.entries.last().unwrap());
        match self.delivery.handle_entry(self.world.now, n, entry.seq) {
            Push::Skip => {}
            Push::Behind => self.behind(n),
            Push::Send => {
                let frame = ServerFrame::Entry(entry);
                if self.world.fault(self.case.twice) {
                    self.world.send_client_late(on, frame.clone());
                }
                if self.world.fault(self.case.late) {
                    self.world.send_client_late(on, frame);
                } else {
                    self.world.send_client(on, frame);
                }
            }
        }
    }

    pub(super) fn serve(&mut self, on: u64, frame: ClientFrame) {
        match frame {
            ClientFrame::Ack(mark) => {
                let handed = self.handed.get(&mark.conv);
                // Who begins at the last entry skips what lies below.
                let skips = self.case.start == StartAt::Last;
                assert!(
                    skips || handed.is_none_or(|seq| mark.seq <= *seq),
                    "no ack ahead"
                );
                let acked = self.acked.entry(mark.conv.clone()).or_default();
                *acked = mark.seq.max(*acked);
                if self.world.connection == Some(on) {
                    self.delivery.handle_ack(number(&mark.conv), mark.seq);
                }
            }
            ClientFrame::Sync { .. } | ClientFrame::Pull(_)
                if self.world.fault(self.case.swallow) => {}
            ClientFrame::Sync { id, since } => self.synced(on, &id, since.as_deref()),
            ClientFrame::Pull(pull) => {
                let after = self.world.ms(0..400);
                self.world.plan(after, Own::Pull(on, pull));
            }
            frame => panic!("an inbox sends no {frame:?}"),
        }
    }

    fn refuses(&mut self, on: u64, re: &str, id: &RequestId) -> bool {
        let refuses = self.world.fault(self.case.refuse);
        if refuses {
            let failure = Failure::retry(ErrorCode::Unavailable, "store away", 300);
            self.err(on, re, id, failure);
        }
        refuses
    }

    fn err(&mut self, on: u64, re: &str, id: &RequestId, failure: Failure) {
        let err = ErrFrame {
            re: re.to_owned(),
            id: Some(id.clone()),
            cm_id: None,
            failure,
        };
        self.world.send_client(on, ServerFrame::Err(err));
    }

    pub(super) fn page(&mut self, on: u64, pull: &Pull) {
        let PullRange::After(after) = pull.range else {
            panic!("an inbox pulls forward");
        };
        if self.refuses(on, "pull", &pull.id) {
            return;
        }
        let log = &self.logs[&pull.conv];
        if log.left.is_some_and(|left| after.0 >= left) {
            let failure = Failure::new(ErrorCode::NotMember, "no member");
            return self.err(on, "pull", &pull.id, failure);
        }
        let above = log.visible().iter().filter(|entry| entry.seq > after);
        let entries: Vec<_> = above.take(PAGE).cloned().collect();
        let last = entries.last().map_or(after, |entry| entry.seq);
        let more = last.0 < log.head();
        if !more {
            self.rests.remove(&number(&pull.conv));
            self.delivery.handle_caught_up(number(&pull.conv), last);
        }
        let page = Page {
            id: pull.id.clone(),
            conv: pull.conv.clone(),
            epoch: Epoch(log.epoch),
            first_seq: Seq(log.first_seq),
            entries,
            more,
        };
        self.world.send_client(on, ServerFrame::Page(page));
    }

    fn synced(&mut self, on: u64, id: &RequestId, since: Option<&str>) {
        if self.refuses(on, "sync", id) {
            return;
        }
        let mut from: u64 = since.map_or(0, |since| since.parse().unwrap());
        if self.world.fault(self.case.forget_token) {
            self.tokens_from = self.stamp;
        }
        let reset = since.is_some() && from < self.tokens_from;
        if reset {
            from = 0;
        }
        let mut changed: Vec<_> = self
            .logs
            .iter()
            .filter(|(_, log)| log.is_known && log.stamp > from)
            .map(|(conv, log)| (log.stamp, number(conv)))
            .collect();
        changed.sort_unstable();
        let more = changed.len() > LINES;
        changed.truncate(LINES);
        let last = changed.last().map_or(from, |(stamp, _)| *stamp);
        let synced = Synced {
            id: Some(id.clone()),
            convs: changed.iter().map(|(_, n)| self.line(*n)).collect(),
            more,
            since: if more { last } else { self.stamp }.to_string(),
            reset,
        };
        // A token of this listing is good: it was given after the old ones were forgotten.
        if reset && more {
            self.tokens_from = self.tokens_from.min(last);
        }
        // What is pushed meanwhile overtakes it.
        let after = self.world.ms(0..400);
        self.world
            .plan(after, Own::Answer(on, ServerFrame::Synced(synced)));
    }

    fn line(&self, n: usize) -> ConvLine {
        let log = &self.logs[&conv(n)];
        ConvLine {
            conv: conv(n),
            kind: ConversationKind::Group,
            title: None,
            epoch: Epoch(log.epoch),
            first_seq: Seq(log.first_seq),
            last_seq: Seq(log.head()),
            read_seq: Seq(0),
            unread: 0,
            mentions: 0,
            last: None,
            left: log.left.is_some(),
        }
    }
}
