//! Taking away a run of entries with everything that was done to them: for a user who is erased,
//! and for what is older than it is kept.

use im_core::frame::Failure;
use im_core::model::{ConversationId, Fact, FactTable, Family, Kind, Seq};
use im_core::port::{FactQuery, Write};
use im_core::rule::{marks_below, marks_from};

use super::change::{all_pins, pin_key};
use super::facts::remove;
use crate::media::gone_with;
use crate::node::Inner;

/// Marks read at once.
const MARKS: usize = 500;

/// Whether entries of a kind hold what people say. What tells of members and rules stays.
pub(super) fn is_said(kind: Kind) -> bool {
    matches!(kind.family(), Family::Say | Family::Change) || kind == Kind::Announce
}

/// Of which message a mark is, and the rest of its key.
fn mark_of(fact: &Fact) -> Option<(Seq, &str)> {
    let (seq, what) = fact.key.key.split_once('\n')?;
    Some((Seq(u64::from_str_radix(seq, 16).ok()?), what))
}

impl Inner {
    /// Erases entries within a range, which are in order, with their marks and pins, and of other
    /// entries of the range the marks that `also` names. `with` is committed with the last of it.
    pub(super) async fn clear(
        &self,
        conv: &ConversationId,
        (first, last): (Seq, Seq),
        seqs: Vec<Seq>,
        also: impl Fn(&str) -> bool,
        with: Vec<Write>,
    ) -> Result<(), Failure> {
        let goes = |fact: &Fact| {
            let mark = mark_of(fact);
            mark.is_some_and(|(seq, what)| seqs.binary_search(&seq).is_ok() || also(what))
        };
        let mut after = marks_from(first);
        loop {
            let query = FactQuery::Of {
                table: FactTable::Mark,
                owner: conv.as_str().to_owned(),
                after: Some(after.clone()),
                below: Some(marks_below(last)),
                limit: MARKS,
            };
            let marks = self.facts(&query).await?;
            let gone = marks.iter().filter(|fact| goes(fact));
            let writes: Vec<Write> = gone.map(|fact| remove(fact.key.clone())).collect();
            if !writes.is_empty() {
                self.put_all(conv.clone(), writes).await?;
            }
            match marks.last() {
                Some(last) if marks.len() == MARKS => after.clone_from(&last.key.key),
                _ => break,
            }
        }
        let mut writes = with;
        if !seqs.is_empty() {
            let pins = self.facts(&all_pins(conv)).await?;
            let pinned = seqs.iter().map(|seq| pin_key(conv, *seq));
            let pinned = pinned.filter(|key| pins.iter().any(|pin| pin.key == *key));
            writes.extend(pinned.map(remove));
            for seq in seqs.iter().filter(|_| self.media.is_some()) {
                if let Some(entry) = self.entry(conv, *seq).await? {
                    writes.extend(gone_with(&entry, self.clock.timestamp()));
                }
            }
            writes.push(Write::Erase(seqs));
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.put_all(conv.clone(), writes).await
    }
}
