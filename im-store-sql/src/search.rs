//! What searching is on every database.

use im_core::model::{ConversationId, Kind, Seq};
use im_core::port::Find;
use im_core::rule::Scope;

/// Conversations of a user that one search looks in, those that changed last.
pub(crate) const CONVERSATIONS_MAX: usize = 5_000;
/// Conversations that the index is asked for at once.
pub(crate) const ASKED_MAX: usize = 256;
/// Entries that one search reads because they are not in the index yet.
pub(crate) const REST_MAX: usize = 4_096;
/// Entries that go into the index in one step.
pub(crate) const STEP_MAX: usize = 256;
/// How often one part of the index is read on because the entries that it gave were none.
pub(crate) const ROUNDS_MAX: usize = 4;
/// Rows of one read of the index: at least so many, since some are passed over.
const ROWS_MIN: usize = 32;

/// A conversation, as far as a user may see it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its number in the database.
    pub(crate) no: i64,
    pub(crate) id: ConversationId,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
}

impl Part {
    pub(crate) fn sees(&self, seq: Seq) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

/// For each of some conversations the tokens that an entry of it must have, each with whether
/// longer ones count as well.
pub(crate) type Asked = Vec<Vec<(String, bool)>>;

pub(crate) fn asked(find: &Find, parts: &[Part]) -> Asked {
    let terms = find.words.terms();
    let parts = parts.iter();
    parts
        .map(|part| Scope::of(&part.id).asked(&terms))
        .collect()
}

/// Writes what is asked for in an index's own syntax. Tokens are letters and digits alone.
pub(crate) fn expression(
    asked: &[Vec<(String, bool)>],
    or: &str,
    and: &str,
    word: impl Fn(&str, bool) -> String,
) -> String {
    let all = asked.iter().map(|tokens| {
        let tokens = tokens
            .iter()
            .map(|(token, is_prefix)| word(token, *is_prefix));
        format!("({})", tokens.collect::<Vec<_>>().join(and))
    });
    all.collect::<Vec<_>>().join(or)
}

/// Rows of one read of the index.
pub(crate) fn rows_of(find: &Find) -> usize {
    find.limit.max(ROWS_MIN)
}

/// Kinds as a list of SQL.
pub(crate) fn kinds(kinds: &[Kind]) -> String {
    let names = kinds.iter().map(|kind| format!("'{}'", kind.as_str()));
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_any_of_all() {
        let asked = [
            vec![("a".to_owned(), false), ("b".to_owned(), true)],
            vec![("c".to_owned(), false)],
        ];
        let word = |token: &str, is_prefix: bool| match is_prefix {
            true => format!("{token}*"),
            false => token.to_owned(),
        };
        assert_eq!(
            expression(&asked, " OR ", " AND ", word),
            "(a AND b*) OR (c)"
        );
    }
}
