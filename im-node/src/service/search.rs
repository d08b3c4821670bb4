//! Full-text search over one's own conversations.
//!
//! The store gives entries that may be meant, in the order of time; here each is looked at as it
//! stands: whether the caller may see it, has hidden it, and what it says by now. An edited message
//! is given where its last edit stands, and nowhere else.

use std::collections::BTreeMap;

use im_core::frame::{ErrorCode, Failure, entry_value};
use im_core::model::{
    ConversationId, Entry, FactKey, FactTable, Family, Kind, Seq, Timestamp, UserId, Value,
};
use im_core::port::{Find, Spot};
use im_core::rule::{Action, Change, EditMark, Mark, SEARCHED, Words, mark_key, said};

use super::keep::is_old;
use super::params::{Params, bad};
use super::table::Call;
use crate::appender::port_failure;

/// The characters of what is searched for.
const TEXT_CHARS_MAX: usize = 256;
/// Hits of one page.
const HITS_MAX: u64 = 50;
/// The same when not said.
const HITS: u64 = 20;
/// How often the store is asked for one page: what it gives may be nothing that is shown.
const ROUNDS_MAX: usize = 5;
/// How long a caller waits who finds too many searching already.
const BUSY_MS: u64 = 500;

/// `messages.search`.
pub(super) async fn search(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let Some(searcher) = &call.inner.search else {
        let words = "this service has no search";
        return Err(Failure::new(ErrorCode::Unsupported, words));
    };
    let find = asked(&call, params)?;
    let mark = mark(&find);
    let after = find.before.clone();
    let mut looking = Looking {
        call: &call,
        now: call.inner.clock.timestamp(),
        find,
        seen: BTreeMap::new(),
    };
    if let Some(conv) = looking.find.conv.clone() {
        looking.enter(&conv).await?;
    }
    let Ok(_turn) = searcher.at_once.try_acquire() else {
        let words = "too many are searching";
        return Err(Failure::retry(ErrorCode::Busy, words, BUSY_MS));
    };
    let limit = looking.find.limit;
    let (mut hits, mut next, mut is_whole) = (Vec::new(), after, true);
    for _ in 0..ROUNDS_MAX {
        let found = searcher.port.find(&looking.find).await;
        let found = found.map_err(|error| port_failure(&error))?;
        is_whole &= found.is_whole;
        next = found.next;
        for entry in found.entries {
            let spot = Spot::of(&entry);
            hits.extend(looking.hit(entry).await?);
            if hits.len() >= limit {
                next = Some(spot);
                break;
            }
        }
        if hits.len() >= limit || next.is_none() {
            break;
        }
        looking.find.before.clone_from(&next);
    }
    let mut value = vec![("hits", Value::from(hits))];
    value.extend(next.map(|spot| ("next", cursor(mark, &spot).into())));
    if !is_whole {
        value.push(("partial", true.into()));
    }
    Ok(Value::object(value))
}

/// What a call asks for.
fn asked(call: &Call<'_>, mut params: Params) -> Result<Find, Failure> {
    let text = params.text("text")?;
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        let words = format!("text: has more than {TEXT_CHARS_MAX} characters");
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let words = Words::of(&text).ok_or_else(|| bad("text", "has no word"))?;
    let conv = params.opt_text("conv")?.map(ConversationId::new);
    let conv = conv.transpose();
    let mut time = |field| -> Result<Option<Timestamp>, Failure> {
        let ms = params.opt_count(field)?;
        Ok(ms.map(|ms| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))))
    };
    let (since, until) = (time("since")?, time("until")?);
    let limit = params.opt_count("limit")?.unwrap_or(HITS);
    if !(1..=HITS_MAX).contains(&limit) {
        return Err(bad("limit", "must be from 1 to 50"));
    }
    let kind = params.opt_text("kind")?.map(|kind| {
        let kind = Kind::parse(&kind).filter(|kind| kind.family() == Family::Say);
        let kind = kind.filter(|kind| SEARCHED.contains(kind));
        kind.ok_or_else(|| bad("kind", "is none that can be searched for"))
    });
    let mut find = Find {
        user: call.caller.user.clone(),
        words,
        conv: conv.map_err(|error| bad("conv", &error.to_string()))?,
        from: params.opt_user("from")?,
        kind: kind.transpose()?,
        since,
        until,
        before: None,
        limit: limit as usize,
    };
    if let Some(after) = params.opt_text("after")? {
        let spot = spot(mark(&find), &after);
        find.before = Some(spot.ok_or_else(|| bad("after", "is none of this search"))?);
    }
    Ok(find)
}

/// A search under way.
struct Looking<'a> {
    call: &'a Call<'a>,
    now: Timestamp,
    find: Find,
    /// What the caller may see of conversations; `None`: nothing.
    seen: BTreeMap<ConversationId, Option<(Seq, Seq)>>,
}

