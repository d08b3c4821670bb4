//! A client of protocol v1 with no IO: bytes in, bytes out, and what happened as [`Event`]s.
//!
//! It keeps the books that void a run: gapless `seq` per conversation, messages of each sender in
//! order, none twice, none altered. It acknowledges as the protocol asks.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::faults::{Faults, excerpt};
use crate::{body, json, wire};

/// Entries that one `pull` asks for: the most that the protocol allows.
pub(crate) const PAGE: u32 = 200;
/// Capacity of a partial frame's buffer that is kept between reads.
const KEEP: usize = 16 << 10;

/// What a scenario hears of.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The server stored a send that was meant to leave at `at`.
    Sent { at: u64 },
    /// A message arrived, pushed or pulled.
    Message(body::Stamp),
    /// A page arrived; its messages came before.
    Page,
    /// A `pull` reached the end of a conversation.
    Pulled,
    /// Any other frame, whole.
    Other(&'a [u8]),
}

#[derive(Debug)]
struct Conv {
    /// The id as JSON spells it.
    name: Box<[u8]>,
    /// The last `seq` that came; 0 before the first.
    last: u64,
    acked: u64,
    behind: bool,
}

/// One connection's protocol state.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Bytes that wait to be written.
    pub(crate) out: Vec<u8>,
    /// When the bytes now handled were read, as [`body::now`] counts.
    pub(crate) now: u64,
    pub(crate) faults: Faults,
    rest: Vec<u8>,
    user: u32,
    /// Length of the texts it sends, in bytes.
    size: usize,
    /// The inside of `to`, as JSON.
    target: String,
    next: u32,
    unanswered: VecDeque<(u32, u64)>,
    window: u64,
    unacked: u64,
    overdue: bool,
    convs: Vec<Conv>,
    /// The conversation of the last entry: the next one is mostly there too.
    conv_hint: usize,
    /// Senders heard of, with the counter that comes next.
    senders: Vec<(u32, u32)>,
    sender_hint: usize,
    requests: u32,
    mask: u32,
}

impl Machine {
    pub(crate) fn new(user: u32, size: usize) -> Self {
        Self {
            out: Vec::new(),
            now: 0,
            faults: Faults::default(),
            rest: Vec::new(),
            user,
            size: size.clamp(body::MIN_SIZE, body::MAX_SIZE),
            target: String::new(),
            next: 0,
            unanswered: VecDeque::new(),
            window: 256,
            unacked: 0,
            overdue: false,
            convs: Vec::new(),
            conv_hint: 0,
            senders: Vec::new(),
            sender_hint: 0,
            requests: 0,
            mask: user.wrapping_mul(0x9e37_79b9) | 1,
        }
    }

