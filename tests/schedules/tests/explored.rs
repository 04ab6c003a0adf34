//! One test for each scenario. See the crate's documentation.

use cachex_schedules::explore;

/// `scenario_module: test, test, …`
macro_rules! scenarios {
    ($($module:ident: $($scenario:ident),+;)+) => {
        $(mod $module {
            use cachex_schedules::scenarios::$module as scenarios;

            $(#[test]
            fn $scenario() {
                super::explore(scenarios::$scenario);
            })+
        })+
    };
}

scenarios! {
    batch: each_is_answered_with_its_own, who_gives_up_costs_nobody_anything, a_full_queue_refuses;
    bulkhead: every_waiter_is_let_in, every_permit_comes_back;
    circuit_breaker: probes_never_exceed_their_number, no_state_is_for_ever;
    flights: one_load_answers_all, a_load_belongs_to_no_caller, an_abandoned_load_wedges_nothing,
        a_delete_overtakes_a_load, a_write_overtakes_a_load, an_invalidation_by_tag_overtakes_a_load,
        without_a_fence_nothing_old_stays;
    memory_store: a_fill_shows_nothing_old, an_increment_is_never_lost, one_of_many_is_first,
        a_lock_has_one_holder;
    shared_stack: every_call_is_answered, a_call_given_up_keeps_nothing;
}
