//! Reads: the cold store's answer, with what is hot over it; logs hot, then cold, with no seam.

use std::collections::BTreeMap;
use std::time::Duration;

use im_core::model::{ConversationId, Entry, Holder, Member, Seq, UserId};
use im_core::port::{CursorMove, HotView, LogQuery, PortError, PortErrorKind, View};
use tokio::time::Instant;

use crate::Inner;
use crate::append::CLOSED_WAIT;

/// How long a read waits for a log that is on its way.
const READ_WAIT: Duration = Duration::from_secs(4);
/// How often a log is looked for that moves from tier to tier while it is read.
const SEAM_TRIES: usize = 20;

impl Inner {
    /// The tier's part of a log, as far as answers stand on it.
    async fn hot_view(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        if !self.is_cached() {
            // What was answered is in the cold store.
            let view = self.hot.read(conv, query).await;
            return Ok(view.ok().flatten().filter(|view| !view.is_closed));
        }
        let deadline = Instant::now() + READ_WAIT;
        loop {
            let view = self.hot.read(conv, query).await?;
            if !view.as_ref().is_some_and(|view| view.is_closed) {
                self.closed.is_open(conv);
                return Ok(view);
            }
            if self.closed.is_late(conv) {
                self.take_over(conv).await?;
            }
            if Instant::now() >= deadline {
                return Err(PortError::new(PortErrorKind::Unavailable));
            }
            tokio::time::sleep(CLOSED_WAIT).await;
        }
    }

    /// The head is read first, members after: never the other way round.
    pub(crate) async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        if !self.is_cached() {
            return self.cold.view(conv, users).await;
        }
        let hot = self.hot_view(conv, None).await?;
        let Some(mut view) = self.cold.view(conv, users).await? else {
            return Ok(None);
        };
        if hot.is_none() && view.conversation.holder != Holder(0) {
            self.seize(conv).await?;
            return self.cold.view(conv, users).await;
        }
        // Of another life, or of none: then what was hot is in the cold store.
        if let Some(hot) = hot.filter(|hot| hot.holder == view.conversation.holder) {
            if hot.head < view.conversation.head {
                self.check_rewound(conv, view.conversation.head).await?;
            }
            view.conversation.head = view.conversation.head.max(hot.head);
            move_cursors(&mut view.members, hot.cursors);
        }
        Ok(Some(view))
    }

    /// The cold store has more of a log than the tier, which then is older or went back in time.
    async fn check_rewound(&self, conv: &ConversationId, head: Seq) -> Result<(), PortError> {
        let hot = self.hot.read(conv, None).await?;
        if hot.is_some_and(|hot| hot.head < head)
            && let Some(pending) = self.hot.close(conv, None).await?
        {
            self.go_on(&pending).await?;
        }
        Ok(())
    }

    pub(crate) async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        if !self.is_cached() {
            return self.cold.members(conv, after, limit).await;
        }
        let hot = self.hot_view(conv, None).await?;
        let mut members = self.cold.members(conv, after, limit).await?;
        if let Some(hot) = hot {
            move_cursors(&mut members, hot.cursors);
        }
        Ok(members)
    }

    pub(crate) async fn log(
        &self,
        conv: &ConversationId,
        query: LogQuery,
    ) -> Result<Vec<Entry>, PortError> {
        match query {
            LogQuery::After { seq, limit, bytes } => self.after(conv, seq, limit, bytes).await,
            LogQuery::Before { seq, limit, bytes } => self.before(conv, seq, limit, bytes).await,
            LogQuery::Sent { .. } => {
                let hot = self.hot_view(conv, Some(&query)).await?;
                let entries = hot.map(|hot| self.answered(hot)).unwrap_or_default();
                if entries.is_empty() {
                    return self.cold.log(conv, query).await;
                }
                Ok(entries)
            }
            // Asked by a tier, of the store below it.
            LogQuery::Newest { .. } => self.cold.log(conv, query).await,
        }
    }

    /// The entries of a view that may be shown: with *committed*, those that the cold store has.
    fn answered(&self, hot: HotView) -> Vec<Entry> {
        let mut entries = hot.entries;
        if !self.is_cached() {
            entries.retain(|it| it.seq <= hot.cold);
        }
        entries
    }

    async fn after(
        &self,
        conv: &ConversationId,
        mut seq: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let mut page = Page::new(limit, bytes);
        for _ in 0..SEAM_TRIES {
            let hot = self.hot_view(conv, Some(&page.after(seq))).await?;
            let was_there = hot.is_some();
            let is_hot = hot.as_ref().is_some_and(|hot| hot.first <= seq.next());
            if let Some(hot) = hot.filter(|_| is_hot) {
                page.take_all(self.answered(hot));
                if self.is_cached() || page.is_full() {
                    break;
                }
                seq = page.last().unwrap_or(seq);
            }
            let cold = self.cold.log(conv, page.after(seq)).await?;
            page.take_all(cold);
            seq = page.last().unwrap_or(seq);
            // What was not hot before that read, it has given.
            if page.is_full() || !was_there || !self.is_cached() {
                break;
            }
        }
        Ok(page.entries)
    }

    async fn before(
        &self,
        conv: &ConversationId,
        mut seq: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let mut page = Page::new(limit, bytes);
        let mut is_complete = false;
        for _ in 0..SEAM_TRIES {
            let hot = self.hot_view(conv, Some(&page.before(seq))).await?;
            let Some(hot) = hot.filter(|hot| hot.first < seq) else {
                is_complete = true;
                break;
            };
            let known = if self.is_cached() { hot.head } else { hot.cold };
            if known.next() < seq && !self.is_cached() {
                // What stands above is the cold store's to say.
                is_complete = true;
                break;
            }
            let mut entries = self.answered(hot);
            entries.reverse();
            if entries.is_empty() {
                is_complete = true;
                break;
            }
            page.take_all(entries);
            seq = page.last().unwrap_or(seq);
            if page.is_full() {
                break;
            }
        }
        if is_complete && !page.is_full() && seq > Seq(1) {
            let mut cold = self.cold.log(conv, page.before(seq)).await?;
            cold.reverse();
            page.take_all(cold);
        }
        page.entries.reverse();
        Ok(page.entries)
    }
}

