//! Search: the database's own full-text index over the tokens of what was said, filled behind the
//! logs, and the rest of the logs themselves.
//!
//! Nobody who appends waits for the index, and several nodes may fill it at once: each takes
//! conversations that no other has in hand. Who erases waits for the one that has, so what is
//! erased is not in the index when their transaction ends.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{Body, ConversationId, Entry, Kind, Seq, Stamp};
use im_core::port::{Find, Found, Hits, PortError, PortErrorKind, Search, Spot};
use im_core::rule::Scope;

use super::commit::{Broken, rows};
use super::dialect::{Conn, Dialect};
use super::row::{ENTRY, Fields};
use super::statement::{Arg, Statement, TEXT, TEXTED, UNTEXTED};
use super::tx::Tx;
use super::{ServerStore, Shared};
use crate::error::corrupt;
use crate::search::{
    ASKED_MAX, CONVERSATIONS_MAX, Part, REST_MAX, ROUNDS_MAX, STEP_MAX, asked, kinds, rows_of,
};

/// Conversations of which a search reads what is not in the index yet.
const REST_CONVERSATIONS_MAX: usize = 64;
/// Entries of each of them, the newest.
const REST_EACH_MAX: u64 = 512;
/// Bytes of tokens in one statement; the largest packet of MySQL is 16 MiB.
const WRITE_BYTES: usize = 1 << 20;

#[async_trait]
impl<D: Dialect> Search for ServerStore<D> {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        self.shared.within(self.shared.find(find)).await
    }

    async fn index(&self) -> Result<bool, PortError> {
        self.shared.within(self.shared.index()).await
    }
}

/// A conversation that may have something that is not in the index.
struct Behind {
    part: Part,
    head: Seq,
    texted: Seq,
}

