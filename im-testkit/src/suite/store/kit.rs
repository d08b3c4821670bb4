//! Short words for the cases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::model::{
    Body, CmId, Conversation, ConversationId, ConversationKind, Draft, Entry, Member, Mentions,
    MessageId, NewEntry, Role, Seq, Stamps, Target, Timestamp, UserId, direct_id,
};
use im_core::port::{
    Appended, Commit, Committed, CursorMove, FirstSeq, LogQuery, MemberChange, MemberOp,
    MembershipLine, MembershipPage, NewConversation, Record, RecordKey, Rejected, Store, Write,
};
use im_core::rule::{MemberEvent, MemberEventOp};

pub(super) type Shared = Arc<dyn Store>;

/// More than any log of the suite holds.
pub(super) const ALL: usize = 100_000;
/// More bytes than any log of the suite holds.
pub(super) const BYTES: usize = 100 << 20;
/// More databases than a store under test has.
const DATABASES_MAX: usize = 64;
/// A time in 2026.
pub(super) const AT: Timestamp = Timestamp(1_790_000_000_000);
/// A time that no run sees.
pub(super) const NEVER: Timestamp = Timestamp(4_000_000_000_000);

/// Ids that a database which folds case, accents, spaces, widths or Unicode forms takes for one.
pub(super) const LOOK_ALIKES: [&str; 9] = [
    "a",
    "A",
    "á",
    "a\u{301}",
    "a ",
    " a",
    "ä",
    "ａ",
    "a\u{200b}",
];

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(super) fn fresh() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn user(id: &str) -> UserId {
    UserId::new(id).expect("a user id")
}

pub(super) fn users(ids: &[&str]) -> Vec<UserId> {
    ids.iter().map(|id| user(id)).collect()
}

pub(super) fn conv(id: &str) -> ConversationId {
    ConversationId::new(id).expect("a conversation id")
}

/// The direct conversation of two users.
pub(super) fn direct(a: &str, b: &str) -> ConversationId {
    direct_id(&user(a), &user(b))
}

pub(super) fn cm(id: &str) -> CmId {
    CmId::new(id).expect("a cm_id")
}

/// A text under a `cm_id`, as a client's send becomes one; each has an id and a time of its own.
pub(super) fn sent(from: &str, cm_id: &str, text: &str) -> NewEntry {
    let draft = Draft::text(cm(cm_id), Target::User(user(from)), text);
    NewEntry {
        id: MessageId(fresh()),
        from: user(from),
        at: AT.plus_ms(fresh()),
        cm_id: Some(draft.cm_id.clone()),
        digest: draft.digest(),
        body: draft.body,
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    }
}

/// A text under a `cm_id` of its own.
pub(super) fn said(from: &str, text: &str) -> NewEntry {
    sent(from, &format!("m{}", fresh()), text)
}

/// An entry of the server's with that body.
pub(super) fn told(from: &str, body: Body) -> NewEntry {
    NewEntry {
        cm_id: None,
        digest: 0,
        body,
        ..said(from, "")
    }
}

/// A commit in the making.
#[derive(Debug, Clone)]
pub(super) struct Change(Commit);

impl Change {
    pub(super) fn to(id: &str) -> Self {
        Self(Commit {
            conv: conv(id),
            expect_version: None,
            actor: None,
            writes: Vec::new(),
        })
    }

    pub(super) fn expect(mut self, version: Seq) -> Self {
        self.0.expect_version = Some(version);
        self
    }

    pub(super) fn actor(mut self, id: &str) -> Self {
        self.0.actor = Some(user(id));
        self
    }

    pub(super) fn write(mut self, write: Write) -> Self {
        self.0.writes.push(write);
        self
    }

    pub(super) fn append(self, entry: NewEntry) -> Self {
        self.write(Write::Append(entry))
    }

    pub(super) fn say(self, from: &str, text: &str) -> Self {
        self.append(said(from, text))
    }

    /// An entry of the server's that says `text`.
    pub(super) fn tell(self, text: &str) -> Self {
        self.append(told("server", Body::text(text)))
    }

    /// A group; the first is its owner.
    pub(super) fn create(self, members: &[&str]) -> Self {
        let role = |at| if at == 0 { Role::Owner } else { Role::Member };
        let members = members.iter().enumerate();
        self.write(Write::Create(NewConversation {
            kind: ConversationKind::Group,
            title: Some("A group".to_owned()),
            hide_history: false,
            members: members.map(|(at, id)| (user(id), role(at))).collect(),
        }))
    }

