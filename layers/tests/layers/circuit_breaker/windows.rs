//! The windows, against naive models.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_time_window_forgets() {
    let bench = bench(counting().time_window(10 * SECOND));
    bench.fail(3).await;
    tokio::time::advance(5 * SECOND).await;
    bench.fail(1).await;
    assert_eq!(bench.counts(), (4, 4, 0));
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(bench.counts(), (1, 1, 0));
    tokio::time::advance(1000 * SECOND).await;
    assert_eq!(bench.counts(), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn successes_that_never_suspend_look_at_the_clock_now_and_then() {
    let bench = bench(counting().time_window(10 * SECOND));
    tokio::time::advance(100 * SECOND).await;
    bench.succeed(64).await;
    bench.succeed(10).await;
    assert_eq!(bench.counts(), (10, 0, 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    Call { failed: bool, slow: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4000_u64).prop_map(Step::Advance),
        (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Step::Call { failed, slow }),
        Just(Step::Call { failed: false, slow: false }),
    ];
    prop::collection::vec(step, 1..200)
}

const SLOW: Duration = Duration::from_millis(7);

/// Runs the steps and compares, after each, with `model`, which sees all calls so far as (finished at, failed, slow)
/// and the time, in milliseconds since the breaker was made.
fn compare(
    layer: impl Fn() -> CircuitBreakerLayer,
    steps: &[Step],
    model: impl Fn(&[(u64, bool, bool)], u64) -> (u64, u64, u64),
) -> Result<(), TestCaseError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = clock::fresh();
        let bench = bench(layer());
        let mut calls = Vec::new();
        for step in steps {
            match *step {
                Step::Advance(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
                Step::Call { failed, slow } => {
                    let outcome = if failed { lost() } else { Outcome::miss() };
                    // It suspends in any case, so that the clock is read.
                    bench.leaf.push(if slow { outcome.after(SLOW) } else { outcome.after_yields(1) });
                    prop_assert_eq!(bench.get().await.is_err(), failed);
                    calls.push(((clock::fresh() - start).as_millis() as u64, failed, slow));
                }
            }
            let now = (clock::fresh() - start).as_millis() as u64;
            prop_assert_eq!(bench.counts(), model(&calls, now), "after {:?}", step);
        }
        Ok(())
    })
}

fn total(calls: &[(u64, bool, bool)]) -> (u64, u64, u64) {
    let count = |of: fn(&(u64, bool, bool)) -> bool| calls.iter().filter(|call| of(call)).count() as u64;
    (calls.len() as u64, count(|call| call.1), count(|call| call.2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_count_window_is_the_last_calls(size in 2..40_u32, steps in steps()) {
        // Every other call is a quick success: a window full of failures would open the circuit.
        let steps: Vec<_> =
            steps.into_iter().flat_map(|step| [Step::Call { failed: false, slow: false }, step]).collect();
        compare(
            || counting().slow_calls(SLOW, 1.0).count_window(size).failure_rate(1.0),
            &steps,
            |calls, _| total(&calls[calls.len().saturating_sub(size as usize)..]),
        )?;
    }

    #[test]
    fn the_time_window_is_the_last_ten_tenths(tenth in 10..1000_u64, steps in steps()) {
        compare(
            || counting().slow_calls(SLOW, 1.0).time_window(Duration::from_millis(tenth * 10)),
            &steps,
            |calls, now| {
                let first = (now / tenth + 1).saturating_sub(10);
                let kept: Vec<_> = calls.iter().copied().filter(|call| call.0 / tenth >= first).collect();
                total(&kept)
            },
        )?;
    }
}
