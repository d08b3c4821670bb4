//! E-mail addresses.

use std::ops::Range;

use super::shadow::Shadow;
use super::{Keep, Span};

/// RFC 5321: so long is the part before the `@` at most, in characters.
const LOCAL_MAX: usize = 64;
/// The same for the domain.
const DOMAIN_MAX: usize = 255;

pub(super) fn emails(shadow: &Shadow, found: &mut Vec<Span>) {
    for at in (0..shadow.cells.len()).filter(|at| shadow.at(*at) == Some('@')) {
        let Some(local) = local(shadow, at) else {
            continue;
        };
        if has_domain(shadow, at) {
            found.push(Span {
                range: shadow.bytes(local),
                keep: Keep { first: 1, last: 0 },
            });
        }
    }
}

/// The part before the `@`.
fn local(shadow: &Shadow, at: usize) -> Option<Range<usize>> {
    let before = shadow.cells[..at].iter().rev().take(LOCAL_MAX);
    let length = before
        .take_while(|cell| cell.c.is_ascii_alphanumeric() || "._%+-".contains(cell.c))
        .count();
    let is_name = |at: &usize| shadow.at(*at).is_some_and(|c| c.is_ascii_alphanumeric());
    // A dot or dash before it belongs to the sentence.
    (at - length..at).find(is_name).map(|start| start..at)
}

/// Whether two labels or more follow, the last one of letters.
fn has_domain(shadow: &Shadow, at: usize) -> bool {
    let behind = shadow.cells[at + 1..]
        .iter()
        .take(DOMAIN_MAX)
        .map(|cell| cell.c);
    let domain: String = behind
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .collect();
    let mut labels = domain.split('.');
    let first = labels.next().unwrap_or_default();
    let top = labels
        .find(|label| label.len() >= 2 && label.starts_with(|c: char| c.is_ascii_alphabetic()));
    !first.is_empty() && !first.starts_with('-') && top.is_some()
}