    pub(super) fn title(self, title: &str) -> Self {
        self.write(Write::Title(Some(title.to_owned())))
    }

    pub(super) fn member(self, id: &str, op: MemberOp) -> Self {
        let user = user(id);
        self.write(Write::Member(MemberChange { user, op }))
    }

    pub(super) fn cursor(self, id: &str, delivered: Option<u64>, read: Option<u64>) -> Self {
        self.write(Write::Cursor(CursorMove {
            user: user(id),
            delivered: delivered.map(Seq),
            read: read.map(Seq),
        }))
    }

    pub(super) fn read(self, id: &str, seq: u64) -> Self {
        self.cursor(id, None, Some(seq))
    }

    /// A block alone, where it belongs.
    pub(super) fn of_block(user_id: &str, other: &str, on: bool) -> Self {
        Self::to(direct(user_id, other).as_str()).block(user_id, other, on)
    }

    pub(super) fn block(self, user_id: &str, other: &str, on: bool) -> Self {
        self.write(Write::Block {
            user: user(user_id),
            other: user(other),
            on,
        })
    }

    pub(super) fn record(self, key: &RecordKey, value: &str, expires_at: Timestamp) -> Self {
        self.write(Write::Record(Record {
            key: key.clone(),
            value: value.to_owned(),
            expires_at,
        }))
    }

    pub(super) fn commit(self) -> Commit {
        self.0
    }

    pub(super) async fn on(self, store: &Shared) -> Result<Committed, Rejected> {
        let mut answers = store.commit(&[self.0]).await;
        assert_eq!(answers.len(), 1, "one answer each");
        answers.remove(0)
    }

    pub(super) async fn done(self, store: &Shared) -> Committed {
        self.on(store).await.expect("nothing is wrong with it")
    }
}

/// Whether an answer is that refusal; of another one the cause is shown.
macro_rules! assert_rejected {
    ($answer:expr, $pattern:pat) => {
        let answer = $answer;
        assert!(
            matches!(&answer, Err($pattern)),
            "expected {}, got {answer:?}",
            stringify!($pattern)
        );
    };
}
pub(super) use assert_rejected;

/// Makes a group without an entry.
pub(super) async fn group(store: &Shared, id: &str, members: &[&str]) {
    let done = Change::to(id).create(members).done(store).await;
    assert!(done.created);
}

pub(super) async fn say(store: &Shared, id: &str, from: &str, text: &str) -> Appended {
    Change::to(id).say(from, text).done(store).await.appended[0]
}

pub(super) const fn joins(first: FirstSeq) -> MemberOp {
    MemberOp::Add {
        role: Role::Member,
        first,
    }
}

/// One commit that changes one member and tells of it; the place of its entry.
pub(super) async fn change(store: &Shared, id: &str, who: &str, op: MemberOp) -> Seq {
    let event = MemberEvent {
        op: match op {
            MemberOp::Add { .. } => MemberEventOp::Add,
            MemberOp::Remove => MemberEventOp::Remove,
            MemberOp::Role(role) => MemberEventOp::Role(role),
            MemberOp::Mute(until) => MemberEventOp::Mute(until),
        },
        users: users(&[who]),
    };
    let entry = told(who, event.to_body());
    let commit = Change::to(id).append(entry).member(who, op);
    commit.done(store).await.appended[0].seq
}

pub(super) async fn add(store: &Shared, id: &str, who: &str, first: FirstSeq) -> Seq {
    change(store, id, who, joins(first)).await
}

pub(super) async fn remove(store: &Shared, id: &str, who: &str) -> Seq {
    change(store, id, who, MemberOp::Remove).await
}

pub(super) async fn exists(store: &Shared, id: &str) -> bool {
    store.view(&conv(id), &[]).await.expect("a view").is_some()
}

pub(super) async fn conversation(store: &Shared, id: &str) -> Conversation {
    let view = store.view(&conv(id), &[]).await.expect("a view");
    view.expect("the conversation is there").conversation
}

pub(super) async fn find(store: &Shared, id: &str, who: &str) -> Option<Member> {
    let view = store.view(&conv(id), &users(&[who])).await.expect("a view");
    view.expect("the conversation is there").members.pop()
}

