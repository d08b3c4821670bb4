//! The version: what moves it, and what it refuses.

use im_core::model::{Role, Seq};
use im_core::port::{FirstSeq, MemberOp, Rejected, Write};

use super::kit::*;

/// The version is the last entry of the last commit that changed members or title; what people
/// say does not move it.
pub async fn members_and_title_move_the_version_and_messages_do_not(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let version = conversation(&store, "g").await.version;
    let said = Change::to("g").say("al", "1").done(&store).await;
    assert_eq!(said.version, version);
    Change::to("g").read("bo", 1).done(&store).await;
    assert_eq!(conversation(&store, "g").await.version, version);
    assert_eq!(add(&store, "g", "cy", FirstSeq::All).await, Seq(2));
    assert_eq!(conversation(&store, "g").await.version, Seq(2));
    let said = Change::to("g").say("al", "3").done(&store).await;
    assert_eq!(said.version, Seq(2));
    assert_eq!(conversation(&store, "g").await.version, Seq(2));
    let titled = Change::to("g").title("Other").tell("4").tell("5");
    assert_eq!(titled.done(&store).await.version, Seq(5));
    assert_eq!(conversation(&store, "g").await.version, Seq(5));
    for who in ["al", "bo"] {
        assert_eq!(member(&store, "g", who).await.version, Seq(0));
    }
}

/// A commit decided on another version is refused, whatever it writes, and writes nothing.
pub async fn another_version_is_a_conflict(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let old = conversation(&store, "g").await.version;
    say(&store, "g", "al", "1").await;
    Change::to("g")
        .say("al", "2")
        .expect(old)
        .done(&store)
        .await;
    let now = add(&store, "g", "cy", FirstSeq::All).await;
    for wrong in [old, Seq(now.0 + 1)] {
        let commits = [
            Change::to("g").say("al", "no"),
            Change::to("g").title("no").tell("no"),
            Change::to("g").create(&["al"]).say("al", "no"),
            Change::to("g").read("al", 1),
            Change::to("g")
                .say("al", "no")
                .member("bo", MemberOp::Remove),
        ];
        for commit in commits {
            assert_rejected!(commit.expect(wrong).on(&store).await, Rejected::Conflict);
        }
    }
    assert_eq!(texts(&store, "g").await, ["1", "2", ""]);
    assert_eq!(names(&store, "g").await, ["al", "bo", "cy"]);
    assert_eq!(member(&store, "g", "al").await.read, Seq(0));
    assert_eq!(
        conversation(&store, "g").await.title.as_deref(),
        Some("A group")
    );
    let good = Change::to("g")
        .say("al", "4")
        .expect(now)
        .done(&store)
        .await;
    assert_eq!(good.appended[0].seq, Seq(4));
}

/// With an actor, only their own change is a conflict: others' joins don't refuse their messages.
pub async fn with_an_actor_only_their_own_change_is_a_conflict(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let by = |who, version| Change::to("g").say(who, "x").expect(version).actor(who);
    let old = conversation(&store, "g").await.version;
    let joined = add(&store, "g", "cy", FirstSeq::All).await;
    by("al", old).done(&store).await;
    assert_rejected!(by("cy", old).on(&store).await, Rejected::Conflict);
    by("cy", joined).done(&store).await;
    let muted = change(&store, "g", "al", MemberOp::Mute(Some(NEVER))).await;
    assert_rejected!(by("al", joined).on(&store).await, Rejected::Conflict);
    by("al", muted).done(&store).await;
    by("bo", joined).done(&store).await;
    add(&store, "g", "dy", FirstSeq::All).await;
    by("al", muted).done(&store).await;
}

/// An actor who is no member any more, or never was one, is refused on any other version than
/// the one that the decision was made on.
pub async fn an_actor_who_left_is_a_conflict(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let by = |who, version| Change::to("g").say(who, "x").expect(version).actor(who);
    let old = conversation(&store, "g").await.version;
    let left = remove(&store, "g", "bo").await;
    assert_rejected!(by("bo", old).on(&store).await, Rejected::Conflict);
    // What a non-member may do was decided on this very version: that is not the store's to judge.
    by("bo", left).done(&store).await;
    by("stranger", left).done(&store).await;
    add(&store, "g", "cy", FirstSeq::All).await;
    for who in ["bo", "stranger"] {
        assert_rejected!(by(who, left).on(&store).await, Rejected::Conflict);
    }
}

/// What an actor was to say is refused when such as they were told to be quiet meanwhile, and
/// everybody's when it was ended.
pub async fn an_actor_who_was_told_to_be_quiet_is_a_conflict(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let by = |who, version| Change::to("g").say(who, "x").expect(version).actor(who);
    let old = conversation(&store, "g").await.version;
    let speaks = |role| Change::to("g").write(Write::Speaks(role)).tell("quiet");
    speaks(Role::Admin).done(&store).await;
    assert_rejected!(by("bo", old).on(&store).await, Rejected::Conflict);
    by("al", old).done(&store).await;
    speaks(Role::Nobody).done(&store).await;
    let there = conversation(&store, "g").await;
    assert!(there.is_ended());
    assert_rejected!(by("al", old).on(&store).await, Rejected::Conflict);
    speaks(Role::Member).done(&store).await;
    by("bo", old).done(&store).await;
}
