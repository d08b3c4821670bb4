//! What every store must do: [`store_suite!`](crate::store_suite) on an adapter.

mod append;
mod batch;
mod concurrent;
mod create;
mod dedupe;
mod erase;
mod facts;
mod hold;
mod kit;
mod listing;
mod members;
mod reading;
mod search;
mod small;
mod sweep;
mod version;

pub use append::*;
pub use batch::*;
pub use concurrent::*;
pub use create::*;
pub use dedupe::*;
pub use erase::*;
pub use facts::*;
pub use hold::*;
pub use listing::*;
pub use members::*;
pub use reading::*;
pub use search::*;
pub use small::*;
pub use sweep::*;
pub use version::*;

/// Makes the tests of a [`Store`](im_core::port::Store): a `#[test]` for each case.
///
/// The expression is a future of `(guard, Arc<dyn Store>)`, evaluated for each case: a store that
/// holds nothing yet. See [`suite`](crate::suite).
#[macro_export]
macro_rules! store_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, store,
            entries_stand_from_one_without_a_gap
            entries_of_one_commit_stand_in_the_order_of_its_writes
            the_answer_carries_the_id_and_time_of_the_entry
            conversations_count_by_themselves
            an_entry_is_read_as_it_was_written
            every_kind_of_body_is_kept
            a_big_body_is_kept_whole
            ids_of_full_length_are_kept_apart
            a_refused_commit_has_written_nothing
            a_conversation_that_is_not_there_is_not_found
            an_empty_batch_has_an_empty_answer
            a_commit_without_writes_changes_nothing
            a_commit_sees_those_before_it_in_its_batch
            a_bad_commit_in_a_large_batch_fails_alone
            one_conversation_from_many_tasks_has_no_gap
            many_conversations_from_many_tasks_have_no_gap
            the_same_send_from_many_tasks_is_stored_once
            a_conversation_made_by_many_tasks_is_one
            a_request_of_many_tasks_is_done_once
            one_of_many_wins_a_version
            a_list_read_while_others_write_misses_nothing
            a_sweep_while_others_write_misses_nothing
            what_was_answered_is_seen_by_every_later_read
            a_conversation_is_made_with_its_first_members
            making_what_exists_changes_nothing
            a_direct_conversation_that_both_sides_make_is_one
            what_a_conversation_is_is_kept
            a_title_is_set_and_taken_away
            conversations_that_look_alike_are_different_ones
            a_view_has_the_members_asked_for_in_that_order
            a_view_of_many_has_them_all
            a_retry_gets_the_first_answer
            a_duplicate_writes_nothing_else
            another_message_under_the_same_id_is_refused
            a_commit_of_which_only_a_part_is_stored_is_refused
            a_retry_wins_over_a_conflict
            a_cm_id_is_its_senders_and_its_conversations_own
            ids_that_look_alike_are_different_messages
            a_refused_send_leaves_its_id_free
            entries_without_a_cm_id_are_never_duplicates
            a_duplicate_within_one_batch_is_one
            what_was_sent_under_an_id_is_found
            what_is_erased_keeps_its_place
            what_is_erased_is_unread_no_more
            what_tells_of_members_is_never_erased
            who_may_speak_and_see_is_kept
            a_fact_is_there_until_it_is_removed
            a_fact_must_be_what_was_expected
            facts_of_one_batch_see_each_other
            one_of_many_changes_a_fact
            facts_are_read_in_the_order_of_their_keys
            a_list_about_others_is_whole
            what_is_due_is_given_in_the_order_of_time
            a_fact_out_of_its_place_is_refused
            facts_change_no_list
            a_list_is_in_the_order_of_change
            head_title_own_read_and_membership_are_changes
            reading_moves_ones_own_list_only
            a_line_shows_what_is_now
            unread_counts_what_others_say
            every_say_kind_counts_as_unread
            mentions_are_counted_among_the_unread
            unread_is_counted_to_999
            details_are_given_only_when_asked_for
            who_joined_later_counts_from_there
            an_empty_conversation_has_no_last_entry
            who_left_hears_of_it_once_and_of_nothing_later
            who_came_back_without_history_sees_from_there
            pages_of_a_list_join_without_a_seam
            users_that_look_alike_have_their_own_lists
            who_joins_sees_all_or_from_here
            the_commits_last_entry_is_the_last_that_the_removed_see
            who_comes_back_starts_anew_and_stays_muted
            who_comes_back_has_the_new_role
            roles_and_mutes_are_one_members_own
            several_members_change_in_one_commit
            changes_of_one_who_is_no_member_do_nothing
            members_are_read_in_pages_by_id
            a_group_of_thousands_is_whole
            a_log_is_read_from_a_place_in_both_directions
            a_read_is_bounded_in_bytes_but_never_empty
            a_large_entry_is_read_alone
            no_conversation_has_no_entries
            pages_of_a_log_join_without_a_seam
            cursors_move_forward_to_the_head_at_most
            a_cursor_reaches_an_entry_of_its_own_commit
            the_furthest_of_many_moves_wins
            cursors_of_those_who_are_no_members_do_nothing
            a_block_has_a_direction_and_an_end
            a_record_is_there_until_it_expires
            a_request_done_before_gets_the_first_answer
            an_expired_record_can_be_written_again
            a_request_twice_in_one_batch_is_done_once
            what_no_list_shows_changes_no_list
            what_looks_like_a_statement_is_data
            every_start_gets_its_own_number
            the_sweep_sees_what_changed_once
            the_sweep_sees_who_left
            the_stamp_of_now_covers_what_was_before
            pages_of_the_sweep_join_without_a_seam
            a_stamp_that_was_never_given_shows
            members_and_title_move_the_version_and_messages_do_not
            another_version_is_a_conflict
            with_an_actor_only_their_own_change_is_a_conflict
            an_actor_who_left_is_a_conflict
            an_actor_who_was_told_to_be_quiet_is_a_conflict
        }
    };
}

/// Makes the tests of a [`Store`](im_core::port::Store) that a hot tier can stand before, beside
/// [`store_suite!`](crate::store_suite), with the same expression.
#[macro_export]
macro_rules! cold_store_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, store,
            only_its_holder_changes_a_log
            a_log_is_taken_as_it_was_seen
            a_run_stands_at_its_places_once
            a_run_that_does_not_fit_is_a_conflict
            a_lost_tail_begins_another_epoch
            the_largest_id_of_a_sender_is_found
        }
    };
}

/// Makes the tests of a [`Search`](im_core::port::Search) and its store, which the expression gives
/// as `(guard, (Arc<dyn Store>, Arc<dyn Search>))`.
#[macro_export]
macro_rules! search_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, store,
            what_was_said_is_found_at_once
            runs_of_any_script_are_found
            one_finds_what_one_may_see
            filters_narrow_it
            pages_of_hits_join_without_a_seam
            what_is_erased_is_found_no_more
            no_query_is_syntax
            many_conversations_and_words_are_searched
            many_index_at_once
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let sources = [
            include_str!("append.rs"),
            include_str!("batch.rs"),
            include_str!("concurrent.rs"),
            include_str!("create.rs"),
            include_str!("dedupe.rs"),
            include_str!("erase.rs"),
            include_str!("facts.rs"),
            include_str!("hold.rs"),
            include_str!("listing.rs"),
            include_str!("members.rs"),
            include_str!("reading.rs"),
            include_str!("search.rs"),
            include_str!("small.rs"),
            include_str!("sweep.rs"),
            include_str!("version.rs"),
        ];
        let unnamed = crate::suite::unnamed_cases(include_str!("mod.rs"), &sources);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
