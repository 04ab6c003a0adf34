//! The behaviours, one function each; `store_behaviour_suite!` makes a test of every one.
//!
//! They are public so that a store's tests can also run a single one of them under circumstances of their own.

mod coordination;
mod counters;
mod entries;
mod fences;
mod lifetimes;

pub use coordination::{
    a_closed_store_says_so, a_late_owner_has_no_say, a_lock_expires_and_can_be_extended,
    a_lock_has_one_holder, a_rewrite_sheds_its_old_tags, a_subscriber_hears_what_is_published,
    fencing_tokens_grow, only_the_owner_extends_and_releases, ping_answers, tags_can_be_added_later,
    tags_invalidate_together, taking_a_lock_again_changes_nothing, unsupported_operations_are_typed_errors,
};
pub use counters::{
    a_counter_is_a_key_like_any_other, a_counter_is_no_value, a_value_is_no_counter,
    concurrent_increments_all_count, increment_overflow_changes_nothing,
    increment_sets_a_lifetime_only_when_it_creates, increment_starts_at_zero,
};
pub use entries::{
    a_value_is_read_back, a_write_replaces_what_was_there, delete_counts_what_was_there,
    exists_counts_duplicates, get_many_keeps_order_and_duplicates, get_many_of_nothing_is_nothing,
    if_absent_stores_once, if_present_stores_only_over_something, set_many_stores_all_under_one_lifetime,
    the_last_duplicate_of_set_many_wins,
};
pub use fences::{
    a_fence_is_per_load, a_fill_after_a_miss_is_stored, a_fill_never_replaces_a_write,
    a_fill_never_revives_what_was_deleted,
};
pub use lifetimes::{
    a_new_write_takes_a_new_lifetime, an_entry_expires, an_impossible_ttl_is_refused, conditions_see_expiry,
    expire_of_a_missing_key_does_not_apply, expire_sets_and_removes_a_lifetime,
    the_default_ttl_applies_where_none_is_given, ttl_tells_missing_never_and_after,
};
