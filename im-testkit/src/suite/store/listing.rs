//! A user's list: its order, its pages, what a line shows.

use im_core::model::{Body, Kind, Mentions, NewEntry, Role, Seq, Stamps};
use im_core::port::{FirstSeq, MemberOp, Write};

use super::kit::*;

/// A list is in the order of the last change, each conversation once, and goes on from its stamps.
/// Of a store of several databases that holds for what each of them gives.
pub async fn a_list_is_in_the_order_of_change(store: Shared) {
    let homes = Homes::make(&store, &["a", "b", "c"], &["al", "bo"]).await;
    let first = list(&store, "al", &Stamps::START).await;
    assert_eq!(homes.sort(ids(&first)), homes.sort(vec!["a", "b", "c"]));
    for id in ["b", "a", "b"] {
        say(&store, id, "bo", "x").await;
    }
    let whole = list(&store, "al", &Stamps::START).await;
    assert_eq!(homes.sort(ids(&whole)), homes.sort(vec!["c", "a", "b"]));
    let second = list(&store, "al", &first.stamps).await;
    let changed = homes.sort(vec!["a", "b"]);
    assert_eq!(homes.sort(ids(&second)), changed);
    assert!(second.stamps.is_ahead_of(&first.stamps));
    let third = list(&store, "al", &second.stamps).await;
    assert!(third.lines.is_empty());
    assert!(!second.stamps.is_ahead_of(&third.stamps));
    // Stamps are good any number of times.
    let again = list(&store, "al", &first.stamps).await;
    assert_eq!(homes.sort(ids(&again)), changed);
}

/// Head, title, own read cursor and membership are changes; nothing else is.
pub async fn head_title_own_read_and_membership_are_changes(store: Shared) {
    group(&store, "g", &["al", "bo", "cy"]).await;
    say(&store, "g", "al", "1").await;
    let tell = || Change::to("g").tell("x");
    let table = [
        (Change::to("g").say("bo", "2"), true),
        (tell().title("t"), true),
        (Change::to("g").read("al", 1), true),
        (Change::to("g").read("al", 1), false),
        (Change::to("g").cursor("al", Some(2), None), false),
        (Change::to("g").cursor("bo", Some(2), Some(2)), false),
        (tell().member("cy", MemberOp::Remove), true),
        (tell().member("cy", joins(FirstSeq::All)), true),
        (tell().member("al", MemberOp::Role(Role::Admin)), true),
        (tell().member("bo", MemberOp::Mute(Some(NEVER))), true),
        (Change::of_block("al", "bo", true), false),
        (Change::to("h").create(&["bo"]).say("bo", "1"), false),
    ];
    for (change, expected) in table {
        let since = list(&store, "al", &Stamps::START).await.stamps;
        change.clone().done(&store).await;
        let lines = list(&store, "al", &since).await.lines;
        assert_eq!(lines.len(), usize::from(expected), "{change:?}");
    }
}

/// One's own read cursor moves the conversation in one's own list only.
pub async fn reading_moves_ones_own_list_only(store: Shared) {
    let homes = Homes::make(&store, &["a", "b"], &["al", "bo"]).await;
    for id in ["a", "b"] {
        say(&store, id, "bo", "x").await;
    }
    Change::to("a").read("al", 1).done(&store).await;
    for (who, expected) in [("al", ["b", "a"]), ("bo", ["a", "b"])] {
        let page = list(&store, who, &Stamps::START).await;
        assert_eq!(homes.sort(ids(&page)), homes.sort(expected.to_vec()));
    }
}

/// A line shows the conversation and the user's own place as they are now.
pub async fn a_line_shows_what_is_now(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "1").await;
    add(&store, "g", "cy", FirstSeq::Here).await;
    Change::to("g")
        .cursor("cy", Some(1), None)
        .done(&store)
        .await;
    let line = line(&store, "cy", "g").await;
    assert_eq!(line.conversation, conversation(&store, "g").await);
    assert_eq!(line.member, member(&store, "g", "cy").await);
    assert_eq!(line.conversation.member_count, 3);
}

/// `unread` counts *say* entries of others above the read cursor.
pub async fn unread_counts_what_others_say(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let unread = async |who| line(&store, who, "g").await.unread;
    assert_eq!(unread("al").await, 0);
    let of = |kind| told("bo", Body::of(kind, []));
    let table = [
        (said("bo", "1"), 1),
        (said("al", "2"), 1),
        (of(Kind::Member), 1),
        (of(Kind::React), 1),
        (of(Kind::Image), 2),
        (of(Kind::Erased), 2),
        (said("bo", "7"), 3),
    ];
    for (entry, expected) in table {
        Change::to("g").append(entry).done(&store).await;
        assert_eq!(unread("al").await, expected);
    }
    assert_eq!(unread("bo").await, 1);
    for (read, expected) in [(1, 2), (4, 2), (5, 1), (6, 1), (7, 0)] {
        Change::to("g").read("al", read).done(&store).await;
        assert_eq!(unread("al").await, expected, "read up to {read}");
    }
}