impl Looking<'_> {
    /// The part of a conversation that the caller may see.
    async fn enter(&mut self, conv: &ConversationId) -> Result<(Seq, Seq), Failure> {
        let view = self.call.view(conv, &[]).await?;
        let me = self.call.me(&view);
        self.call.authorize(Action::Pull, &view, me)?;
        let me = me.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such conversation"))?;
        let first = me.first_seq.max(view.conversation.first_seq);
        let seen = (first, me.left_seq.unwrap_or(Seq(u64::MAX)));
        self.seen.insert(conv.clone(), Some(seen));
        Ok(seen)
    }

    async fn sees(&mut self, conv: &ConversationId, seq: Seq) -> Result<bool, Failure> {
        let seen = match self.seen.get(conv) {
            Some(seen) => *seen,
            None => match self.enter(conv).await {
                Ok(seen) => Some(seen),
                Err(failure) if failure.retry_after_ms.is_some() => return Err(failure),
                Err(_) => *self.seen.entry(conv.clone()).or_insert(None),
            },
        };
        Ok(seen.is_some_and(|(first, last)| (first..=last).contains(&seq)))
    }

    /// An entry as it is shown, if it is.
    async fn hit(&mut self, entry: Entry) -> Result<Option<Value>, Failure> {
        if !self.sees(&entry.conv, entry.seq).await? {
            return Ok(None);
        }
        let edit = entry.id;
        let (message, is_edit) = match Change::of(&entry.body) {
            None => (Some(entry), false),
            Some((seq, _)) if self.sees(&entry.conv, seq).await? => {
                (self.call.inner.entry(&entry.conv, seq).await?, true)
            }
            Some(_) => (None, true),
        };
        let Some(message) = message.filter(|message| self.is_meant(message)) else {
            return Ok(None);
        };
        let oldest = self.call.inner.oldest_in(&message.conv).await?;
        if is_old(&message, oldest) {
            return Ok(None);
        }
        let last = self.last_edit(&message).await?;
        let says = match &last {
            None if is_edit => return Ok(None),
            None => said(&message.body),
            // Not the one that tells what it says now.
            Some(last) if !is_edit || last.entries.last().is_none_or(|it| it.0 != edit) => {
                return Ok(None);
            }
            Some(last) => last.text.clone(),
        };
        if !self.find.words.are_in(&says) || self.is_hidden(&message).await? {
            return Ok(None);
        }
        let mut hit = vec![
            ("conv", Value::from(message.conv.as_str())),
            ("seq", message.seq.0.into()),
            ("entry", entry_value(&message)),
        ];
        hit.extend(last.map(|last| {
            let edited = Value::object([
                ("text", Value::from(last.text)),
                ("by", last.by.as_str().into()),
                ("at", last.at.0.into()),
            ]);
            ("edited", edited)
        }));
        Ok(Some(Value::object(hit)))
    }

    fn is_meant(&self, message: &Entry) -> bool {
        let kind = message.body.kind();
        kind.family() == Family::Say
            && message.expires_at.is_none_or(|at| at > self.now)
            && self.find.kind.is_none_or(|wanted| wanted == kind)
            && self.find.from.as_ref().is_none_or(|it| *it == message.from)
    }

    async fn last_edit(&self, message: &Entry) -> Result<Option<EditMark>, Failure> {
        let key = mark_key(message.conv.as_str(), message.seq, "e");
        let mark = self.call.inner.fact(&key).await?;
        let mark = mark.and_then(|fact| Mark::read(&fact.key.key, &fact.value));
        Ok(match mark {
            Some((_, Mark::Edit(edit))) => Some(edit),
            _ => None,
        })
    }

    async fn is_hidden(&self, message: &Entry) -> Result<bool, Failure> {
        let key = format!("{}\n{:016x}", message.conv.as_str(), message.seq.0);
        let key = FactKey::new(FactTable::Hidden, self.find.user.as_str(), key);
        Ok(self.call.inner.fact(&key).await?.is_some())
    }
}

/// A number of who searches for what, so that a cursor of another search is seen. It grants
/// nothing: who forges one only misleads themselves.
fn mark(find: &Find) -> u64 {
    let user = |user: &UserId| user.as_str().to_owned();
    let parts = [
        user(&find.user),
        format!("{:?}", find.words),
        find.conv
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        find.from.as_ref().map_or_else(String::new, user),
        find.kind.map_or("", Kind::as_str).to_owned(),
        format!("{:?} {:?}", find.since, find.until),
    ];
    // FNV-1a: the same on every node and after every restart.
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `1.<mark>.<time>.<place>.<conversation>`
fn cursor(mark: u64, spot: &Spot) -> String {
    let (at, seq, conv) = (spot.at.0, spot.seq.0, &spot.conv);
    format!("1.{mark:x}.{at}.{seq}.{}", conv.as_str())
}

fn spot(mark: u64, cursor: &str) -> Option<Spot> {
    let mut parts = cursor.splitn(5, '.');
    let (form, of) = (parts.next()?, parts.next()?);
    if form != "1" || u64::from_str_radix(of, 16).ok()? != mark {
        return None;
    }
    let at = Timestamp(parts.next()?.parse().ok()?);
    // As databases count.
    let seq: i64 = parts.next()?.parse().ok()?;
    Some(Spot {
        at,
        seq: Seq(u64::try_from(seq).ok()?),
        conv: ConversationId::new(parts.next()?).ok()?,
    })
}