pub(super) async fn member(store: &Shared, id: &str, who: &str) -> Member {
    let found = find(store, id, who).await;
    found.expect("they are or were a member")
}

/// The ids of those who are members now.
pub(super) async fn names(store: &Shared, id: &str) -> Vec<String> {
    let found = store.members(&conv(id), None, ALL).await.expect("members");
    found.iter().map(|it| it.user.to_string()).collect()
}

pub(super) async fn read(store: &Shared, id: &str, query: LogQuery) -> Vec<Entry> {
    store.log(&conv(id), query).await.expect("a log")
}

pub(super) const fn after(seq: u64, limit: usize, bytes: usize) -> LogQuery {
    LogQuery::After {
        seq: Seq(seq),
        limit,
        bytes,
    }
}

pub(super) const fn before(seq: u64, limit: usize, bytes: usize) -> LogQuery {
    LogQuery::Before {
        seq: Seq(seq),
        limit,
        bytes,
    }
}

/// The whole log.
pub(super) async fn log(store: &Shared, id: &str) -> Vec<Entry> {
    read(store, id, after(0, ALL, BYTES)).await
}

/// The texts of a log's entries, "" for what is no text.
pub(super) async fn texts(store: &Shared, id: &str) -> Vec<String> {
    log(store, id).await.iter().map(text_of).collect()
}

pub(super) fn text_of(entry: &Entry) -> String {
    entry.body.as_text().unwrap_or_default()
}

pub(super) fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

/// Everything that changed for a user after some stamps, with details.
pub(super) async fn list(store: &Shared, who: &str, since: &Stamps) -> MembershipPage {
    let page = store.memberships(&user(who), since, ALL, true).await;
    let page = page.expect("a page");
    assert!(!page.more, "a limit of {ALL} is enough");
    page
}

/// The line of one conversation in a user's whole list.
pub(super) async fn line(store: &Shared, who: &str, id: &str) -> MembershipLine {
    let page = list(store, who, &Stamps::START).await;
    let mut lines = page.lines.into_iter();
    let found = lines.find(|it| it.conversation.id == conv(id));
    assert!(
        lines.all(|it| it.conversation.id != conv(id)),
        "it stands once"
    );
    found.expect("the conversation is in the list")
}

pub(super) fn ids(page: &MembershipPage) -> Vec<&str> {
    let lines = page.lines.iter();
    lines.map(|line| line.conversation.id.as_str()).collect()
}

/// In which database of a store each conversation is, by the stamp that its making moved.
pub(super) struct Homes(BTreeMap<String, usize>);

impl Homes {
    /// Makes groups.
    pub(super) async fn make(store: &Shared, ids: &[&str], members: &[&str]) -> Self {
        let mut homes = BTreeMap::new();
        for id in ids {
            let before = now(store).await;
            group(store, id, members).await;
            let after = now(store).await;
            let moved = (0..DATABASES_MAX).filter(|at| after.of(*at) > before.of(*at));
            let moved: Vec<_> = moved.collect();
            assert_eq!(moved.len(), 1, "a commit writes to one database");
            homes.insert((*id).to_owned(), moved[0]);
        }
        Self(homes)
    }

    /// The conversations by their databases; what one gave stays in its order.
    pub(super) fn sort<'a>(&self, mut ids: Vec<&'a str>) -> Vec<&'a str> {
        ids.sort_by_key(|id| self.0[*id]);
        ids
    }

    pub(super) fn sort_lines(&self, mut lines: Vec<MembershipLine>) -> Vec<MembershipLine> {
        lines.sort_by_key(|line| self.0[line.conversation.id.as_str()]);
        lines
    }
}

/// The stamps of now.
pub(super) async fn now(store: &Shared) -> Stamps {
    store
        .changed(&Stamps::START, 0)
        .await
        .expect("stamps")
        .stamps
}

pub(super) fn answer(who: &str, key: &str) -> RecordKey {
    RecordKey::Answer {
        user: user(who),
        key: key.to_owned(),
    }
}

pub(super) fn block(from: &str, to: &str) -> RecordKey {
    RecordKey::Block {
        user: user(from),
        other: user(to),
    }
}

pub(super) async fn recorded(store: &Shared, key: &RecordKey, now: Timestamp) -> Option<String> {
    store.record(key, now).await.expect("a record or none")
}
