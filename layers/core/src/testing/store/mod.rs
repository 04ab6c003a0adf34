//! The store behaviour suite: what every store must do, whatever it is made of.
//!
//! A store's test writes one [`StoreHarness`] (how to open the store, how to make a value, how time passes) and calls
//! [`store_behaviour_suite!`](crate::store_behaviour_suite), which generates one test per behaviour. What a store cannot
//! do it declares in its [`Capabilities`]; the suite then checks that it says so with a typed error instead.
//!
//! ```
//! # mod example {
//! use std::time::Duration;
//!
//! use cachex_core::testing::store::{Capabilities, StoreHarness};
//! # use cachex_core::{BoxCacheService, Key};
//! # type MyStore = BoxCacheService<u32>;
//! # fn open_my_store(_: Option<Duration>) -> MyStore { MyStore::new(cachex_core::testing::Leaf::new()) }
//!
//! struct Harness;
//!
//! impl StoreHarness for Harness {
//!     type Value = u32;
//!     type Store = MyStore;
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::all("my-store")
//!     }
//!
//!     async fn open(&self, default_ttl: Option<Duration>) -> MyStore {
//!         open_my_store(default_ttl)
//!     }
//!
//!     fn value(&self, n: u32) -> u32 {
//!         n
//!     }
//!
//!     // Tests run with paused time, which passes as fast as it is asked to.
//!     fn short_ttl(&self) -> Duration {
//!         Duration::from_secs(60)
//!     }
//!
//!     async fn pass(&self, time: Duration) {
//!         tokio::time::advance(time).await;
//!     }
//! }
//!
//! cachex_core::store_behaviour_suite!((start_paused = true), Harness);
//! # }
//! ```

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use crate::key::Key;
use crate::request::Op;
use crate::service::CacheService;

pub mod cases;
mod probe;

/// What the suite needs to know of a store to test it.
pub trait StoreHarness: Sync {
    /// What the store holds.
    type Value: PartialEq + Debug + Send + Sync + 'static;

    /// The store.
    type Store: CacheService<Self::Value>;

    /// What the store can do, and how.
    fn capabilities(&self) -> Capabilities;

    /// Opens the store. Cases do not share keys, so two calls may lead to one and the same data, but a handle that is
    /// closed must not close the others.
    fn open(&self, default_ttl: Option<Duration>) -> impl Future<Output = Self::Store> + Send;

    /// A value: equal for equal numbers, different for different ones, and never the text of an integer.
    fn value(&self, n: u32) -> Self::Value;

    /// The key of this name. Override it when suites share one server.
    fn key(&self, name: &str) -> Key {
        Key::new(name).expect("names in the suite are valid keys")
    }

    /// A lifetime short enough to be waited for.
    fn short_ttl(&self) -> Duration;

    /// Lets time pass for the store: advances a paused clock, or waits.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// What a store can do, and how it does what is left to it.
#[derive(Clone, Debug)]
pub struct Capabilities {
    store: &'static str,
    unsupported: Vec<Op>,
    fence: Fence,
    typed_counters: bool,
}

/// How a store keeps the result of a load from replacing something newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// A fill is stored only if the key is absent. A load that began before a deletion still gets through.
    IfAbsent,
    /// A miss hands out a token, and a fill is refused after any write or deletion since.
    Token,
}

impl Capabilities {
    /// A store that can do everything: all operations, [`Fence::Token`], and counters it can tell from values.
    ///
    /// `store` is the name by which the store calls itself in `Unsupported` errors.
    #[must_use]
    pub fn all(store: &'static str) -> Self {
        Self { store, unsupported: Vec::new(), fence: Fence::Token, typed_counters: true }
    }

    /// The same, without these operations: each must be answered with a typed `Unsupported` error.
    #[must_use]
    pub fn without(mut self, ops: &[Op]) -> Self {
        self.unsupported.extend_from_slice(ops);
        self
    }

    /// The same, with another fence.
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fence = fence;
        self
    }

    /// The same, but reading a counter as a value is left to whoever decodes the bytes.
    #[must_use]
    pub fn untyped_counters(mut self) -> Self {
        self.typed_counters = false;
        self
    }
}

/// Generates one `#[tokio::test]` per behaviour of a store.
///
/// The first argument goes to `#[tokio::test]`, in parentheses; the second is an expression, evaluated inside each
/// test's async function, that makes a [`StoreHarness`](crate::testing::store::StoreHarness).
#[macro_export]
macro_rules! store_behaviour_suite {
    ($test_args:tt, $harness:expr) => {
        $crate::store_behaviour_suite! { @cases $test_args, $harness;
            a_value_is_read_back
            a_write_replaces_what_was_there
            get_many_keeps_order_and_duplicates
            get_many_of_nothing_is_nothing
            set_many_stores_all_under_one_lifetime
            the_last_duplicate_of_set_many_wins
            delete_counts_what_was_there
            exists_counts_duplicates
            ttl_tells_missing_never_and_after
            the_default_ttl_applies_where_none_is_given
            an_impossible_ttl_is_refused
            an_entry_expires
            a_new_write_takes_a_new_lifetime
            expire_sets_and_removes_a_lifetime
            expire_of_a_missing_key_does_not_apply
            increment_starts_at_zero
            increment_overflow_changes_nothing
            increment_sets_a_lifetime_only_when_it_creates
            concurrent_increments_all_count
            a_value_is_no_counter
            a_counter_is_no_value
            a_counter_is_a_key_like_any_other
            if_absent_stores_once
            if_present_stores_only_over_something
            conditions_see_expiry
            a_fill_after_a_miss_is_stored
            a_fill_never_replaces_a_write
            a_fill_never_revives_what_was_deleted
            a_fence_is_per_load
            tags_invalidate_together
            tags_can_be_added_later
            a_rewrite_sheds_its_old_tags
            a_lock_has_one_holder
            only_the_owner_extends_and_releases
            a_lock_expires_and_can_be_extended
            taking_a_lock_again_changes_nothing
            a_late_owner_has_no_say
            fencing_tokens_grow
            a_subscriber_hears_what_is_published
            ping_answers
            a_closed_store_says_so
            unsupported_operations_are_typed_errors
        }
    };
    (@cases $test_args:tt, $harness:expr; $($case:ident)*) => {
        $(
            #[::tokio::test $test_args]
            async fn $case() {
                $crate::testing::store::cases::$case(&$harness).await;
            }
        )*
    };
}
