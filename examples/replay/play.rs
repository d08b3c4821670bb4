//! One log: its group, its lines, and what came of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use imkit::core::model::{CmId, ConversationId, Draft, Entry, Seq, Target, UserId, Value};
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;
use crate::check::{Tally, cm_id, entry_line_mark, entry_mark, line_mark};
use crate::lines::Log;
use crate::pool::{Pool, Shared};

/// Connections that one log opens at once.
const OPENING: usize = 16;
/// Users named in one call.
const USERS_MAX: usize = 500;
/// Members who read the log back.
pub(crate) const READERS: usize = 3;
/// What was not heard for this long, with nothing else coming, is lost.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest latency that is told apart: ten minutes.
const MICROS_MAX: u64 = 600_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a log's replay came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The lines as read back.
    pub(crate) read: Tally,
    /// The entries as pushed to those connected.
    pub(crate) live: Tally,
    pub(crate) lines: u64,
    pub(crate) deliveries: u64,
    /// How often a connection was left behind and caught up by itself.
    pub(crate) behind: u64,
    /// From `send` to `sent`, in microseconds.
    pub(crate) micros: Histogram<u64>,
}

/// Replays a log; `speed`: how much faster than it was, as fast as the server takes it if none.
///
/// # Errors
/// When the server refuses, or a connection is lost.
pub(crate) async fn play(
    pool: &Pool,
    log: &Log,
    speed: Option<f64>,
    bar: &ProgressBar,
) -> Result<Outcome> {
    let conns: Vec<Shared> = stream::iter(log.members.iter().map(|user| pool.get(user)))
        .buffered(OPENING)
        .try_collect()
        .await?;
    let conv = make_group(&conns, log).await?;
    let (micros, last) = send_all(&conns, log, &conv, speed, bar).await?;
    until_heard(&conns, &conv, last).await;
    let mut outcome = Outcome {
        read: Tally::default(),
        live: Tally::default(),
        lines: log.lines.len() as u64,
        deliveries: 0,
        behind: 0,
        micros,
    };
    let lines: Vec<u64> = (0..)
        .zip(&log.lines)
        .map(|(n, line)| line_mark(log.number, n, line))
        .collect();
    let mut entries = Vec::new();
    for reader in readers(conns.len()) {
        let conn = conns[reader].get().ok_or("not connected")?;
        entries.clear();
        let mut after = Seq(0);
        loop {
            let page = conn.pull(&conv, after).await?;
            after = page.entries.last().map_or(after, |entry| entry.seq);
            entries.extend(page.entries);
            if !page.more {
                break;
            }
        }
        let marks: Vec<u64> = entries.iter().filter_map(|e| entry_line_mark(e)).collect();
        outcome.read += Tally::of(&lines, &marks);
    }
    compare_live(&conns, &conv, &entries, &mut outcome);
    pool.seen
        .forget(&entries.iter().map(entry_mark).collect::<Vec<_>>());
    Ok(outcome)
}

/// What every member's connection heard, against the log.
fn compare_live(
    conns: &[Shared],
    conv: &ConversationId,
    entries: &[Arc<Entry>],
    outcome: &mut Outcome,
) {
    let marks: Vec<u64> = entries.iter().map(entry_mark).collect();
    for conn in conns.iter().filter_map(|conn| conn.get()) {
        let ear = conn.take_ear(conv);
        outcome.deliveries += ear.marks.len() as u64;
        outcome.behind += ear.behind;
        // Who joined by a later call hears from there on; the log is theirs from the start.
        let heard_from = ear
            .marks
            .first()
            .and_then(|first| marks.iter().position(|mark| mark == first))
            .filter(|from| entries[..*from].iter().all(|e| e.cm_id.is_none()));
        outcome.live += Tally::of(&marks[heard_from.unwrap_or(0)..], &ear.marks);
    }
}

/// Three different members, from all over the list.
fn readers(members: usize) -> impl Iterator<Item = usize> {
    let last = members.saturating_sub(1);
    let mut readers = vec![0, last / 2, last];
    readers.dedup();
    readers.truncate(READERS);
    readers.into_iter()
}

/// The narrator makes the group, of everybody.
async fn make_group(conns: &[Shared], log: &Log) -> Result<ConversationId> {
    let narrator = conns.first().and_then(|conn| conn.get()).ok_or("nobody")?;
    let names = |range: Range<usize>| -> Value {
        let users = log.members[range].iter().map(UserId::as_str);
        users.map(Value::from).collect::<Vec<_>>().into()
    };
    let all = log.members.len();
    let params = Value::object([
        ("title", Value::from(log.title.as_str())),
        ("members", names(0..all.min(USERS_MAX))),
    ]);
    let made = narrator.call("groups.create", params).await?;
    let conv = made
        .get("conv")
        .and_then(Value::as_text)
        .ok_or("no group was made")?;
    let conv = ConversationId::new(conv)?;
    for from in (USERS_MAX..all).step_by(USERS_MAX) {
        let params = Value::object([
            ("conv", Value::from(conv.as_str())),
            ("users", names(from..all.min(from + USERS_MAX))),
        ]);
        narrator.call("groups.add", params).await?;
    }
    Ok(conv)
}

/// Sends every line, the next when the last was answered, so that they have an order at all.
async fn send_all(
    conns: &[Shared],
    log: &Log,
    conv: &ConversationId,
    speed: Option<f64>,
    bar: &ProgressBar,
) -> Result<(Histogram<u64>, Seq)> {
    let mut micros = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
    let (mut last, began) = (Seq(0), Instant::now());
    for (number, line) in log.lines.iter().enumerate() {
        if let Some(speed) = speed {
            let due = f64::from(line.minute) * 60.0 / speed;
            sleep_until(began + Duration::from_secs_f64(due)).await;
        }
        // The narrator is first, the others follow in their order.
        let place = log.members[1..]
            .binary_search(&line.author)
            .map_or(0, |at| at + 1);
        let conn = conns[place].get().ok_or("not connected")?;
        let to = Target::Conversation(conv.clone());
        let draft = Draft::text(
            CmId::new(cm_id(log.number, number))?,
            to,
            line.text.as_str(),
        );
        let start = Instant::now();
        last = conn.send(&draft).await?;
        micros.saturating_record(start.elapsed().as_micros().try_into().unwrap_or(u64::MAX));
        bar.inc(1);
    }
    Ok((micros, last))
}

/// Waits until everybody heard the last line, or nothing more comes.
async fn until_heard(conns: &[Shared], conv: &ConversationId, last: Seq) {
    let (mut before, mut silent) = (0, Instant::now());
    loop {
        let heard = conns.iter().filter_map(|conn| conn.get());
        let heard: Vec<Seq> = heard.map(|conn| conn.heard(conv)).collect();
        if heard.iter().all(|seq| *seq >= last) {
            return;
        }
        let sum = heard.iter().map(|seq| seq.0).sum();
        if sum != before {
            (before, silent) = (sum, Instant::now());
        } else if silent.elapsed() > SILENCE {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}
