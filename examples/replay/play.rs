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
use crate::conn::Conn;
use crate::lines::Log;
use crate::pool::Pool;

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
/// When the server refuses, or a connection is lost for good.
pub(crate) async fn play(
    pool: &Pool,
    log: &Log,
    speed: Option<f64>,
    bar: &ProgressBar,
) -> Result<Outcome> {
    let conns: Vec<Arc<Conn>> = stream::iter(log.members.iter().map(|user| pool.get(user)))
        .buffered(OPENING)
        .try_collect()
        .await?;
    let conv = make_group(&conns, log, &pool.run).await?;
    for conn in &conns {
        conn.expect(&conv).await?;
    }
    let (micros, last) = send_all(&conns, log, &conv, speed, bar).await?;
    until_heard(&conns, &conv, last).await?;
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
        entries = read_back(&conns[reader], &conv).await?;
        let marks: Vec<u64> = entries.iter().filter_map(|e| entry_line_mark(e)).collect();
        let tally = Tally::of(&lines, &marks);
        if !tally.is_clean() {
            let user = &log.members[reader];
            eprintln!("{}: {user} reads something else: {tally:?}", log.title);
        }
        outcome.read += tally;
    }
    compare_live(log, &conns, &conv, &entries, &mut outcome);
    pool.seen
        .forget(&entries.iter().map(entry_mark).collect::<Vec<_>>());
    stream::iter(log.members.iter().map(|user| pool.release(user)))
        .buffer_unordered(OPENING)
        .collect::<()>()
        .await;
    Ok(outcome)
}

/// A whole log, as one member reads it.
async fn read_back(conn: &Conn, conv: &ConversationId) -> Result<Vec<Arc<Entry>>> {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    loop {
        let after = entries.last().map_or(Seq(0), |entry| entry.seq);
        let page = conn.pull(conv, after).await?;
        entries.extend(page.entries);
        if !page.more {
            return Ok(entries);
        }
    }
}

/// What every member's connection heard, against the log.
fn compare_live(
    log: &Log,
    conns: &[Arc<Conn>],
    conv: &ConversationId,
    entries: &[Arc<Entry>],
    outcome: &mut Outcome,
) {
    let marks: Vec<u64> = entries.iter().map(entry_mark).collect();
    for (user, conn) in log.members.iter().zip(conns) {
        let ear = conn.take_ear(conv);
        outcome.deliveries += ear.marks.len() as u64;
        outcome.behind += ear.behind;
        // Who joined by a later call hears from there on; the log is theirs from the start.
        let heard_from = ear
            .marks
            .first()
            .and_then(|first| marks.iter().position(|mark| mark == first))
            .filter(|from| entries[..*from].iter().all(|e| e.cm_id.is_none()));
        let tally = Tally::of(&marks[heard_from.unwrap_or(0)..], &ear.marks);
        if !tally.is_clean() {
            eprintln!("{}: {user} heard something else: {tally:?}", log.title);
        }
        outcome.live += tally;
    }
}

/// Three different members, from all over the list; fewer if there are no three. The narrator,
/// who is first, is taken last.
fn readers(members: usize) -> impl Iterator<Item = usize> {
    let last = members.saturating_sub(1);
    let middle = last.div_ceil(2);
    let mut readers = [1, middle, last, 0, 2]
        .into_iter()
        .filter(|reader| *reader < members)
        .collect::<Vec<_>>();
    let mut known = std::collections::BTreeSet::new();
    readers.retain(|reader| known.insert(*reader));
    readers.into_iter().take(READERS)
}

/// The narrator makes the group, of everybody.
async fn make_group(conns: &[Arc<Conn>], log: &Log, run: &str) -> Result<ConversationId> {
    let narrator = conns.first().ok_or("nobody")?;
    let key = |what: &dyn std::fmt::Display| format!("{run}-{}-{what}", log.number);
    let names = |range: Range<usize>| -> Value {
        let users = log.members[range].iter().map(UserId::as_str);
        users.map(Value::from).collect::<Vec<_>>().into()
    };
    let all = log.members.len();
    let params = Value::object([
        ("title", Value::from(log.title.as_str())),
        ("members", names(0..all.min(USERS_MAX))),
    ]);
    let made = narrator
        .call("groups.create", params, key(&"create"))
        .await?;
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
        narrator.call("groups.add", params, key(&from)).await?;
    }
    Ok(conv)
}

/// Sends every line, the next when the last was answered, so that they have an order at all.
async fn send_all(
    conns: &[Arc<Conn>],
    log: &Log,
    conv: &ConversationId,
    speed: Option<f64>,
    bar: &ProgressBar,
) -> Result<(Histogram<u64>, Seq)> {
    let mut micros = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
    let (mut last, began) = (Seq(0), Instant::now());
    for (number, line) in log.lines.iter().enumerate() {
        if let Some(speed) = speed {
            sleep_until(began + line.due.div_f64(speed)).await;
        }
        // The narrator is first, the others follow in their order.
        let place = log.members[1..]
            .binary_search(&line.author)
            .map_or(0, |at| at + 1);
        let to = Target::Conversation(conv.clone());
        let draft = Draft::text(
            CmId::new(cm_id(log.number, number))?,
            to,
            line.text.as_str(),
        );
        let start = Instant::now();
        last = conns[place].send(&draft).await?;
        micros.saturating_record(start.elapsed().as_micros().try_into().unwrap_or(u64::MAX));
        bar.inc(1);
    }
    Ok((micros, last))
}

/// Waits until everybody heard the last line, or nothing more comes.
async fn until_heard(conns: &[Arc<Conn>], conv: &ConversationId, last: Seq) -> Result<()> {
    let (mut before, mut silent) = (0, Instant::now());
    loop {
        let heard = conns.iter().map(|conn| conn.heard(conv));
        let heard = heard.collect::<Result<Vec<Seq>>>()?;
        if heard.iter().all(|seq| *seq >= last) {
            return Ok(());
        }
        let sum = heard.iter().map(|seq| seq.0).sum();
        if sum != before {
            (before, silent) = (sum, Instant::now());
        } else if silent.elapsed() > SILENCE {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_different_members_read_back_whenever_there_are_three() {
        let expected: [&[usize]; 6] = [
            &[0],
            &[1, 0],
            &[1, 2, 0],
            &[1, 2, 3],
            &[1, 2, 4],
            &[1, 3, 5],
        ];
        for (members, expected) in (1..).zip(expected) {
            let mut readers: Vec<_> = readers(members).collect();
            assert_eq!(readers.len(), members.min(READERS));
            assert_eq!(readers, expected, "of {members}");
            readers.dedup();
            assert_eq!(readers.len(), expected.len());
        }
    }
}