/// Each kind counts as unread exactly if it is of the *say* family.
pub async fn every_say_kind_counts_as_unread(store: Shared) {
    for kind in Kind::ALL {
        let id = kind.as_str();
        group(&store, id, &["al", "bo"]).await;
        let entry = told("bo", Body::of(*kind, []));
        Change::to(id).append(entry).done(&store).await;
        let expected = u32::from(kind.family() == im_core::model::Family::Say);
        assert_eq!(line(&store, "al", id).await.unread, expected, "{id}");
    }
}

/// Of what is unread, what mentions the user is counted: by name or with everybody, not what they
/// said themselves, not what was read or erased, and nobody whose name only looks like it.
pub async fn mentions_are_counted_among_the_unread(store: Shared) {
    let names = ["al", "a", "l", "x\"al", "bo"];
    group(&store, "g", &names).await;
    let mentions = |ids: &[&str]| Mentions::Users(ids.iter().map(|id| user(id)).collect());
    let counts = async |who| {
        let line = line(&store, who, "g").await;
        (line.unread, line.mentions)
    };
    let table = [
        ("bo", Mentions::None, [(1, 0), (1, 0), (1, 0)]),
        ("bo", mentions(&["al"]), [(2, 1), (2, 0), (2, 0)]),
        ("bo", mentions(&["x\"al", "a"]), [(3, 1), (3, 1), (3, 1)]),
        ("bo", Mentions::All, [(4, 2), (4, 2), (4, 2)]),
        ("al", mentions(&["al", "a"]), [(4, 2), (5, 3), (5, 2)]),
        ("bo", mentions(&["l", "al"]), [(5, 3), (6, 3), (6, 2)]),
    ];
    for (from, mentions, expected) in table {
        let entry = NewEntry {
            mentions,
            ..said(from, "x")
        };
        Change::to("g").append(entry).done(&store).await;
        for (who, expected) in ["al", "a", "x\"al"].into_iter().zip(expected) {
            assert_eq!(counts(who).await, expected, "{who}");
        }
    }
    let erase = Write::Erase(vec![Seq(6)]);
    Change::to("g").write(erase).done(&store).await;
    assert_eq!(counts("al").await, (4, 2));
    for (read, expected) in [(1, (3, 2)), (2, (2, 1)), (4, (0, 0))] {
        Change::to("g").read("al", read).done(&store).await;
        assert_eq!(counts("al").await, expected, "read up to {read}");
    }
    let plain = store
        .memberships(&user("a"), &Stamps::START, 9, false)
        .await;
    assert_eq!(plain.unwrap().lines[0].mentions, 0);
}

/// `unread` is counted to 999.
pub async fn unread_is_counted_to_999(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    for (count, expected) in [(998, 998), (1, 999), (1, 999), (500, 999)] {
        let say = |commit: Change, _| commit.say("bo", "x");
        (0..count).fold(Change::to("g"), say).done(&store).await;
        assert_eq!(line(&store, "al", "g").await.unread, expected);
    }
    for (read, expected) in [(501, 999), (502, 998), (1499, 1)] {
        Change::to("g").read("al", read).done(&store).await;
        assert_eq!(line(&store, "al", "g").await.unread, expected);
    }
}

/// Without details, nothing is counted and no entry is read; the lines are the same.
pub async fn details_are_given_only_when_asked_for(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "bo", "1").await;
    let page = async |detail| {
        let page = store
            .memberships(&user("al"), &Stamps::START, 9, detail)
            .await;
        page.unwrap()
    };
    let (mut plain, mut full) = (page(false).await, page(true).await);
    assert_eq!(plain.stamps, full.stamps);
    let (plain, full) = (plain.lines.remove(0), full.lines.remove(0));
    assert_eq!((plain.unread, plain.last), (0, None));
    assert_eq!(full.unread, 1);
    assert_eq!(full.last.as_ref().map(text_of).as_deref(), Some("1"));
    assert_eq!(
        (plain.conversation, plain.member),
        (full.conversation, full.member)
    );
}

