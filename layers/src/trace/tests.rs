use cachex_core::{CacheRequest, Key};
use tracing::Level;
use tracing::subscriber::{NoSubscriber, with_default};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::TraceLayer;
use super::layer::Settings;
use super::watch::Watch;

fn watched(settings: Settings) -> Option<bool> {
    let request = CacheRequest::<u32>::get(Key::new("user:42").unwrap());
    Watch::begin(settings, &request).map(|watch| watch.has_span())
}

fn at(level: Level) -> impl tracing::Subscriber + Send + Sync {
    registry().with(tracing_subscriber::filter::LevelFilter::from_level(level))
}

#[test]
fn only_what_somebody_wants_to_hear_of_is_watched() {
    let debug = TraceLayer::new().settings();
    let info = TraceLayer::new().level(Level::INFO).settings();
    with_default(NoSubscriber::new(), || assert_eq!((watched(debug), watched(info)), (None, None)));
    with_default(at(Level::ERROR), || assert_eq!((watched(debug), watched(info)), (None, None)));
    with_default(at(Level::INFO), || assert_eq!((watched(debug), watched(info)), (Some(false), Some(true))));
    with_default(at(Level::DEBUG), || assert_eq!((watched(debug), watched(info)), (Some(true), Some(true))));
}

/// Told in `call` and in later polls, and what was told elsewhere does not count.
#[cfg(all(feature = "serialize", feature = "retry"))]
#[tokio::test]
async fn bytes_and_attempts_of_what_is_beneath_are_shown() {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use cachex_core::{CacheError, CacheResponse};
    use tower::{Layer, Service, ServiceExt};

    use crate::observed;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let store = tower::service_fn(|_: CacheRequest<u32>| {
        observed::stored_bytes(100);
        async {
            observed::attempt(2);
            tokio::task::yield_now().await;
            observed::attempt(3);
            observed::loaded_bytes(11);
            Ok::<_, CacheError>(CacheResponse::<u32>::Done)
        }
    });
    observed::stored_bytes(5_000);
    observed::attempt(2);
    TraceLayer::new().layer(store).ready().await.unwrap().call(CacheRequest::Ping).await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // Once in the span and once in the event.
    for field in ["attempt=3", "bytes=111"] {
        assert_eq!(text.matches(field).count(), 2, "{text}");
    }
}