impl<D: Dialect> Shared<D> {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        // Most of the connections are left to others.
        let turn = self.searching.acquire().await;
        let _turn = turn.map_err(|_| PortError::new(PortErrorKind::Unavailable))?;
        let mut hits = Hits::new(find.limit);
        let parts = self.parts(find).await?;
        if parts.len() >= CONVERSATIONS_MAX {
            hits.lacks();
        }
        // What is not in the index yet comes first: what goes there meanwhile is found twice.
        self.find_in_rest(find, &parts, &mut hits).await?;
        let parts: Vec<Part> = parts.into_iter().map(|it| it.part).collect();
        for some in parts.chunks(ASKED_MAX) {
            self.find_in_index(find, some, &mut hits).await?;
        }
        Ok(hits.found())
    }

    /// The conversations to look in.
    async fn parts(&self, find: &Find) -> Result<Vec<Behind>, PortError> {
        let mut statement = Statement::new(
            "SELECT c.no, c.id, c.head, x.seq, m.first_seq, c.first_seq, m.left_seq \
             FROM im_member m JOIN im_conversation c ON c.no = m.conv \
             LEFT JOIN im_texted x ON x.conv = c.no WHERE m.user_id = ?",
        )
        .bind(Arc::<str>::from(&find.user));
        if let Some(conv) = &find.conv {
            statement = statement.then(" AND c.id = ?").bind(conv);
        }
        let statement = statement.then(" ORDER BY c.stamp DESC LIMIT ?");
        let found = self.fetch(statement.bind(CONVERSATIONS_MAX)).await?;
        let part = |mut row: Fields| {
            let (no, id, head) = (row.int()?, row.conv()?, row.seq()?);
            let texted = Seq(row.opt_int()?.unwrap_or(0).unsigned_abs());
            let first = row.seq()?.max(row.seq()?);
            let last = row.opt_int()?.map(|last| Seq(last.unsigned_abs()));
            let last = last.unwrap_or(Seq(u64::MAX));
            let part = Part {
                no,
                id,
                first,
                last,
            };
            Ok(Behind { part, head, texted })
        };
        found.into_iter().map(part).collect()
    }

    /// What is not in the index yet, the newest entries of it.
    async fn find_in_rest(
        &self,
        find: &Find,
        parts: &[Behind],
        hits: &mut Hits,
    ) -> Result<(), PortError> {
        let mut behind: Vec<_> = parts.iter().filter(|it| it.head > it.texted).collect();
        if behind.is_empty() {
            return Ok(());
        }
        let is_far = |it: &&Behind| it.head.0 - it.texted.0 > REST_EACH_MAX;
        if behind.len() > REST_CONVERSATIONS_MAX || behind.iter().any(is_far) {
            hits.lacks();
        }
        behind.truncate(REST_CONVERSATIONS_MAX);
        let parts: HashMap<_, _> = behind
            .iter()
            .map(|it| (it.part.id.clone(), &it.part))
            .collect();
        let keys = behind.iter().map(|it| vec![it.part.no.into()]).collect();
        let statement = Statement::new(format!(
            "SELECT c.id, {ENTRY} FROM im_conversation c \
             LEFT JOIN im_texted x ON x.conv = c.no JOIN im_entry e ON e.conv = c.no \
             AND e.seq > greatest(coalesce(x.seq, 0), c.head - {REST_EACH_MAX}) \
             WHERE e.kind IN ({}) AND ",
            kinds(&find.kinds())
        ));
        let statement = statement.join(D::any_of(&["c.no"], keys));
        let statement = statement.then(" ORDER BY e.at DESC LIMIT ?");
        let found = self.fetch(statement.bind(REST_MAX)).await?;
        if found.len() >= REST_MAX {
            hits.lacks();
        }
        for mut row in found {
            let conv = row.conv()?;
            let entry = row.entry(&conv)?;
            let is_seen = parts.get(&conv).is_some_and(|part| part.sees(entry.seq));
            if is_seen && find.takes(&entry) {
                hits.add(entry);
            }
        }
        Ok(())
    }

    /// What the index has of some conversations.
    async fn find_in_index(
        &self,
        find: &Find,
        parts: &[Part],
        hits: &mut Hits,
    ) -> Result<(), PortError> {
        let text: Arc<str> = D::any_with_all(&asked(find, parts)).into();
        let (limit, mut taken) = (rows_of(find), 0);
        let mut find = find.clone();
        for _ in 0..ROUNDS_MAX {
            let statement = matched::<D>(&text, &find).bind(limit);
            let found = self.fetch(statement).await?;
            let count = found.len();
            let mut last = None;
            for mut row in found {
                let conv = row.conv()?;
                let entry: Entry = row.entry(&conv)?;
                last = Some(Spot::of(&entry));
                if find.takes(&entry) {
                    taken += 1;
                    hits.add(entry);
                }
            }
            if count < limit {
                return Ok(());
            }
            find.before = last;
            if taken >= find.limit {
                break;
            }
        }
        find.before.into_iter().for_each(|spot| hits.end_at(spot));
        Ok(())
    }

    /// The next entries go into the index.
    async fn index(&self) -> Result<bool, PortError> {
        let since = *self.texted.lock();
        let (safe, found) = self.untexted(since).await?;
        let is_last = found.len() < STEP_MAX;
        let mut left = STEP_MAX as u64;
        let (mut some, mut passed, mut is_all) = (Vec::new(), since, true);
        for (stamp, behind) in found {
            if left == 0 {
                is_all = false;
                break;
            }
            let to = behind.head.0.min(behind.texted.0.saturating_add(left));
            left -= to - behind.texted.0;
            // One of which a part is left comes again.
            if to == behind.head.0 && is_all {
                passed = stamp.min(safe);
            } else {
                is_all = false;
            }
            some.push((behind.part.no, behind.part.id, Seq(to)));
        }
        let done = match some.is_empty() {
            true => 0,
            false => self.again(|| self.try_index(&some)).await?,
        };
        if done < some.len() {
            // Others have some in hand: whether they finish is to be seen.
            return Ok(true);
        }
        if is_all && is_last {
            passed = safe;
        }
        let mut texted = self.texted.lock();
        *texted = passed.max(*texted);
        Ok(!(is_all && is_last))
    }

    /// Conversations with something that is not in the index, in the order of change, and up to
    /// where no other can come before.
    async fn untexted(&self, since: Stamp) -> Result<(Stamp, Vec<(Stamp, Behind)>), PortError> {
        let safe = self.safe().await?;
        let statement = Statement::new(
            "SELECT c.stamp, c.no, c.id, c.head, x.seq FROM im_conversation c \
             LEFT JOIN im_texted x ON x.conv = c.no \
             WHERE c.stamp > ? AND c.head > coalesce(x.seq, 0) ORDER BY c.stamp LIMIT ?",
        );
        let statement = statement.bind(since.0 as i64).bind(STEP_MAX);
        let rows = self.fetch(statement).await?.into_iter();
        let behind = |mut row: Fields| {
            let (stamp, no, id, head) = (row.stamp()?, row.int()?, row.conv()?, row.seq()?);
            let texted = Seq(row.opt_int()?.unwrap_or(0).unsigned_abs());
            let (first, last) = (Seq(0), head);
            let part = Part {
                no,
                id,
                first,
                last,
            };
            Ok((stamp, Behind { part, head, texted }))
        };
        let found: Result<_, PortError> = rows.map(behind).collect();
        Ok((safe, found?))
    }

    /// How many of these are in the index up to their places then.
    async fn try_index(&self, some: &[(i64, ConversationId, Seq)]) -> Result<usize, Broken> {
        let mut conn = self.pool.acquire().await?;
        let keys: Vec<Vec<Arg>> = some.iter().map(|(no, ..)| vec![(*no).into()]).collect();
        rows::<D>(&mut conn, &UNTEXTED, keys.clone()).await?;
        let mut tx = Tx::<D>::begin(conn).await?;
        match fill::<D>(tx.conn(), some, keys).await {
            Ok(done) => {
                tx.commit().await?;
                Ok(done)
            }
            Err(broken) => {
                tx.roll_back().await;
                Err(broken)
            }
        }
    }
}

