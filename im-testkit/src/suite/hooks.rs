//! What every hook must do: [`hooks_suite!`](crate::hooks_suite).

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{
    Body, CmId, ConversationId, Draft, Family, Kind, Mentions, Seq, Target, UserId,
};
use im_core::port::{Hooks, Verdict};

type Shared = Arc<dyn Hooks>;

/// The deadline that a node gives by default is longer; a hook that needs this long is no good.
const ANSWER_MAX: Duration = Duration::from_secs(2);

fn draft(body: Body) -> Draft {
    Draft {
        body,
        ..Draft::text(
            CmId::new("m").expect("a cm_id"),
            Target::User(UserId::new("bo").expect("an id")),
            "",
        )
    }
}

async fn ask(hooks: &Shared, draft: &Draft) -> Verdict {
    let from = UserId::new("al").expect("an id");
    let conv = ConversationId::new("g").expect("an id");
    let verdict = hooks.before_send(&from, &conv, draft);
    let verdict = tokio::time::timeout(ANSWER_MAX, verdict).await;
    verdict.unwrap_or_else(|_| panic!("no answer in {ANSWER_MAX:?}"))
}

fn assert_usable(verdict: &Verdict, draft: &Draft) {
    match verdict {
        Verdict::Accept => {}
        Verdict::Rewrite(body) => {
            assert_eq!(
                body.kind(),
                draft.body.kind(),
                "a rewrite is of the same kind"
            );
            assert_ne!(
                body.value(),
                im_core::model::Value::Null,
                "a body is a value"
            );
        }
        Verdict::Reject(words) => assert!(!words.trim().is_empty(), "a refusal says why"),
    }
}

/// Every kind that a client sends gets an answer that can be used, in time.
pub async fn every_kind_gets_a_usable_answer(hooks: Shared) {
    let kinds = Kind::ALL
        .iter()
        .filter(|kind| kind.family() != Family::Server);
    for kind in kinds {
        for fields in [vec![], vec![("text", "x".into()), ("target", 1_i64.into())]] {
            let draft = draft(Body::of(*kind, fields));
            assert_usable(&ask(&hooks, &draft).await, &draft);
        }
    }
}

/// Every text gets an answer that can be used: none, long ones, all of Unicode.
pub async fn every_text_gets_a_usable_answer(hooks: Shared) {
    let long = "𝄞é a".repeat(4000);
    let texts = [
        "",
        " ",
        "\u{200b}",
        "'; DROP TABLE x; --",
        "<script>",
        "\u{202e}abc",
        &long,
    ];
    for text in texts {
        let mut draft = draft(Body::text(text));
        assert_usable(&ask(&hooks, &draft).await, &draft);
        draft.reply_to = Some(Seq(1));
        draft.mentions = Mentions::All;
        draft.expires_ms = Some(0);
        assert_usable(&ask(&hooks, &draft).await, &draft);
    }
}

/// Conversations run side by side: many questions at once are all answered.
pub async fn many_at_once_are_all_answered(hooks: Shared) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let hooks = Arc::clone(&hooks);
        tasks.spawn(async move {
            let draft = draft(Body::text(format!("{n}")));
            assert_usable(&ask(&hooks, &draft).await, &draft);
        });
    }
    tasks.join_all().await;
}

/// Makes the tests of [`Hooks`]: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Arc<dyn Hooks>)`, evaluated for each case. See
/// [`suite`](crate::suite).
#[macro_export]
macro_rules! hooks_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, hooks,
            every_kind_gets_a_usable_answer
            every_text_gets_a_usable_answer
            many_at_once_are_all_answered
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("hooks.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
