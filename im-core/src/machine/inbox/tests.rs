//! Single rules of the inbox; what it promises as a whole is tested in `tests/suite/inbox.rs`.

use super::*;
use crate::frame::{ConvLine, ErrFrame, ErrorCode, Failure, Page, Pull, RequestId, Synced};
use crate::model::{
    Body, ConversationKind, DeviceId, Epoch, Mentions, MessageId, NewEntry, Timestamp, UserId,
    Value,
};
use crate::rule::{MemberEvent, MemberEventOp};

fn conv() -> ConversationId {
    ConversationId::new("c").unwrap()
}

fn entry(seq: u64) -> Arc<Entry> {
    said(seq, Body::text("x"))
}

fn said(seq: u64, body: Body) -> Arc<Entry> {
    let new = NewEntry {
        id: MessageId(seq),
        from: UserId::new("bo").unwrap(),
        at: Timestamp(0),
        cm_id: None,
        digest: 0,
        body,
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Arc::new(new.at(conv(), Seq(seq)))
}

fn welcome() -> Welcome {
    Welcome {
        user: UserId::new("ann").unwrap(),
        device: DeviceId::new("phone").unwrap(),
        conn: "1".to_owned(),
        node: "n1".to_owned(),
        now: Timestamp(0),
        expires_at: Timestamp(0),
        heartbeat_ms: 30_000,
        limits: Limits {
            window: 16,
            ..Limits::default()
        },
    }
}

/// A conversation's line, its log at `last_seq`.
fn line(last_seq: u64) -> ConvLine {
    ConvLine {
        conv: conv(),
        kind: ConversationKind::Group,
        title: None,
        epoch: Epoch(1),
        first_seq: Seq(1),
        last_seq: Seq(last_seq),
        read_seq: Seq(0),
        unread: 0,
        mentions: 0,
        last: None,
        left: false,
    }
}

/// The whole answer to a sync.
fn answer(id: RequestId, convs: Vec<ConvLine>, reset: bool) -> ServerFrame {
    ServerFrame::Synced(Synced {
        id: Some(id),
        convs,
        more: false,
        since: "t".to_owned(),
        reset,
    })
}

/// Connects, and gives the id of the sync that is asked first.
fn connect(inbox: &mut Inbox, now: Instant, token: Option<&str>) -> RequestId {
    inbox.handle_connected(now, &welcome());
    let Some(ClientFrame::Sync { id, since }) = inbox.poll_transmit() else {
        panic!("a sync is asked first");
    };
    assert_eq!(since.as_deref(), token);
    id
}

/// An inbox that is new, connected, and has asked for the list; its sync's id.
fn listing() -> (Inbox, Instant, RequestId) {
    let now = crate::machine::test_start();
    let mut inbox = Inbox::new(now, InboxConfig::default(), 1);
    let id = connect(&mut inbox, now, None);
    (inbox, now, id)
}

/// An inbox that has synced: one conversation, its log at `last_seq`.
fn synced(last_seq: u64) -> (Inbox, Instant) {
    let (mut inbox, now, id) = listing();
    inbox.handle_frame(now, &answer(id, vec![line(last_seq)], false));
    events(&mut inbox);
    (inbox, now)
}

/// The conversation is new to the user, who is told at once.
fn announce(inbox: &mut Inbox, now: Instant) {
    let line = Value::object([("kind", Value::from("conv")), ("line", line(0).to_value())]);
    inbox.handle_frame(now, &ServerFrame::Event(line));
}

/// A pull's refusal.
fn refusal(pull: &Pull, failure: Failure) -> ServerFrame {
    ServerFrame::Err(ErrFrame {
        re: "pull".to_owned(),
        id: Some(pull.id.clone()),
        cm_id: None,
        failure,
    })
}

fn events(inbox: &mut Inbox) -> Vec<InboxEvent> {
    inbox.assert_invariants();
    std::iter::from_fn(|| inbox.poll_event()).collect()
}

fn pulls(inbox: &mut Inbox) -> Vec<Pull> {
    std::iter::from_fn(|| inbox.poll_transmit())
        .filter_map(|frame| match frame {
            ClientFrame::Pull(pull) => Some(pull),
            _ => None,
        })
        .collect()
}

fn acks(inbox: &mut Inbox) -> Vec<u64> {
    std::iter::from_fn(|| inbox.poll_transmit())
        .filter_map(|frame| match frame {
            ClientFrame::Ack(mark) => Some(mark.seq.0),
            _ => None,
        })
        .collect()
}

fn push(inbox: &mut Inbox, now: Instant, seq: u64) {
    inbox.handle_frame(now, &ServerFrame::Entry(entry(seq)));
}

fn page(id: RequestId, epoch: u64, seqs: std::ops::Range<u64>) -> ServerFrame {
    ServerFrame::Page(Page {
        id,
        conv: conv(),
        epoch: Epoch(epoch),
        first_seq: Seq(1),
        entries: seqs.map(entry).collect(),
        more: false,
    })
}

#[test]
fn acks_leave_after_a_quarter_of_the_window_or_a_tenth_of_a_second() {
    let (mut inbox, now) = synced(0);
    for seq in 1..=3 {
        push(&mut inbox, now, seq);
    }
    assert_eq!(events(&mut inbox).len(), 3);
    assert_eq!(acks(&mut inbox), [0; 0]);
    push(&mut inbox, now, 4);
    assert_eq!(acks(&mut inbox), [0; 0], "what nobody took has not arrived");
    events(&mut inbox);
    assert_eq!(acks(&mut inbox), [4]);
    push(&mut inbox, now, 5);
    events(&mut inbox);
    let (at, _) = inbox.poll_timeout().unwrap();
    assert_eq!(at, now + ACK_AFTER);
    inbox.handle_timeout(at);
    assert_eq!(acks(&mut inbox), [5]);
    push(&mut inbox, at, 5);
    inbox.handle_timeout(at + ACK_AFTER);
    assert_eq!(acks(&mut inbox), [5], "a repeat is acked again");
}

#[test]
fn behind_is_ended_by_a_pull_also_when_nothing_is_missing() {
    let (mut inbox, now) = synced(0);
    push(&mut inbox, now, 1);
    let behind = ServerFrame::Behind {
        conv: conv(),
        last_seq: Seq(1),
        epoch: Epoch(1),
    };
    inbox.handle_frame(now, &behind);
    let asked = pulls(&mut inbox);
    assert_eq!(asked.len(), 1);
    // No page comes: it is asked for again, though no hole is known.
    let (at, _) = inbox.poll_timeout().unwrap();
    inbox.handle_timeout(at);
    let again = pulls(&mut inbox);
    assert_eq!(again.len(), 1);
    inbox.handle_frame(at, &page(asked[0].id.clone(), 1, 2..3));
    assert_eq!(
        inbox.held(),
        1,
        "the page of a pull that was given up is late"
    );
    // `behind` comes once more while the second pull is in flight.
    inbox.handle_frame(at, &behind);
    inbox.handle_frame(at, &page(again[0].id.clone(), 1, 2..3));
    assert_eq!(pulls(&mut inbox).len(), 1);
    inbox.assert_invariants();
}

#[test]
fn a_repeat_that_no_page_explains_is_looked_into() {
    let (mut inbox, now) = synced(3);
    let asked = pulls(&mut inbox);
    inbox.handle_frame(now, &page(asked[0].id.clone(), 1, 1..6));
    push(&mut inbox, now, 4);
    push(&mut inbox, now, 5);
    assert_eq!(pulls(&mut inbox).len(), 0, "the page had overtaken them");
    push(&mut inbox, now, 6);
    push(&mut inbox, now, 4);
    let asked = pulls(&mut inbox);
    assert_eq!(asked.len(), 1, "the log may have begun another life");
    inbox.handle_frame(now, &page(asked[0].id.clone(), 2, 1..5));
    let reset = InboxEvent::Reset {
        conv: conv(),
        epoch: Epoch(2),
        first_seq: Seq(1),
    };
    assert!(events(&mut inbox).contains(&reset));
}

#[test]
fn a_refused_pull_waits_or_tells() {
    let (mut inbox, now) = synced(3);
    let asked = pulls(&mut inbox);
    let busy = Failure::retry(ErrorCode::Busy, "busy", 5_000);
    inbox.handle_frame(now, &refusal(&asked[0], busy));
    let (at, _) = inbox.poll_timeout().unwrap();
    assert!(at >= now + Duration::from_secs(5) && at < now + Duration::from_secs(8));
    inbox.handle_timeout(at);
    let asked = pulls(&mut inbox);
    let failure = Failure::new(ErrorCode::Internal, "a bug");
    inbox.handle_frame(at, &refusal(&asked[0], failure.clone()));
    let told = InboxEvent::PullFailed {
        conv: conv(),
        failure,
    };
    assert_eq!(events(&mut inbox), [told, InboxEvent::Synced]);
    assert_eq!(pulls(&mut inbox).len(), 0, "it rests");
    push(&mut inbox, at, 4);
    let asked = pulls(&mut inbox);
    assert_eq!(asked.len(), 1, "until there is news");
    let gone = Failure::new(ErrorCode::NotMember, "no member");
    inbox.handle_frame(at, &refusal(&asked[0], gone));
    assert_eq!(events(&mut inbox), [InboxEvent::Left { conv: conv() }]);
}

#[test]
fn a_refusal_of_before_they_came_back_ends_nothing() {
    let (mut inbox, now) = synced(3);
    let asked = pulls(&mut inbox);
    // Removed, and added again before the answer comes.
    announce(&mut inbox, now);
    let gone = || Failure::new(ErrorCode::NotMember, "no member");
    inbox.handle_frame(now, &refusal(&asked[0], gone()));
    let told = events(&mut inbox);
    assert!(
        !told.contains(&InboxEvent::Left { conv: conv() }),
        "{told:?}"
    );
    let (at, _) = inbox.poll_timeout().unwrap();
    inbox.handle_timeout(at);
    let asked = pulls(&mut inbox);
    assert_eq!(asked.len(), 1, "it asks again");
    inbox.handle_frame(at, &refusal(&asked[0], gone()));
    assert!(events(&mut inbox).contains(&InboxEvent::Left { conv: conv() }));
}

#[test]
fn a_listing_that_does_not_name_a_conversation_ends_it() {
    let (mut inbox, now) = synced(0);
    let id = connect(&mut inbox, now, Some("t"));
    inbox.handle_frame(now, &answer(id, Vec::new(), true));
    assert_eq!(
        events(&mut inbox),
        [InboxEvent::Left { conv: conv() }, InboxEvent::Synced]
    );
    assert_eq!(inbox.since(), Some("t"));
}

#[test]
fn what_a_listing_does_not_name_was_left_and_is_not_begun() {
    let (mut inbox, now, id) = listing();
    push(&mut inbox, now, 2);
    inbox.handle_frame(now, &answer(id, Vec::new(), false));
    assert_eq!(events(&mut inbox), [InboxEvent::Synced]);
    assert!(pulls(&mut inbox).is_empty() && inbox.cursors().next().is_none());
}

#[test]
fn what_was_pushed_before_a_listing_was_cut_off_may_be_left_by_the_next() {
    let (mut inbox, now, _) = listing();
    announce(&mut inbox, now);
    push(&mut inbox, now, 1);
    assert_eq!(events(&mut inbox).len(), 2);
    let id = connect(&mut inbox, now, None);
    inbox.handle_frame(now, &answer(id, Vec::new(), false));
    assert!(events(&mut inbox).contains(&InboxEvent::Left { conv: conv() }));
}

/// The user joined after the list was read, or was in and out again before: the list is the same,
/// and its token covers both.
#[test]
fn what_is_announced_during_a_listing_that_does_not_name_it_is_asked_for() {
    let asked = || {
        let (mut inbox, now, id) = listing();
        announce(&mut inbox, now);
        push(&mut inbox, now, 1);
        inbox.handle_frame(now, &answer(id, Vec::new(), false));
        let asked = pulls(&mut inbox);
        assert_eq!(asked.len(), 1, "a member or not, only the server knows");
        events(&mut inbox);
        (inbox, now, asked)
    };
    let (mut inbox, now, pulls) = asked();
    let gone = Failure::new(ErrorCode::NotMember, "no member");
    inbox.handle_frame(now, &refusal(&pulls[0], gone));
    assert_eq!(
        events(&mut inbox),
        [InboxEvent::Left { conv: conv() }, InboxEvent::Synced]
    );
    let (mut inbox, now, pulls) = asked();
    inbox.handle_frame(now, &page(pulls[0].id.clone(), 1, 2..2));
    assert_eq!(events(&mut inbox), [InboxEvent::Synced]);
}

#[test]
fn who_is_removed_while_connected_is_told_so_by_the_next_pull() {
    let removal = |user: &str| {
        let event = MemberEvent {
            op: MemberEventOp::Remove,
            users: vec![UserId::new(user).unwrap()],
        };
        ServerFrame::Entry(said(1, event.to_body()))
    };
    let (mut inbox, now) = synced(0);
    inbox.handle_frame(now, &removal("bo"));
    assert!(pulls(&mut inbox).is_empty(), "somebody else");
    let (mut inbox, now) = synced(0);
    inbox.handle_frame(now, &removal("ann"));
    let asked = pulls(&mut inbox);
    let gone = Failure::new(ErrorCode::NotMember, "no member");
    inbox.handle_frame(now, &refusal(&asked[0], gone));
    let told = events(&mut inbox);
    assert_eq!(told[1..], [InboxEvent::Left { conv: conv() }]);
}

/// The list was read before a removal whose entry, and the refusal after it, came first.
#[test]
fn a_line_that_the_removal_overtook_does_not_bring_the_user_back() {
    let (mut inbox, now) = synced(0);
    let id = connect(&mut inbox, now, Some("t"));
    let event = MemberEvent {
        op: MemberEventOp::Remove,
        users: vec![UserId::new("ann").unwrap()],
    };
    inbox.handle_frame(now, &ServerFrame::Entry(said(1, event.to_body())));
    let gone = || Failure::new(ErrorCode::NotMember, "no member");
    let asked = pulls(&mut inbox);
    inbox.handle_frame(now, &refusal(&asked[0], gone()));
    assert!(events(&mut inbox).contains(&InboxEvent::Left { conv: conv() }));
    inbox.handle_frame(now, &answer(id, vec![line(0)], false));
    let asked = pulls(&mut inbox);
    assert_eq!(asked.len(), 1, "in again or not, only the server knows");
    inbox.handle_frame(now, &refusal(&asked[0], gone()));
    let told = events(&mut inbox);
    assert_eq!(
        told[1..],
        [InboxEvent::Left { conv: conv() }, InboxEvent::Synced]
    );
}

#[test]
fn a_server_that_claims_what_it_has_not_is_not_asked_for_ever() {
    let (mut inbox, mut now) = synced(100);
    let mut asked = 0;
    loop {
        for pull in pulls(&mut inbox) {
            asked += 1;
            inbox.handle_frame(now, &page(pull.id, 1, 1..1));
        }
        inbox.assert_invariants();
        let Some((at, _)) = inbox.poll_timeout() else {
            break;
        };
        now = at;
        inbox.handle_timeout(now);
    }
    assert_eq!(asked, 5);
}
