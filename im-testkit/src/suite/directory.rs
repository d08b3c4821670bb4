//! What every directory must do: [`directory_suite!`](crate::directory_suite).

use std::sync::Arc;

use im_core::model::UserId;
use im_core::port::{Directory, Standing};

/// A directory, and what it holds.
#[derive(Debug)]
pub struct People {
    /// Answers.
    pub directory: Arc<dyn Directory>,
    /// Some of its users with their standing: of each [`Standing`] that the directory knows, one
    /// at least.
    pub known: Vec<(UserId, Standing)>,
}

impl People {
    async fn ask(&self, users: &[UserId]) -> Vec<Standing> {
        self.directory.standing(users).await.expect("an answer")
    }
}

/// Each user has their standing, asked for alone.
pub async fn each_user_has_their_standing(people: People) {
    assert!(!people.known.is_empty(), "there is nobody to ask for");
    for (user, standing) in &people.known {
        assert_eq!(
            people.ask(std::slice::from_ref(user)).await,
            [*standing],
            "{user}"
        );
    }
}

/// The answers stand in the order asked, one each, also of a user who is asked for twice.
pub async fn answers_stand_in_the_order_asked(people: People) {
    let forth = people.known.iter();
    let asked: Vec<_> = forth
        .clone()
        .rev()
        .chain(forth.clone())
        .chain(forth.rev())
        .collect();
    let users: Vec<_> = asked.iter().map(|(user, _)| user.clone()).collect();
    let expected: Vec<_> = asked.iter().map(|(_, standing)| *standing).collect();
    assert_eq!(people.ask(&users).await, expected);
}

/// Nobody asked for, nothing answered.
pub async fn nobody_asked_for_nothing_answered(people: People) {
    assert!(people.ask(&[]).await.is_empty());
}

/// As many as a group's making may ask for are answered at once.
pub async fn a_thousand_are_answered_at_once(people: People) {
    let known = people.known.iter().cycle().take(1000);
    let (users, expected): (Vec<_>, Vec<_>) = known.cloned().unzip();
    assert_eq!(people.ask(&users).await, expected);
}

/// Any id gets an answer, known or not, odd or long.
pub async fn any_id_gets_an_answer(people: People) {
    let long = "𝄞".repeat(UserId::CHARS_MAX);
    let odd = [
        "a", "A", "a\u{301}", "á", " ", "'; --", "%", "*", "../x", &long,
    ];
    let users: Vec<_> = odd
        .iter()
        .map(|id| UserId::new(*id).expect("an id"))
        .collect();
    assert_eq!(people.ask(&users).await.len(), users.len());
}

/// Makes the tests of a [`Directory`]: a `#[test]` for each case.
///
/// The expression is a future of `(guard, People)`, evaluated for each case. See
/// [`suite`](crate::suite).
#[macro_export]
macro_rules! directory_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, directory,
            each_user_has_their_standing
            answers_stand_in_the_order_asked
            nobody_asked_for_nothing_answered
            a_thousand_are_answered_at_once
            any_id_gets_an_answer
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("directory.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