    /// Sends from here on go to this user; once the conversation is known, to that.
    pub(crate) fn aim_at_user(&mut self, user: &str) {
        self.target = format!(r#""user":"{user}""#);
    }

    /// Sends from here on go to this conversation.
    pub(crate) fn aim_at_conv(&mut self, conv: &str) {
        self.target = format!(r#""conv":"{conv}""#);
    }

    /// Sends that no `sent` has answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Messages sent so far.
    pub(crate) fn sent(&self) -> u64 {
        u64::from(self.next)
    }

    pub(crate) fn hello(&mut self, token: &str, device: &str) {
        self.text(|out| {
            let hello = format!(r#"{{"t":"hello","token":"{token}","device":"{device}"}}"#);
            out.extend_from_slice(hello.as_bytes());
        });
    }

    /// Queues the next message, meant to leave at `at`.
    pub(crate) fn send(&mut self, at: u64) {
        let stamp = body::Stamp {
            sender: self.user,
            counter: self.next,
            at,
        };
        self.next += 1;
        self.unanswered.push_back((stamp.counter, at));
        let (key, size) = (self.next_mask(), self.size);
        let (target, out) = (&self.target, &mut self.out);
        wire::frame(out, wire::TEXT, key, |out| {
            out.extend_from_slice(br#"{"t":"send","cm_id":""#);
            body::hex(out, u64::from(stamp.counter), 8);
            out.extend_from_slice(br#"","to":{"#);
            out.extend_from_slice(target.as_bytes());
            out.extend_from_slice(br#"},"body":{"kind":"text","text":""#);
            body::write(out, stamp, size);
            out.extend_from_slice(br#""}}"#);
        });
    }

    /// Queues a frame that carries an `id` of its own and returns the id; `rest` is what follows
    /// `"id":n,` inside the object.
    pub(crate) fn ask(&mut self, t: &str, rest: &str) -> u32 {
        self.requests += 1;
        let id = self.requests;
        self.text(|out| {
            out.extend_from_slice(format!(r#"{{"t":"{t}","id":{id}{rest}}}"#).as_bytes());
        });
        id
    }

    /// Starts to pull a conversation from after `after` to its end.
    pub(crate) fn pull(&mut self, conv: &[u8], after: u64) {
        let index = self.conv(conv);
        self.convs[index].last = after;
        self.pull_on(index);
    }

    /// Twice per 100 ms: acknowledges what has waited since the last call.
    pub(crate) fn handle_tick(&mut self) {
        if self.unacked > 0 && std::mem::replace(&mut self.overdue, true) {
            self.ack_all();
        }
    }

    /// Takes what was read; an error means that the connection is of no more use.
    pub(crate) fn handle_bytes<F>(&mut self, input: &[u8], on: &mut F) -> Result<(), String>
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        self.now = body::now();
        if self.rest.is_empty() {
            let used = self.on_frames(input, on)?;
            self.rest.extend_from_slice(&input[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(input);
        let used = self.on_frames(&rest, on)?;
        rest.drain(..used);
        if rest.is_empty() && rest.capacity() > KEEP {
            rest = Vec::new();
        }
        self.rest = rest;
        Ok(())
    }

    fn on_frames<F>(&mut self, bytes: &[u8], on: &mut F) -> Result<usize, String>
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let mut used = 0;
        while let Some(frame) = wire::incoming(&bytes[used..])? {
            used += frame.len;
            match frame.opcode {
                wire::TEXT => self.on_text(frame.payload, on),
                wire::PING => {
                    let key = self.next_mask();
                    wire::frame(&mut self.out, wire::PONG, key, |out| {
                        out.extend_from_slice(frame.payload);
                    });
                }
                wire::CLOSE => return Err(close_reason(frame.payload)),
                _ => {}
            }
        }
        Ok(used)
    }

    fn on_text<F>(&mut self, payload: &[u8], on: &mut F)
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let mut frame = Fields::default();
        let whole = frame.read(payload);
        match (whole, frame.t) {
            (None, _) => {
                self.faults.corrupt += 1;
                self.faults
                    .note(|| format!("unreadable: {}", excerpt(payload)));
            }
            (_, br#""entry""#) => self.on_entry(&frame, true, on),
            (_, br#""sent""#) => self.on_sent(&frame, on),
            (_, br#""behind""#) => self.on_behind(&frame),
            (_, br#""page""#) => self.on_page(payload, &frame, on),
            (_, br#""err""#) => {
                self.faults.refused += 1;
                self.faults.note(|| excerpt(payload));
                on(self, Event::Other(payload));
            }
            (_, br#""welcome""#) => {
                let limits = json::field(payload, "limits");
                let window = limits.and_then(|limits| json::field(limits, "window"));
                self.window = window.and_then(json::number).unwrap_or(256).max(4);
                on(self, Event::Other(payload));
            }
            _ => on(self, Event::Other(payload)),
        }
    }

    fn on_sent<F>(&mut self, frame: &Fields<'_>, on: &mut F)
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let counter = json::text(frame.cm_id).and_then(body::unhex);
        let place = counter.and_then(|counter| {
            self.unanswered
                .iter()
                .position(|(sent, _)| u64::from(*sent) == counter)
        });
        let Some((_, at)) = place.and_then(|place| self.unanswered.remove(place)) else {
            self.faults.doubled += 1;
            self.faults
                .note(|| "a `sent` for nothing that waits for one".to_owned());
            return;
        };
        if frame.dup == b"true" {
            self.faults.doubled += 1;
            self.faults
                .note(|| "a first try was answered `dup`".to_owned());
        }
        if self.target.starts_with(r#""user""#) {
            let conv = json::text(frame.conv).unwrap_or_default();
            self.aim_at_conv(&String::from_utf8_lossy(conv));
        }
        on(self, Event::Sent { at });
    }

    fn on_entry<F>(&mut self, frame: &Fields<'_>, pushed: bool, on: &mut F)
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let (Some(name), Some(seq)) = (json::text(frame.conv), json::number(frame.seq)) else {
            self.faults.corrupt += 1;
            self.faults
                .note(|| "an entry without `conv` or `seq`".to_owned());
            return;
        };
        let index = self.conv(name);
        let last = self.convs[index].last;
        if seq <= last {
            self.faults.doubled += 1;
            self.faults.note(|| format!("seq {seq} after {last}"));
            return;
        }
        if last > 0 && seq > last + 1 {
            self.faults.reordered += 1;
            self.faults
                .note(|| format!("seq {seq} after {last}: a gap"));
        }
        self.convs[index].last = seq;
        if pushed {
            self.unacked += 1;
            if self.unacked >= self.window / 4 {
                self.ack_all();
            }
        }
        self.on_body(frame.body, on);
    }

    fn on_body<F>(&mut self, body: &[u8], on: &mut F)
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let (mut kind, mut text) = (&b""[..], None);
        let object = json::fields(body, |key, value| match key {
            b"kind" => kind = value,
            b"text" => text = json::text(value),
            _ => {}
        });
        if object.is_some() && kind != br#""text""# {
            return;
        }
        let Some(stamp) = text.and_then(body::read) else {
            self.faults.corrupt += 1;
            self.faults
                .note(|| format!("not what was sent: {}", excerpt(body)));
            return;
        };
        let next = self.next_from(stamp.sender);
        let expected = std::mem::replace(next, stamp.counter + 1);
        if stamp.counter < expected {
            *next = expected;
            self.faults.doubled += 1;
            self.faults.note(|| format!("{stamp:?} came twice or late"));
        } else if stamp.counter > expected {
            self.faults.reordered += 1;
            self.faults
                .note(|| format!("{stamp:?} came, {expected} is due"));
        }
        on(self, Event::Message(stamp));
    }

    fn on_behind(&mut self, frame: &Fields<'_>) {
        let index = self.conv(json::text(frame.conv).unwrap_or_default());
        self.faults.behind += 1;
        if !std::mem::replace(&mut self.convs[index].behind, true) {
            self.pull_on(index);
        }
    }

    fn on_page<F>(&mut self, payload: &[u8], frame: &Fields<'_>, on: &mut F)
    where
        F: FnMut(&mut Self, Event<'_>),
    {
        let mut count = 0;
        let list = json::field(payload, "entries").unwrap_or_default();
        let whole = json::elements(list, |element| {
            let mut entry = Fields {
                conv: frame.conv,
                ..Fields::default()
            };
            count += 1;
            match entry.read(element) {
                Some(()) => self.on_entry(&entry, false, on),
                None => self.faults.corrupt += 1,
            }
        });
        if whole.is_none() {
            self.faults.corrupt += 1;
            self.faults
                .note(|| format!("unreadable page: {}", excerpt(payload)));
        }
        let index = self.conv(json::text(frame.conv).unwrap_or_default());
        self.ack(index);
        on(self, Event::Page);
        if json::field(payload, "more") == Some(b"true") && count > 0 {
            self.pull_on(index);
        } else if !std::mem::replace(&mut self.convs[index].behind, false) {
            on(self, Event::Pulled);
        }
    }

    fn pull_on(&mut self, index: usize) {
        let conv = String::from_utf8_lossy(&self.convs[index].name).into_owned();
        let after = self.convs[index].last;
        self.ask(
            "pull",
            &format!(r#","conv":"{conv}","after":{after},"limit":{PAGE}"#),
        );
    }

    fn ack_all(&mut self) {
        for index in 0..self.convs.len() {
            self.ack(index);
        }
        self.unacked = 0;
        self.overdue = false;
    }

    fn ack(&mut self, index: usize) {
        let key = self.next_mask();
        let conv = &mut self.convs[index];
        if conv.last == conv.acked {
            return;
        }
        conv.acked = conv.last;
        wire::frame(&mut self.out, wire::TEXT, key, |out| {
            out.extend_from_slice(br#"{"t":"ack","conv":""#);
            out.extend_from_slice(&conv.name);
            let mut seq = String::new();
            // Writing to a string can't fail.
            let _ = write!(seq, r#"","seq":{}}}"#, conv.last);
            out.extend_from_slice(seq.as_bytes());
        });
    }

    fn conv(&mut self, name: &[u8]) -> usize {
        if self
            .convs
            .get(self.conv_hint)
            .is_none_or(|conv| *conv.name != *name)
        {
            let found = self.convs.iter().position(|conv| *conv.name == *name);
            self.conv_hint = found.unwrap_or_else(|| {
                self.convs.push(Conv {
                    name: name.into(),
                    last: 0,
                    acked: 0,
                    behind: false,
                });
                self.convs.len() - 1
            });
        }
        self.conv_hint
    }

    fn next_from(&mut self, sender: u32) -> &mut u32 {
        if self
            .senders
            .get(self.sender_hint)
            .is_none_or(|(known, _)| *known != sender)
        {
            let found = self.senders.iter().position(|(known, _)| *known == sender);
            self.sender_hint = found.unwrap_or_else(|| {
                self.senders.push((sender, 0));
                self.senders.len() - 1
            });
        }
        &mut self.senders[self.sender_hint].1
    }

    fn text(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let key = self.next_mask();
        wire::frame(&mut self.out, wire::TEXT, key, fill);
    }

    fn next_mask(&mut self) -> u32 {
        self.mask = self
            .mask
            .wrapping_mul(0x0019_660d)
            .wrapping_add(0x3c6e_f35f);
        self.mask
    }
}

/// The hot path's fields, as JSON spells their values.
#[derive(Default)]
struct Fields<'a> {
    t: &'a [u8],
    conv: &'a [u8],
    seq: &'a [u8],
    cm_id: &'a [u8],
    dup: &'a [u8],
    body: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(&mut self, object: &'a [u8]) -> Option<()> {
        json::fields(object, |key, value| match key {
            b"t" => self.t = value,
            b"conv" => self.conv = value,
            b"seq" => self.seq = value,
            b"cm_id" => self.cm_id = value,
            b"dup" => self.dup = value,
            b"body" => self.body = value,
            _ => {}
        })
    }
}

fn close_reason(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => {
            format!(
                "closed with {} {}",
                u16::from_be_bytes([*a, *b]),
                excerpt(reason)
            )
        }
        _ => "closed without a code".to_owned(),
    }
}