/// Who joined without history counts and sees nothing from before.
pub async fn who_joined_later_counts_from_there(store: Shared) {
    group(&store, "g", &["al"]).await;
    say(&store, "g", "al", "secret").await;
    let joined = add(&store, "g", "bo", FirstSeq::Here).await;
    let it = line(&store, "bo", "g").await;
    assert_eq!((it.unread, it.last.map(|last| last.seq)), (0, Some(joined)));
    say(&store, "g", "al", "hello").await;
    let it = line(&store, "bo", "g").await;
    assert_eq!(
        (it.unread, it.last.map(|last| text_of(&last))),
        (1, Some("hello".to_owned()))
    );
    add(&store, "g", "cy", FirstSeq::All).await;
    assert_eq!(line(&store, "cy", "g").await.unread, 2);
}

/// A conversation without an entry has no last one.
pub async fn an_empty_conversation_has_no_last_entry(store: Shared) {
    group(&store, "g", &["al"]).await;
    let it = line(&store, "al", "g").await;
    assert_eq!((it.unread, it.last), (0, None));
}

/// One who left: the conversation stands in their list once more, clipped to their last entry,
/// and never again when it goes on.
pub async fn who_left_hears_of_it_once_and_of_nothing_later(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "1").await;
    let since = list(&store, "bo", &Stamps::START).await.stamps;
    let left = remove(&store, "g", "bo").await;
    for text in ["3", "4"] {
        say(&store, "g", "al", text).await;
    }
    let page = list(&store, "bo", &since).await;
    assert_eq!(ids(&page), ["g"]);
    let it = &page.lines[0];
    assert_eq!(it.member.left_seq, Some(left));
    assert_eq!(it.last.as_ref().map(|last| last.seq), Some(left));
    assert_eq!(it.unread, 1);
    say(&store, "g", "al", "5").await;
    Change::to("g").title("t").tell("6").done(&store).await;
    add(&store, "g", "cy", FirstSeq::All).await;
    assert!(list(&store, "bo", &page.stamps).await.lines.is_empty());
    // From the beginning it is still there, so that a new device knows of the leaving.
    assert_eq!(line(&store, "bo", "g").await.member.left_seq, Some(left));
    add(&store, "g", "bo", FirstSeq::All).await;
    let back = list(&store, "bo", &page.stamps).await;
    assert_eq!(back.lines[0].member.left_seq, None);
}

/// Who came back without history sees nothing from before, not even what they saw as a member.
pub async fn who_came_back_without_history_sees_from_there(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "1").await;
    remove(&store, "g", "bo").await;
    say(&store, "g", "al", "3").await;
    let back = add(&store, "g", "bo", FirstSeq::Here).await;
    let it = line(&store, "bo", "g").await;
    assert_eq!((it.unread, it.last.map(|last| last.seq)), (0, Some(back)));
    assert_eq!(it.member.first_seq, back);
}

/// Pages of a list join without a seam, in the same order as the whole.
pub async fn pages_of_a_list_join_without_a_seam(store: Shared) {
    let groups: Vec<_> = (0..25).map(|n| format!("g{n}")).collect();
    let names: Vec<_> = groups.iter().map(String::as_str).collect();
    let homes = Homes::make(&store, &names, &["al", "bo"]).await;
    for n in [3, 17, 4, 3] {
        let (id, next) = (format!("g{n}"), format!("g{}", n + 1));
        say(&store, &id, "bo", "x").await;
        Change::to(&next).read("bo", 1).done(&store).await;
        Change::to(&id).read("al", 1).done(&store).await;
    }
    let whole = list(&store, "al", &Stamps::START).await;
    let whole = homes.sort_lines(whole.lines);
    assert_eq!(whole.len(), 25);
    for limit in [1, 4, 24, 25] {
        let mut lines = Vec::new();
        let mut since = Stamps::START;
        for _ in 0..=25 {
            let page = store
                .memberships(&user("al"), &since, limit, true)
                .await
                .unwrap();
            assert!(page.lines.len() <= limit);
            assert!(
                !page.more || page.stamps.is_ahead_of(&since),
                "a page that goes nowhere"
            );
            lines.extend(page.lines);
            since = page.stamps;
            if !page.more {
                break;
            }
        }
        assert_eq!(homes.sort_lines(lines), whole, "limit {limit}");
        assert!(list(&store, "al", &since).await.lines.is_empty());
    }
}

/// Users and conversations that look alike have lists of their own.
pub async fn users_that_look_alike_have_their_own_lists(store: Shared) {
    for id in LOOK_ALIKES {
        group(&store, id, &[id]).await;
        say(&store, id, id, "x").await;
    }
    for id in LOOK_ALIKES {
        assert_eq!(ids(&list(&store, id, &Stamps::START).await), [id]);
    }
    assert!(
        list(&store, "nobody", &Stamps::START)
            .await
            .lines
            .is_empty()
    );
}
