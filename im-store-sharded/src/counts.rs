//! What an operator sees of each database, by its number.

use im_core::port::{Committed, Holdings, Phase, PortError, PortErrorKind, Rejected};

/// The name of a database in a label.
fn label(at: usize) -> String {
    at.to_string()
}

/// Commits that it took, and that it could not take. What it refused for the commit's own sake
/// counts as neither.
pub(crate) fn note_answers(at: usize, answers: &[Result<Committed, Rejected>]) {
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    let failed = |answer: &&Result<Committed, Rejected>| match answer {
        Err(Rejected::Store(error)) => is_its_failure(error),
        _ => false,
    };
    let failed = answers.iter().filter(failed).count();
    metrics::counter!("im_shard_commits_total", "shard" => label(at)).increment(taken as u64);
    metrics::counter!("im_shard_errors_total", "shard" => label(at)).increment(failed as u64);
}

/// Any other call to it.
pub(crate) fn note<T>(at: usize, answer: &Result<T, PortError>) {
    if answer.as_ref().is_err_and(is_its_failure) {
        metrics::counter!("im_shard_errors_total", "shard" => label(at)).increment(1);
    }
}

/// The slots that are open in it, as this node knows.
pub(crate) fn note_slots(at: usize, held: &Holdings) {
    let open = held.slots.iter().filter(|held| held.phase == Phase::Open);
    metrics::gauge!("im_shard_slots", "shard" => label(at)).set(open.count() as f64);
}

/// A slot that has moved, and a fence, are no failure.
fn is_its_failure(error: &PortError) -> bool {
    !matches!(error.kind(), PortErrorKind::Moved | PortErrorKind::Fenced)
}
