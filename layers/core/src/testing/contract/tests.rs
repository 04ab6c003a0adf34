//! The suite tested: a layer that is right passes, and for each rule there are layers that break it and are caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::testing::contract::drive::message_of;

mod broken;
mod right;

use broken::Broken;

/// Checks `rule` over a broken layer, and that it is caught for the right reason.
#[track_caller]
fn caught<S>(rule: Rule, layer: fn(Leaf<String>) -> S, reason: &str)
where
    S: CacheService<String> + fmt::Debug,
{
    let contract = Contract::new(move || Broken(layer));
    let panic = catch_unwind(AssertUnwindSafe(|| contract.check(rule))).expect_err("the broken layer passed");
    let message = message_of(&*panic);
    assert!(message.contains(&format!("rule {rule}: ")), "{message}");
    assert!(message.contains(reason), "caught for another reason: {message}");
}

#[test]
fn right_layers_pass() {
    Contract::new(|| right::Identity).check_all();
    Contract::new(|| right::Limit(CONCURRENCY)).check_all();
    Contract::codec(|| right::Reverse, |number| format!("{VALUE_MARKER}:{number}")).check_all();
    // One that is always ready and keeps its inner service where a call can clone it.
    Contract::new(|| Broken(crate::BoxCacheService::new)).check_all();
}

#[test]
fn readied() {
    caught(Rule::Readied, broken::CallsAClone::new, "not readied");
    caught(Rule::Readied, broken::RetriesUnready::new, "not readied");
    caught(Rule::Readied, broken::SharesReadiness::new, "not readied");
}

#[test]
fn clones() {
    caught(Rule::Clones, broken::OneAtATime::new, "reached the inner service");
}

#[test]
fn cancellation() {
    caught(Rule::Cancellation, broken::ForgetsPermits::new, "after that: CacheError { kind: BulkheadFull");
    caught(Rule::Cancellation, broken::ForgetsTurns::new, "all who wait are dropped: call 0 after that");
    caught(Rule::Cancellation, broken::Detaches::new, "still in flight");
    caught(Rule::Cancellation, broken::Swallows::new, "another panic");
}

#[test]
fn wake_ups() {
    caught(Rule::WakeUps, broken::LosesReadiness::new, "nothing will wake it");
    caught(Rule::WakeUps, broken::KeepsFirstWaker::new, "nothing will wake it");
    caught(Rule::WakeUps, broken::Spins::new, "in a loop");
}

#[test]
fn debug() {
    caught(Rule::Debug, broken::Talks::new, "shows a key or a value");
}

#[test]
fn pass_through() {
    caught(Rule::PassThrough, broken::AnswersPing::new, "calls of the inner service");
    caught(Rule::PassThrough, broken::DropsTtl::new, "reached the inner service");
    caught(Rule::PassThrough, broken::CopiesValues::new, "copied on their way down");
    caught(Rule::PassThrough, broken::TurnsHitsIntoMisses::new, "the answer to");
}

#[test]
fn errors() {
    caught(Rule::Errors, broken::RenamesErrors::new, "the kind");
    caught(Rule::Errors, broken::DropsSources::new, "the source");
}

#[test]
fn dropped_service() {
    caught(Rule::DroppedService, broken::NeedsItsService::new, "whose service was dropped");
}

#[test]
fn moves() {
    caught(Rule::Moves, broken::StaysOnItsThread::new, "moved to another thread");
}

#[test]
fn readiness() {
    caught(Rule::Readiness, broken::ReservesEveryTime::new, "asked for its readiness again");
    caught(Rule::Readiness, broken::KeepsWhatIsReady::new, "inner instances are readied");
}
