//! Erasing what entries say, and the rules of a conversation beside its title.

use im_core::model::{Kind, Mentions, Role, Seq, Timestamp};
use im_core::port::{LogQuery, Rejected, Write};
use im_core::rule::{MemberEvent, MemberEventOp};

use super::kit::*;

fn erase(id: &str, seqs: &[u64]) -> Change {
    Change::to(id).write(Write::Erase(seqs.iter().copied().map(Seq).collect()))
}

/// The time, by the clock that stores go by.
fn lately() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    Timestamp(i64::try_from(since.as_millis()).expect("this age"))
}

async fn kinds(store: &Shared, id: &str) -> Vec<Kind> {
    let log = log(store, id).await;
    log.iter().map(|entry| entry.body.kind()).collect()
}

/// An erased entry keeps its place, its id, its author and its `cm_id`, and says nothing; a retry
/// of it still finds it. Whether it was stored long ago, just now, or in the same batch.
pub async fn what_is_erased_keeps_its_place(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let mut full = sent("al", "m1", "secret");
    (full.reply_to, full.mentions) = (Some(Seq(1)), Mentions::Users(users(&["bo"])));
    full.expires_at = Some(NEVER);
    // A store need not know ids from long ago again.
    full.at = lately();
    Change::to("g").append(full.clone()).done(&store).await;
    for n in 2..=300 {
        let mut entry = said("bo", &n.to_string());
        entry.at = lately();
        Change::to("g").append(entry).done(&store).await;
    }
    let before = conversation(&store, "g").await;
    let batch = [
        Change::to("g").say("al", "secret").commit(),
        erase("g", &[1, 7, 301, 999]).say("al", "gone").commit(),
    ];
    assert!(store.commit(&batch).await.iter().all(Result::is_ok));
    let after = conversation(&store, "g").await;
    assert_eq!(
        (after.head, after.erasures),
        (Seq(302), before.erasures + 1)
    );
    assert_eq!((after.version, after.epoch), (before.version, before.epoch));
    let log = log(&store, "g").await;
    let erased = log.iter().filter(|entry| entry.body.kind() == Kind::Erased);
    assert_eq!(
        erased.map(|entry| entry.seq.0).collect::<Vec<_>>(),
        [1, 7, 301]
    );
    assert!(
        log.iter()
            .all(|entry| !entry.body.json().contains("secret"))
    );
    let mut expected = full.at(conv("g"), Seq(1));
    expected.new.erase();
    assert_eq!(log[0], expected);
    assert_eq!((log[0].reply_to, &log[0].mentions), (None, &Mentions::None));
    assert_eq!((log[0].id, log[0].at), (full.id, full.at));
    let again = Change::to("g")
        .append(sent("al", "m1", "other"))
        .on(&store)
        .await;
    assert_rejected!(again, Rejected::CmIdReused);
    let query = LogQuery::Sent {
        sender: user("al"),
        cm_id: cm("m1"),
    };
    let found = store.log(&conv("g"), query).await.expect("a log");
    assert_eq!(found, [expected]);
}

/// What is erased no longer counts as unread; the change is seen by lists and sweeps.
pub async fn what_is_erased_is_unread_no_more(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    for n in 0..3 {
        say(&store, "g", "al", &n.to_string()).await;
    }
    let before = now(&store).await;
    erase("g", &[2]).done(&store).await;
    let page = list(&store, "bo", &before).await;
    assert_eq!(page.lines.len(), 1);
    assert_eq!(page.lines[0].unread, 2);
    let changed = store.changed(&before, ALL).await.expect("a sweep");
    assert_eq!(changed.convs.len(), 1);
    erase("g", &[3]).done(&store).await;
    let page = list(&store, "bo", &before).await;
    let last = page.lines[0].last.as_ref().expect("an entry");
    assert_eq!((last.seq, last.body.kind()), (Seq(3), Kind::Erased));
}

/// What tells of members stays: who lags must still read who left. Erasing twice is once.
pub async fn what_tells_of_members_is_never_erased(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let event = MemberEvent {
        op: MemberEventOp::Leave,
        users: users(&["bo"]),
    };
    let entry = told("bo", event.to_body());
    Change::to("g")
        .append(entry)
        .say("al", "x")
        .done(&store)
        .await;
    for _ in 0..2 {
        erase("g", &[1, 2]).done(&store).await;
        assert_eq!(kinds(&store, "g").await, [Kind::Member, Kind::Erased]);
    }
    assert_rejected!(erase("nowhere", &[1]).on(&store).await, Rejected::NotFound);
}

/// Who may speak, and what those who join see, are rules: they move the version.
pub async fn who_may_speak_and_see_is_kept(store: Shared) {
    group(&store, "g", &["al"]).await;
    let there = conversation(&store, "g").await;
    assert_eq!((there.speaks, there.hide_history), (Role::Member, false));
    let change = Change::to("g").write(Write::Speaks(Role::Admin)).tell("1");
    change.done(&store).await;
    let there = conversation(&store, "g").await;
    assert_eq!((there.speaks, there.version), (Role::Admin, Seq(1)));
    let change = Change::to("g").write(Write::HideHistory(true)).tell("2");
    change.expect(Seq(1)).done(&store).await;
    let there = conversation(&store, "g").await;
    assert_eq!((there.speaks, there.hide_history), (Role::Admin, true));
    assert_eq!(there.version, Seq(2));
    assert_eq!(there.title.as_deref(), Some("A group"));
    let late = Change::to("g").write(Write::Speaks(Role::Owner)).tell("3");
    assert_rejected!(late.expect(Seq(1)).on(&store).await, Rejected::Conflict);
}
