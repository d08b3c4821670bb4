//! Reading the log, and what changed since a token.

use std::sync::Arc;

use im_core::frame::{
    ConvLine, ErrFrame, ErrorCode, Failure, Page, Pull, PullRange, RequestId, ServerFrame, Synced,
};
use im_core::model::{Entry, Seq, Stamps, Timestamp, UserId};
use im_core::port::{LogQuery, MembershipLine, View};
use im_core::rule::{Action, ActorView, authorize};

use super::keep::hide_old;
use crate::appender::port_failure;
use crate::link::Link;
use crate::node::Inner;
use crate::veil::veiled;

/// Conversations in one `synced`.
const SYNC_LIMIT: usize = 100;

/// A page as it was read.
struct Read {
    page: Page,
    /// Where the log ended for the user then.
    last: Seq,
    /// They were a member then.
    is_in: bool,
}

impl Inner {
    /// Answers a connection's pull.
    pub(crate) async fn pull_for(
        &self,
        user: &UserId,
        link: &Link,
        pull: Pull,
    ) -> Result<(), Failure> {
        let range = pull.range;
        let Read {
            mut page,
            last,
            is_in,
        } = self.pull_to(user, pull).await?;
        let (PullRange::After(after), false) = (range, page.more) else {
            link.send(ServerFrame::Page(page));
            return Ok(());
        };
        // Who names a place above the log has not caught up with what will stand there.
        let end = page
            .entries
            .last()
            .map_or_else(|| after.min(last), |entry| entry.seq);
        // What came after the page was read has not been pushed to a connection that is behind.
        let room = self.rooms.get(&page.conv);
        let state = room.as_ref().map(|room| room.state.lock());
        page.more = is_in && {
            let head = state.as_ref().and_then(|state| state.machine.head());
            let local = self.hub.get(user);
            let parted = local.and_then(|local| local.parted(&page.conv));
            head.max(parted) > Some(end)
        };
        if let (Some(room), false) = (&room, page.more) {
            // Under the room's lock nothing is pushed between this look and the page, so the next
            // entry pushed is the one after it.
            link.caught_up(room.key, end);
        }
        link.send(ServerFrame::Page(page));
        Ok(())
    }

    /// A page of a log, as far as the user may see it.
    pub(crate) async fn pull(&self, user: &UserId, pull: Pull) -> Result<Page, Failure> {
        Ok(self.pull_to(user, pull).await?.page)
    }

    async fn pull_to(&self, user: &UserId, pull: Pull) -> Result<Read, Failure> {
        let users = [user.clone()];
        let view = self.view(&pull.conv, &users).await?;
        let Some(View {
            conversation,
            members,
        }) = view
        else {
            return Err(Failure::new(ErrorCode::NotFound, "no such conversation"));
        };
        let member = members.first();
        let now = self.clock.timestamp();
        authorize(Action::Pull, ActorView::of(&conversation, member, now))?;
        let member = member.ok_or_else(|| Failure::new(ErrorCode::Internal, "no member"))?;
        let first = member.first_seq.max(conversation.first_seq);
        if let (Some(left), PullRange::After(after)) = (member.left_seq, pull.range)
            && after >= left
        {
            return Err(Failure::new(
                ErrorCode::NotMember,
                "you are no longer a member",
            ));
        }
        // The log is read after the member was: what stands above the head of then may come after
        // their removal.
        let last = member.left_seq.unwrap_or(conversation.head);
        let oldest = self.oldest(conversation.kind);
        let mut entries = self.read_page(&pull, first, last, oldest).await?;
        for entry in &mut entries {
            if let Some(other) = veiled(entry, conversation.kind, member) {
                *entry = Arc::new(other);
            }
        }
        let more = match pull.range {
            PullRange::After(after) => {
                let end = entries.last().map_or(after, |entry| entry.seq);
                end < last
            }
            PullRange::Before(_) => entries.first().is_some_and(|entry| entry.seq > first),
        };
        entries.shrink_to_fit();
        let page = Page {
            id: pull.id,
            conv: pull.conv,
            epoch: conversation.epoch,
            first_seq: first,
            entries,
            more,
        };
        Ok(Read {
            page,
            last,
            is_in: member.left_seq.is_none(),
        })
    }

    async fn read_page(
        &self,
        pull: &Pull,
        first: Seq,
        last: Seq,
        oldest: Option<Timestamp>,
    ) -> Result<Vec<Arc<Entry>>, Failure> {
        let (limit, bytes) = (pull.limit, self.settings.limits.page_bytes);
        let query = match pull.range {
            PullRange::After(after) => {
                let seq = after.max(Seq(first.0.saturating_sub(1)));
                LogQuery::After { seq, limit, bytes }
            }
            PullRange::Before(before) => {
                let seq = before.min(last.next());
                LogQuery::Before { seq, limit, bytes }
            }
        };
        let entries = self.store.log(&pull.conv, query).await;
        let entries = entries.map_err(|error| port_failure(&error))?;
        let seen = |seq: Seq| seq >= first && seq <= last;
        let now = self.clock.timestamp();
        let shown = |mut entry: Entry| {
            hide_ended(&mut entry, now);
            hide_old(&mut entry, oldest);
            Arc::new(entry)
        };
        let entries = entries.into_iter().filter(|entry| seen(entry.seq));
        Ok(entries.map(shown).collect())
    }

