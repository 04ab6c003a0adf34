//! What every layer must do whatever it is for, as a suite of tests.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tower_layer::Layer;

mod cancellation;
mod drive;
mod flow;
mod readiness;
mod samples;

use crate::service::CacheService;
use crate::testing::Leaf;

/// The text every key of the suite contains, which no `Debug` may show.
pub const KEY_MARKER: &str = "contract-key";

/// The text every value of [`Contract::new`] contains, which no `Debug` may show.
pub const VALUE_MARKER: &str = "contract-value";

/// How many calls the suite has in flight at once.
const CONCURRENCY: usize = 8;

/// How often the suite repeats what could leak: whoever leaks a permit each time has none left.
const REPEATS: usize = 32;

/// One thing every layer must get right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The inner service is called only on an instance that was readied for that call: called again, cloned before and
    /// after it was readied, taken with `mem::replace`, and in every further attempt of the layer's own.
    Readied,
    /// Clones are usable at the same time and do not depend on each other.
    Clones,
    /// A future dropped at any step, whatever the inner service is doing, leaves nothing behind and harms no later call.
    Cancellation,
    /// When the inner service has something to say, the caller hears of it: the latest waker is woken, and nobody is woken
    /// in a loop while there is nothing to do.
    WakeUps,
    /// `Debug` of layer, service and errors shows no key's text and no value.
    Debug,
    /// Every operation reaches the inner service unchanged, once, and so does its answer come back.
    PassThrough,
    /// An error of the inner service arrives with its kind, effect and source.
    Errors,
    /// Dropping the service does not disturb calls in flight.
    DroppedService,
    /// A call's future may be moved to another thread, before and after its first poll.
    Moves,
    /// `poll_ready` may be asked again before the call, and a readied instance may be dropped uncalled.
    Readiness,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 10] = [
        Self::Readied,
        Self::Clones,
        Self::Cancellation,
        Self::WakeUps,
        Self::Debug,
        Self::PassThrough,
        Self::Errors,
        Self::DroppedService,
        Self::Moves,
        Self::Readiness,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The contract of a layer: what [`Rule`] says, tested over a [`Leaf`].
///
/// The layer that is given must let every call of the suite through, so choose its settings wide: a rate limit that is
/// not reached, a circuit breaker that does not open. A limit on concurrency belongs between 8, which the suite has in
/// flight at once, and 32, above which it would not notice permits that leak.
///
/// The rules run under paused time in a runtime of their own: call them from a plain `#[test]`.
///
/// ```
/// use cachex_core::testing::Contract;
/// # #[derive(Clone, Debug)] struct MyLayer;
/// # impl<S> tower_layer::Layer<S> for MyLayer { type Service = S; fn layer(&self, inner: S) -> S { inner } }
///
/// // #[test] fn keeps_the_contract() {
/// Contract::new(|| MyLayer).check_all();
/// // }
/// ```
///
/// That a service is a [`CacheService`] (`Clone + Send + Sync + 'static`, with a `Send` future) and shows itself with
/// `Debug` is left to the compiler:
///
/// ```compile_fail
/// use cachex_core::testing::{Contract, Leaf};
///
/// #[derive(Clone)] // no `Debug`
/// struct MyLayer;
/// impl tower_layer::Layer<Leaf<String>> for MyLayer {
///     type Service = Leaf<String>;
///     fn layer(&self, inner: Leaf<String>) -> Leaf<String> { inner }
/// }
/// Contract::new(|| MyLayer).check_all();
/// ```
pub struct Contract<V, W, L> {
    layer: Box<dyn Fn() -> L>,
    value: Box<dyn Fn(u32) -> V>,
    /// Whether the layer leaves values alone, so that the very same ones must arrive.
    value_blind: bool,
    /// How many of [`CONCURRENCY`] reads of one key the inner service has in flight.
    in_flight: usize,
    leaf: fn() -> Leaf<W>,
}

impl<L> Contract<String, String, L>
where
    L: Layer<Leaf<String>, Service: CacheService<String> + fmt::Debug> + fmt::Debug,
{
    /// The contract of a layer that does not look at values. `layer` makes a layer with fresh state.
    pub fn new(layer: impl Fn() -> L + 'static) -> Self {
        Self {
            layer: Box::new(layer),
            value: Box::new(|number| format!("{VALUE_MARKER}:{number}")),
            value_blind: true,
            in_flight: CONCURRENCY,
            leaf: Leaf::new,
        }
    }
}

impl<V, W, L> Contract<V, W, L>
where
    V: PartialEq + fmt::Debug + Send + Sync + 'static,
    W: Send + Sync + 'static,
    L: Layer<Leaf<W>, Service: CacheService<V> + fmt::Debug> + fmt::Debug,
{
    /// The contract of a layer that turns values of `V` into values of `W` on their way down. `value` makes values to
    /// store, different for each number; that of number `n` is only ever stored under the key `contract-key:n`.
    ///
    /// What the layer reads back is what it wrote: values must arrive equal, metadata of entries may change.
    pub fn codec(layer: impl Fn() -> L + 'static, value: impl Fn(u32) -> V + 'static) -> Self {
        let (layer, value) = (Box::new(layer), Box::new(value));
        Self { layer, value, value_blind: false, in_flight: CONCURRENCY, leaf: Leaf::new }
    }

    /// The contract of a layer that merges reads which meet: of several that ask for one key at a time, the inner service
    /// is asked `in_flight` times, and each of them is answered.
    #[must_use]
    pub fn merging(mut self, in_flight: usize) -> Self {
        self.in_flight = in_flight;
        self
    }

    /// Checks every rule.
    ///
    /// # Panics
    ///
    /// When a rule is broken, naming it.
    pub fn check_all(&self) {
        for rule in Rule::ALL {
            self.check(rule);
        }
    }

    /// Checks one rule.
    ///
    /// # Panics
    ///
    /// When the rule is broken, naming it.
    pub fn check(&self, rule: Rule) {
        let run = || match rule {
            Rule::Readied => self.readied(),
            Rule::Clones => self.clones(),
            Rule::Cancellation => self.cancellation(),
            Rule::WakeUps => self.wake_ups(),
            Rule::Debug => self.debug(),
            Rule::PassThrough => self.pass_through(),
            Rule::Errors => self.errors(),
            Rule::DroppedService => self.dropped_service(),
            Rule::Moves => self.moves(),
            Rule::Readiness => self.readiness(),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            panic!("the layer breaks the contract, rule {rule}: {}", drive::message_of(&*panic));
        }
    }

    /// A fresh layer over a fresh leaf.
    fn rig(&self) -> (L::Service, Leaf<W>) {
        let leaf = (self.leaf)();
        ((self.layer)().layer(leaf.clone()), leaf)
    }
}

impl<V, W, L> fmt::Debug for Contract<V, W, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").field("value_blind", &self.value_blind).finish_non_exhaustive()
    }
}

/// What must hold whenever no call is under way.
#[track_caller]
fn assert_quiet<W>(leaf: &Leaf<W>, when: &str) {
    assert_eq!(
        leaf.violations(),
        0,
        "{when}: the inner service was called on an instance that was not readied"
    );
    assert_eq!(leaf.in_flight(), 0, "{when}: calls of the inner service are still in flight");
    assert_eq!(leaf.reserved(), 0, "{when}: readied instances of the inner service are kept");
}

/// The value that the layer stored last.
fn stored<W>(leaf: &Leaf<W>) -> Arc<W> {
    let requests = leaf.take_requests();
    let value =
        requests.iter().rev().find_map(|request| request.values().next().map(|(_, value)| Arc::clone(value)));
    value.expect("no value has reached the inner service")
}

#[cfg(test)]
mod tests;