/// The entries that the index gives, the newest first; the limit is to be bound.
fn matched<D: Dialect>(text: &Arc<str>, find: &Find) -> Statement {
    let mut statement = Statement::new(D::MATCHED).bind(Arc::clone(text));
    statement = statement.then(&format!(
        " SELECT c.id, {ENTRY} FROM t JOIN im_entry e ON e.conv = t.conv AND e.seq = t.seq \
         JOIN im_conversation c ON c.no = t.conv JOIN im_member m ON m.conv = t.conv \
         WHERE e.kind IN ({}) AND e.seq >= m.first_seq AND e.seq >= c.first_seq \
         AND (m.left_seq IS NULL OR e.seq <= m.left_seq) AND m.user_id = ?",
        kinds(&find.kinds())
    ));
    statement = statement.bind(Arc::<str>::from(&find.user));
    if let Some(conv) = &find.conv {
        statement = statement.then(" AND c.id = ?").bind(conv);
    }
    if let Some(from) = &find.from {
        let either = " AND (e.kind = 'edit' OR e.sender = ?)";
        statement = statement.then(either).bind(Arc::<str>::from(from));
    }
    if let Some(since) = find.since {
        statement = statement.then(" AND e.at >= ?").bind(since.0);
    }
    if let Some(until) = find.until {
        statement = statement.then(" AND e.at < ?").bind(until.0);
    }
    if let Some(Spot { at, conv, seq }) = &find.before {
        let older = " AND (e.at < ? OR (e.at = ? AND (c.id < ? OR (c.id = ? AND e.seq < ?))))";
        statement = statement.then(older).bind(at.0).bind(at.0);
        statement = statement.bind(conv).bind(conv).bind(*seq);
    }
    statement.then(" ORDER BY e.at DESC, c.id DESC, e.seq DESC LIMIT ?")
}