    /// What changed since a token.
    pub(crate) async fn sync(
        &self,
        user: &UserId,
        since: Option<&str>,
        id: Option<RequestId>,
    ) -> Result<Synced, Failure> {
        self.settle_cursors(user).await;
        let known = since.map(|token| parse_token(user, token));
        let mut reset = matches!(known, Some(None));
        let stamps = known.flatten().unwrap_or_default();
        let read = async |stamps| {
            let page = self.store.memberships(user, stamps, SYNC_LIMIT, true).await;
            page.map_err(|error| port_failure(&error))
        };
        let mut page = read(&stamps).await?;
        if stamps.is_ahead_of(&page.stamps) {
            // The store is behind the token: it was restored from a backup.
            reset = true;
            page = read(&Stamps::START).await?;
        }
        // Who has a token, also one from when there was nothing, may have seen what they left.
        let first_time = since.is_none() || reset;
        let lines = page.lines.into_iter();
        let now = self.clock.timestamp();
        let shown = |mut line: MembershipLine| {
            let oldest = self.oldest(line.conversation.kind);
            if let Some(last) = &mut line.last {
                hide_ended(last, now);
                hide_old(last, oldest);
                if let Some(other) = veiled(last, line.conversation.kind, &line.member) {
                    *last = other;
                }
            }
            conv_line(line)
        };
        let convs = lines
            .filter(|line| !first_time || line.member.is_in())
            .map(shown);
        Ok(Synced {
            id,
            convs: convs.collect(),
            more: page.more,
            since: make_token(user, &page.stamps),
            reset,
        })
    }

    /// After a `hello` with a token.
    pub(crate) async fn sync_unasked(&self, link: &Link, user: &UserId, since: &str) {
        match self.sync(user, Some(since), None).await {
            Ok(synced) => link.send(ServerFrame::Synced(synced)),
            Err(failure) => link.send(ServerFrame::Err(ErrFrame {
                re: "hello".to_owned(),
                id: None,
                cm_id: None,
                failure,
            })),
        }
    }
}

/// What is over is not given, also before it is erased.
fn hide_ended(entry: &mut Entry, now: Timestamp) {
    if entry.expires_at.is_some_and(|at| at <= now) {
        entry.new.erase();
    }
}

pub(crate) fn conv_line(line: MembershipLine) -> ConvLine {
    let MembershipLine {
        conversation,
        member,
        unread,
        mentions,
        last,
    } = line;
    ConvLine {
        conv: conversation.id,
        kind: conversation.kind,
        title: conversation.title,
        epoch: conversation.epoch,
        first_seq: member.first_seq.max(conversation.first_seq),
        last_seq: member.left_seq.unwrap_or(conversation.head),
        read_seq: member.read,
        unread,
        mentions,
        last: last.map(Arc::new),
        left: member.left_seq.is_some(),
    }
}

/// `2.<user>.<stamps>`: the user so that a token of another's is seen. It grants nothing, so it
/// needs no signature: who forges one only misleads themselves. The number is the form's: a token
/// of another form begins anew.
fn make_token(user: &UserId, stamps: &Stamps) -> String {
    format!("2.{:x}.{stamps}", user_mark(user))
}

fn parse_token(user: &UserId, token: &str) -> Option<Stamps> {
    let (mark, stamps) = token.strip_prefix("2.")?.split_once('.')?;
    let mark = u64::from_str_radix(mark, 16).ok()?;
    (mark == user_mark(user)).then(|| stamps.parse().ok())?
}

/// FNV-1a: the same on every node and after every restart.
fn user_mark(user: &UserId) -> u64 {
    user.as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use im_core::model::Stamp;

    use super::*;

    #[test]
    fn a_token_is_one_users() {
        let (a, b) = (UserId::new("a").unwrap(), UserId::new("b").unwrap());
        // As many databases as there may be, each after 2^51 changes.
        let stamps: Stamps = std::iter::repeat_n(Stamp(1 << 51), 16).collect();
        let token = make_token(&a, &stamps);
        assert!(token.len() <= 256);
        assert_eq!(parse_token(&a, &token), Some(stamps));
        assert_eq!(parse_token(&b, &token), None);
        let (_, tail) = token.split_once('.').unwrap();
        for bad in ["", "x", "MS4x", "2.", "2.1.1", "é", &format!("1.{tail}")] {
            assert_eq!(parse_token(&a, bad), None);
        }
    }
}
