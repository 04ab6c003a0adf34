//! What listeners hear.

use super::*;

#[tokio::test(start_paused = true)]
async fn come_in_order_and_name_the_cause() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let layer = quick().name("redis").on_state_change(move |change| {
        assert_eq!((&*change.breaker, change.circuit), ("redis", Some(OpClass::Read)));
        sink.lock().unwrap().push((change.from, change.to, change.cause));
    });
    let bench = Bench::half_open_next(layer).await;
    bench.fail(1).await;
    tokio::time::advance(2 * SECOND).await;
    bench.succeed(2).await;
    bench.reads.force_open();
    bench.reads.reset();
    bench.reads.reset();
    use CircuitState::{Closed, ForcedOpen, HalfOpen, Open};
    let expected = [
        (Closed, Open, ChangeCause::ConsecutiveFailures),
        (Open, HalfOpen, ChangeCause::WaitOver),
        (HalfOpen, Open, ChangeCause::ProbeFailed),
        (Open, HalfOpen, ChangeCause::WaitOver),
        (HalfOpen, Closed, ChangeCause::ProbesSucceeded),
        (Closed, ForcedOpen, ChangeCause::Forced),
        (ForcedOpen, Closed, ChangeCause::Reset),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_use_the_handle() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle: Arc<Mutex<Option<CircuitHandle>>> = Arc::default();
    let (sink, own) = (Arc::clone(&seen), Arc::clone(&handle));
    let layer = quick().on_state_change(move |change| {
        sink.lock().unwrap().push(change.to);
        if change.to == CircuitState::Open {
            let own = own.lock().unwrap().clone().unwrap();
            assert_eq!(own.snapshot().state, CircuitState::Open);
            own.force_close();
        }
    });
    let bench = bench(layer);
    *handle.lock().unwrap() = Some(bench.reads.clone());
    bench.fail(2).await;
    assert_eq!(*seen.lock().unwrap(), [CircuitState::Open, CircuitState::ForcedClosed]);
    assert_eq!(bench.reads.state(), CircuitState::ForcedClosed);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_woken() {
    let bench = bench(quick());
    let mut states = bench.reads.subscribe();
    assert_eq!(*states.borrow(), CircuitState::Closed);
    let woken = tokio::spawn(async move {
        states.changed().await.unwrap();
        *states.borrow()
    });
    bench.fail(2).await;
    assert_eq!(woken.await.unwrap(), CircuitState::Open);
}

#[cfg(feature = "metrics")]
#[test]
fn the_gauge_shows_one_state() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let shown = || {
        let mut states: Vec<_> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .filter_map(|(key, _, _, value)| {
                let key = key.key();
                let label = |name| key.labels().find(|label| label.key() == name).unwrap().value().to_owned();
                let on = value == DebugValue::Gauge(1.0.into());
                (key.name() == "circuit_breaker_state" && on)
                    .then(|| (label("breaker"), label("circuit"), label("state")))
            })
            .collect();
        states.sort();
        states
            .into_iter()
            .map(|(breaker, circuit, state)| format!("{breaker} {circuit} {state}"))
            .collect::<Vec<_>>()
    };
    metrics::with_local_recorder(&recorder, || {
        let bench = bench(quick());
        assert_eq!(shown(), ["cache control closed", "cache read closed", "cache write closed"]);
        bench.reads.force_open();
        // A snapshot empties the gauges, so only what was set since is shown.
        assert_eq!(shown(), ["cache read forced_open"]);
    });
}

#[cfg(feature = "trace")]
#[test]
fn the_log_tells_of_a_change() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    // While there is only one subscriber, tracing asks the thread that first comes by an event whether it is wanted, and
    // remembers the answer for all. Other tests' threads have no subscriber; with a second one, all are asked.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let bench = bench(quick().name("sessions"));
        bench.reads.force_open();
        bench.reads.reset();
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let (opened, closed) = text.trim_end().split_once('\n').unwrap();
    for (line, parts) in [
        (opened, [" WARN ", "component=\"circuit_breaker\"", "breaker=\"sessions\"", "to=\"forced_open\""]),
        (closed, [" INFO ", "circuit=\"read\"", "from=\"forced_open\"", "cause=\"reset\""]),
    ] {
        for part in parts {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
