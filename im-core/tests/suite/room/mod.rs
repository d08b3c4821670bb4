//! The room: each user gets exactly what is theirs, whatever the bus and the store do.

mod oracle;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;

use self::world::{Step, USERS, World};

fn common() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|own| Step::Say { own }),
        5 => (0..USERS, any::<bool>(), any::<bool>())
            .prop_map(|(user, by_self, own)| Step::Change { user, by_self, own }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, doubled)| Step::Bus {
            which,
            doubled
        }),
        2 => any::<usize>().prop_map(|which| Step::Lose { which }),
        5 => (0..USERS, any::<bool>()).prop_map(|(user, now)| Step::Connect { user, now }),
        4 => any::<usize>().prop_map(|which| Step::Arrive { which }),
        2 => (0..USERS).prop_map(|user| Step::Part { user }),
        6 => (any::<usize>(), any::<bool>(), prop::option::of(1_usize..4))
            .prop_map(|(which, fresh, short)| Step::Answer { which, fresh, short }),
        2 => Just(Step::Fail),
        2 => Just(Step::Sweep),
        1 => (1_u64 << 50..1 << 52).prop_map(|above| Step::Forge { above }),
        2 => (0_u64..500).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn with_losses() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => common(),
        1 => (1_usize..4).prop_map(|keep| Step::Trim { keep }),
        1 => (0_usize..4).prop_map(|lost| Step::Restore { lost }),
    ]
}

fn run(steps: &[Step], joins_at_once: bool) {
    let mut world = World::new(crate::start(), joins_at_once);
    for step in steps {
        world.step(step);
    }
    world.settle();
}

proptest! {
    #![proptest_config(crate::config(250))]

    #[test]
    fn each_user_gets_exactly_what_is_theirs(
        steps in vec(common(), 1..80),
        joins_at_once in any::<bool>(),
    ) {
        run(&steps, joins_at_once);
    }

    #[test]
    fn a_log_that_loses_entries_loses_nobody(
        steps in vec(with_losses(), 1..80),
        joins_at_once in any::<bool>(),
    ) {
        run(&steps, joins_at_once);
    }
}

/// Steps that say themselves: `say()` is another node's, of which only the log knows.
fn say() -> Step {
    Step::Say { own: false }
}

fn change(user: usize) -> Step {
    Step::Change {
        user,
        by_self: false,
        own: false,
    }
}

fn connect(user: usize) -> Step {
    Step::Connect { user, now: true }
}

fn answer() -> Step {
    Step::Answer {
        which: 0,
        fresh: false,
        short: None,
    }
}

fn arrive() -> Step {
    Step::Arrive { which: 0 }
}

/// From a room that knows an empty log: both kinds of shell, with every check after each step.
fn holds(steps: &[Step]) {
    let begin = [Step::Wait { ms: 0 }, answer()];
    let steps = [&begin, steps].concat();
    run(&steps, false);
    run(&steps, true);
}

#[test]
fn who_is_removed_while_their_membership_is_read_gets_nothing_later() {
    let slow = Step::Connect {
        user: 1,
        now: false,
    };
    let remove = Step::Change {
        user: 1,
        by_self: false,
        own: true,
    };
    let late = Step::Say { own: true };
    holds(&[
        change(0),
        change(1),
        connect(0),
        slow,
        remove,
        late.clone(),
        arrive(),
        late,
    ]);
}

#[test]
fn a_head_that_is_read_after_a_join_leaves_nothing_out() {
    let mut world = World::new(crate::start(), true);
    world.step(&change(0));
    // A shell that joins before it knows the head: then the store tells of a later one.
    world.room.poll_read();
    world.join_unasked(0, world.head());
    for step in [say(), say(), Step::Sweep, answer(), answer()] {
        world.step(&step);
    }
    world.settle();
}

#[test]
fn an_empty_answer_denies_nothing_that_came_after_its_question() {
    let own = Step::Say { own: true };
    // The room asks for what is not there, and the answer is on its way when two are committed.
    let ask = Step::Forge { above: 1 << 50 };
    let begin = [change(0), connect(0), answer()];
    holds(&[&begin[..], &[ask, say(), own, answer()]].concat());
}

#[test]
fn what_the_store_denies_is_never_pushed() {
    let ask = Step::Forge { above: 2 };
    let own = Step::Say { own: true };
    holds(&[
        change(0),
        connect(0),
        ask,
        answer(),
        answer(),
        own.clone(),
        own.clone(),
        own,
    ]);
}

#[test]
fn who_is_here_gets_nothing_twice_from_their_old_joining() {
    // The room lags behind all of it; both memberships end before the user connects.
    let again = [change(0), say(), change(0), say(), change(0), say()];
    let lag = [change(1), connect(1)];
    let steps = lag.iter().chain(&again);
    let steps: Vec<Step> = steps.cloned().chain([connect(0), answer()]).collect();
    holds(&steps);
}

#[test]
fn one_removed_and_added_again_while_the_room_goes_back_is_here_at_the_end() {
    let slow = Step::Connect {
        user: 3,
        now: false,
    };
    let again = [change(3), change(3)];
    let steps = [change(3), slow.clone()];
    let steps = steps.into_iter().chain(again).chain([Step::Sweep]);
    let end = [slow, arrive(), arrive(), answer()];
    run(&steps.chain(end).collect::<Vec<_>>(), true);
}

#[test]
fn more_than_is_kept_before_its_turn_is_read_from_the_store() {
    let burst = Step::Burst { count: 1_500 };
    holds(&[change(0), connect(0), burst, answer(), answer()]);
}

#[test]
fn who_comes_far_too_late_is_lost_and_joins_again() {
    let slow = Step::Connect {
        user: 1,
        now: false,
    };
    let burst = Step::Burst { count: 1_500 };
    let mut steps = vec![change(0), change(1), connect(0), slow, burst];
    steps.extend((0..20).map(|_| answer()));
    steps.extend([arrive(), arrive()]);
    holds(&steps);
}

#[test]
fn a_log_that_forgot_what_the_room_needs_is_no_loop_and_loses_nobody() {
    // Somebody is removed and somebody added with entries that are gone.
    let forgotten = [change(0), change(2), say(), say()];
    let lag = [change(0), change(1), connect(0), connect(1), connect(2)];
    let trim = [Step::Trim { keep: 1 }, Step::Sweep];
    let steps = lag.into_iter().chain(forgotten).chain(trim);
    let end = [answer(), arrive(), arrive(), arrive()];
    holds(&steps.chain(end).collect::<Vec<_>>());
}

#[test]
fn in_another_epoch_the_room_begins_again_where_the_log_ends() {
    let own = Step::Say { own: true };
    let restore = Step::Restore { lost: 3 };
    let before = [change(0), connect(0), own.clone(), own.clone(), own.clone()];
    let steps = before.into_iter().chain([restore, arrive(), arrive()]);
    holds(&steps.chain([own.clone(), own]).collect::<Vec<_>>());
}