/// Takes the conversations that nobody else has in hand, and writes the tokens of what they have up
/// to a place each; how many that were.
async fn fill<D: Dialect>(
    conn: &mut Conn<D>,
    some: &[(i64, ConversationId, Seq)],
    keys: Vec<Vec<Arg>>,
) -> Result<usize, Broken> {
    let lock = Statement::new("SELECT x.conv, x.seq FROM im_texted x WHERE ");
    let lock = lock.join(D::any_of(&["x.conv"], keys));
    let lock = lock.then(" FOR UPDATE SKIP LOCKED");
    let ids: HashMap<i64, _> = some.iter().map(|(no, id, to)| (*no, (id, *to))).collect();
    let mut done = Vec::new();
    let mut held = 0;
    for row in D::fetch(conn, lock).await? {
        held += 1;
        let mut row = Fields::from(row);
        let (no, texted) = (row.int()?, row.seq()?);
        if let Some((_, to)) = ids.get(&no)
            && *to > texted
        {
            done.push((no, *to));
        }
    }
    if done.is_empty() {
        return Ok(held);
    }
    let keys = done.iter().map(|(no, _)| vec![(*no).into()]).collect();
    let next = Statement::new(format!(
        "SELECT e.conv, e.seq, e.kind, e.body FROM im_texted x JOIN im_entry e \
         ON e.conv = x.conv AND e.seq > x.seq AND e.seq <= x.seq + {STEP_MAX} WHERE "
    ));
    let next = next.join(D::any_of(&["x.conv"], keys));
    let to: HashMap<i64, Seq> = done.iter().copied().collect();
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for row in D::fetch(conn, next).await? {
        let mut row = Fields::from(row);
        let (no, seq) = (row.int()?, row.seq()?);
        let kind = Kind::parse(&row.text()?).ok_or_else(|| corrupt("a kind of entry is none"))?;
        let body = Body::from_stored(kind, row.text()?.into());
        let Some((id, _)) = ids.get(&no).filter(|_| to.get(&no) >= Some(&seq)) else {
            continue;
        };
        let tokens = Scope::of(id).tokens(&body);
        if tokens.is_empty() {
            continue;
        }
        bytes += tokens.len();
        texts.push(vec![no.into(), seq.into(), tokens.as_str().into()]);
        if bytes >= WRITE_BYTES {
            bytes = 0;
            rows::<D>(conn, &TEXT, std::mem::take(&mut texts)).await?;
        }
    }
    rows::<D>(conn, &TEXT, texts).await?;
    let done = done.into_iter().map(|(no, to)| vec![no.into(), to.into()]);
    rows::<D>(conn, &TEXTED, done.collect()).await?;
    Ok(held)
}

/// Takes what is erased out of the index: entries, by the numbers of their conversations and their
/// places. Whoever fills it is waited for, and waits.
pub(super) async fn forget<D: Dialect>(
    conn: &mut Conn<D>,
    erased: Vec<Vec<Arg>>,
) -> Result<(), Broken> {
    let mut numbers: Vec<i64> = Vec::new();
    for key in &erased {
        if let Some(Arg::Int(Some(no))) = key.first() {
            numbers.push(*no);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    let keys: Vec<Vec<Arg>> = numbers.into_iter().map(|no| vec![no.into()]).collect();
    rows::<D>(conn, &UNTEXTED, keys.clone()).await?;
    let lock = Statement::new("SELECT x.conv FROM im_texted x WHERE ");
    let lock = lock.join(D::any_of(&["x.conv"], keys));
    D::fetch(conn, lock.then(&D::lock_in_order("x.conv"))).await?;
    let gone = Statement::new("DELETE FROM im_text WHERE ");
    let gone = gone.join(D::any_of(&["conv", "seq"], erased));
    D::fetch(conn, gone).await?;
    Ok(())
}