/// Cursors that have not reached the cold store; they are a member's or nobody's.
fn move_cursors(members: &mut [Member], cursors: Vec<CursorMove>) {
    if cursors.is_empty() {
        return;
    }
    let moves: BTreeMap<_, _> = cursors.iter().map(|it| (&it.user, it)).collect();
    for member in members.iter_mut().filter(|member| member.is_in()) {
        if let Some(to) = moves.get(&member.user) {
            let delivered = to.delivered.max(to.read).unwrap_or_default();
            member.delivered = member.delivered.max(delivered);
            member.read = member.read.max(to.read.unwrap_or_default());
        }
    }
}

/// A page under way.
struct Page {
    entries: Vec<Entry>,
    limit: usize,
    bytes: usize,
    is_closed: bool,
}

impl Page {
    const fn new(limit: usize, bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            limit,
            bytes,
            is_closed: limit == 0,
        }
    }

    /// What still fits, above a place.
    fn after(&self, seq: Seq) -> LogQuery {
        LogQuery::After {
            seq,
            limit: self.limit - self.entries.len(),
            bytes: self.bytes,
        }
    }

    /// What still fits, below a place.
    fn before(&self, seq: Seq) -> LogQuery {
        LogQuery::Before {
            seq,
            limit: self.limit - self.entries.len(),
            bytes: self.bytes,
        }
    }

    fn last(&self) -> Option<Seq> {
        self.entries.last().map(|last| last.seq)
    }

    /// Takes what fits, and at least one entry in all.
    fn take_all(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let size = entry.body.json().len();
            if self.is_full() || (size > self.bytes && !self.entries.is_empty()) {
                self.is_closed = true;
                return;
            }
            self.bytes = self.bytes.saturating_sub(size);
            self.entries.push(entry);
        }
    }

    fn is_full(&self) -> bool {
        self.is_closed
            || self.entries.len() >= self.limit
            || (self.bytes == 0 && !self.entries.is_empty())
    }
}
