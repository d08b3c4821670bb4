//! Whatever dies between two steps: what was answered is there, once, at its place.

use im_store_tiered::Durability;
use im_testkit::sim::Planted;

use crate::world::{Plan, run};

/// Seeds of each run; `IMKIT_TIERED_SEEDS` gives others, as `FROM..TO`.
const SEEDS: std::ops::Range<u64> = 0..60;
/// Within so many a bug that was put in on purpose must show.
const PLANTED_SEEDS: u64 = 60;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("IMKIT_TIERED_SEEDS").ok();
    let range = given.as_deref().and_then(|it| it.split_once(".."));
    range.map_or(SEEDS, |(from, to)| {
        from.parse().unwrap()..to.parse().unwrap()
    })
}

fn holds(durability: Durability, floods: usize) {
    holds_when(durability, floods, false);
}

fn holds_when(durability: Durability, floods: usize, is_little: bool) {
    let planted = None;
    for seed in seeds() {
        let plan = Plan {
            durability,
            floods,
            is_little,
            planted,
        };
        let wrong = run(seed, plan);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

fn is_caught(planted: Planted, durability: Durability, floods: usize) {
    // With one that forgets everything, who has doubts and who has none see the same.
    let is_little = true;
    let plan = Plan {
        durability,
        floods,
        is_little,
        planted: Some(planted),
    };
    let caught = (0..PLANTED_SEEDS).any(|seed| !run(seed, plan).is_empty());
    assert!(caught, "{planted:?} was not caught");
}

#[test]
fn cached_loses_nothing_while_the_tier_stands() {
    holds(Durability::Cached, 0);
}

#[test]
fn cached_loses_only_what_had_not_reached_the_store_when_the_tier_forgets() {
    holds(Durability::Cached, 3);
}

#[test]
fn committed_loses_nothing_while_the_tier_stands() {
    holds(Durability::Committed, 0);
}

#[test]
fn committed_loses_nothing_when_the_tier_forgets() {
    holds(Durability::Committed, 3);
}

/// Once, so that no later epoch hides what an earlier one should have told.
#[test]
fn cached_begins_another_epoch_when_the_tier_loses_what_it_was_told_last() {
    holds_when(Durability::Cached, 1, true);
}

#[test]
fn cached_loses_only_what_had_not_reached_the_store_when_the_tier_goes_back_in_time() {
    holds_when(Durability::Cached, 3, true);
}

#[test]
fn committed_loses_nothing_when_the_tier_goes_back_in_time() {
    holds_when(Durability::Committed, 3, true);
}

#[test]
fn a_flusher_that_gives_its_word_too_early_is_caught() {
    is_caught(Planted::AckBeforeCold, Durability::Cached, 0);
}

#[test]
fn a_tier_that_has_no_doubts_is_caught() {
    is_caught(Planted::NoDoubt, Durability::Cached, 1);
}

#[test]
fn a_store_without_a_fence_is_caught() {
    is_caught(Planted::NoFence, Durability::Cached, 0);
}
