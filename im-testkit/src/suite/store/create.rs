//! Making conversations.

use im_core::model::{Conversation, ConversationKind, Holder, Role, Seq};
use im_core::port::{NewConversation, Write};

use super::kit::*;

fn new(kind: ConversationKind, title: Option<&str>, members: &[(&str, Role)]) -> NewConversation {
    NewConversation {
        kind,
        title: title.map(str::to_owned),
        hide_history: false,
        members: members.iter().map(|(id, role)| (user(id), *role)).collect(),
    }
}

/// A conversation is made with its first members, who see everything.
pub async fn a_conversation_is_made_with_its_first_members(store: Shared) {
    assert!(!exists(&store, "g").await);
    let commit = Change::to("g").create(&["al", "bo"]).say("al", "hi");
    let done = commit.done(&store).await;
    assert!(done.created);
    assert_eq!(done.appended[0].seq, Seq(1));
    let made = conversation(&store, "g").await;
    assert_eq!((&made.id, made.kind), (&conv("g"), ConversationKind::Group));
    assert_eq!(made.title.as_deref(), Some("A group"));
    assert_eq!(
        (made.head, made.first_seq, made.member_count),
        (Seq(1), Seq(1), 2)
    );
    assert_eq!(made.version, done.version);
    assert!(!made.hide_history);
    for (who, role) in [("al", Role::Owner), ("bo", Role::Member)] {
        let it = member(&store, "g", who).await;
        assert_eq!((it.role, it.first_seq, it.left_seq), (role, Seq(1), None));
        assert_eq!((it.version, it.muted_until), (Seq(0), None));
        assert_eq!((it.delivered, it.read), (Seq(0), Seq(0)));
    }
}

/// Making a conversation that exists does nothing, and the rest of the commit happens.
pub async fn making_what_exists_changes_nothing(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "1").await;
    let before = conversation(&store, "g").await;
    let other = NewConversation {
        hide_history: true,
        ..new(
            ConversationKind::Channel,
            None,
            &[("cy", Role::Owner), ("bo", Role::Admin)],
        )
    };
    let again = Change::to("g").write(Write::Create(other)).say("bo", "2");
    let done = again.done(&store).await;
    assert!(!done.created);
    assert_eq!(done.appended[0].seq, Seq(2));
    let expected = Conversation {
        holder: Holder(0),
        head: Seq(2),
        ..before
    };
    assert_eq!(conversation(&store, "g").await, expected);
    assert_eq!(names(&store, "g").await, ["al", "bo"]);
    assert_eq!(member(&store, "g", "bo").await.role, Role::Member);
    assert_eq!(find(&store, "g", "cy").await, None);
}

/// A direct conversation that both sides make with their first message, each deciding that there
/// is none, is made once and holds both messages.
pub async fn a_direct_conversation_that_both_sides_make_is_one(store: Shared) {
    let make = |from: &str| {
        let members = [("al", Role::Member), ("bo", Role::Member)];
        let direct = new(ConversationKind::Direct, None, &members);
        let change = Change::to("d").expect(Seq(0)).actor(from);
        change.write(Write::Create(direct)).say(from, from).commit()
    };
    let answers = store.commit(&[make("al"), make("bo")]).await;
    let created = answers.iter().map(|it| it.as_ref().unwrap().created);
    assert_eq!(created.collect::<Vec<_>>(), [true, false]);
    assert_eq!(texts(&store, "d").await, ["al", "bo"]);
    let made = conversation(&store, "d").await;
    assert_eq!(
        (made.kind, made.title, made.member_count),
        (ConversationKind::Direct, None, 2)
    );
}

/// Every kind, title, role and history rule is read as it was written; an epoch does not move by
/// itself.
pub async fn what_a_conversation_is_is_kept(store: Shared) {
    use ConversationKind::{Channel, Desk, Direct, Group};
    let titles = [
        None,
        Some(""),
        Some("Tea ☕ 'n \"cake\" \\ 茶 𝄞 "),
        Some("x"),
    ];
    let kinds = [Direct, Group, Channel, Desk];
    for (at, (kind, title)) in kinds.into_iter().zip(titles).enumerate() {
        let id = format!("c{at}");
        let made = NewConversation {
            hide_history: at % 2 == 0,
            ..new(kind, title, &[("al", Role::Admin)])
        };
        Change::to(&id)
            .write(Write::Create(made))
            .done(&store)
            .await;
        let made = conversation(&store, &id).await;
        assert_eq!((made.kind, made.title.as_deref()), (kind, title));
        assert_eq!(made.hide_history, at % 2 == 0);
        assert_eq!(member(&store, &id, "al").await.role, Role::Admin);
        say(&store, &id, "al", "hi").await;
        assert_eq!(conversation(&store, &id).await.epoch, made.epoch);
    }
}

/// A title can be taken away.
pub async fn a_title_is_set_and_taken_away(store: Shared) {
    group(&store, "g", &["al"]).await;
    for title in [Some("é 𝄞"), None, Some("A group")] {
        let write = Write::Title(title.map(str::to_owned));
        Change::to("g")
            .write(write)
            .tell("titled")
            .done(&store)
            .await;
        assert_eq!(conversation(&store, "g").await.title.as_deref(), title);
    }
}

/// Conversations whose ids look alike are different ones.
pub async fn conversations_that_look_alike_are_different_ones(store: Shared) {
    for (at, id) in LOOK_ALIKES.iter().enumerate() {
        assert!(!exists(&store, id).await, "{id:?}");
        group(&store, id, &[&format!("u{at}")]).await;
        say(&store, id, "al", id).await;
    }
    for (at, id) in LOOK_ALIKES.iter().enumerate() {
        assert_eq!(names(&store, id).await, [format!("u{at}")]);
        assert_eq!(texts(&store, id).await, [*id]);
    }
}

/// A view has the members asked for, in that order, also those who left, and nobody else.
pub async fn a_view_has_the_members_asked_for_in_that_order(store: Shared) {
    group(&store, "g", &["al", "bo", "cy"]).await;
    remove(&store, "g", "bo").await;
    let asked = users(&["cy", "nobody", "bo", "al", "a", "AL", "al "]);
    let view = store.view(&conv("g"), &asked).await.unwrap().unwrap();
    let found: Vec<_> = view.members.iter().map(|it| it.user.as_str()).collect();
    assert_eq!(found, ["cy", "bo", "al"]);
    assert!(!view.members[1].is_in());
}

/// A view of many users at once has them all.
pub async fn a_view_of_many_has_them_all(store: Shared) {
    let all: Vec<_> = (0..2000).map(|n| format!("u{n}")).collect();
    let members: Vec<_> = all.iter().map(String::as_str).collect();
    group(&store, "g", &members).await;
    let asked: Vec<_> = members.iter().rev().map(|id| user(id)).collect();
    let view = store.view(&conv("g"), &asked).await.unwrap().unwrap();
    assert!(view.members.iter().map(|it| &it.user).eq(&asked));
}
