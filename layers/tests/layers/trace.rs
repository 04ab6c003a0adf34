use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cachex_core::testing::{Leaf, Outcome};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Entry, ErrorKind, Key, Tags, Ttl};
use cachex_layers::TraceLayer;
use tower::{Layer, Service, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const SECRET: &str = "user:4711-secret";

type Fields = BTreeMap<&'static str, String>;

/// What a subscriber heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Noted>>>);

#[derive(Clone, Debug)]
struct Noted {
    what: &'static str,
    name: &'static str,
    target: &'static str,
    level: Level,
    /// The span it is, or is in.
    span: Option<u64>,
    fields: Fields,
}

impl Heard {
    fn all(&self) -> Vec<Noted> {
        self.0.lock().unwrap().clone()
    }

    fn only(&self, what: &str) -> Noted {
        let mut found: Vec<_> = self.all().into_iter().filter(|noted| noted.what == what).collect();
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        found.remove(0)
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|noted| noted.what == what).count()
    }

    /// The only span with everything that was recorded on it.
    fn span(&self) -> Noted {
        let mut span = self.only("new");
        for noted in self.all() {
            if noted.what == "record" && noted.span == span.span {
                for (name, value) in noted.fields {
                    let earlier = span.fields.insert(name, value);
                    assert_eq!(earlier, None, "{name} was recorded twice");
                }
            }
        }
        span
    }

    fn note(&self, noted: Noted) {
        self.0.lock().unwrap().push(noted);
    }
}

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Heard {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: LayerContext<'_, S>) {
        let meta = attributes.metadata();
        let mut fields = Fields::new();
        attributes.record(&mut Collect(&mut fields));
        let (name, target, level) = (meta.name(), meta.target(), *meta.level());
        self.note(Noted { what: "new", name, target, level, span: Some(id.into_u64()), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: LayerContext<'_, S>) {
        let meta = cx.metadata(id).unwrap();
        let mut fields = Fields::new();
        values.record(&mut Collect(&mut fields));
        let (name, target, level) = (meta.name(), meta.target(), *meta.level());
        self.note(Noted { what: "record", name, target, level, span: Some(id.into_u64()), fields });
    }

    fn on_event(&self, event: &Event<'_>, cx: LayerContext<'_, S>) {
        let meta = event.metadata();
        let mut fields = Fields::new();
        event.record(&mut Collect(&mut fields));
        let span = cx.event_span(event).map(|span| span.id().into_u64());
        let what = if meta.target() == "cachex" { "event" } else { "inner" };
        self.note(Noted {
            what,
            name: meta.name(),
            target: meta.target(),
            level: *meta.level(),
            span,
            fields,
        });
    }

    fn on_close(&self, id: Id, cx: LayerContext<'_, S>) {
        let meta = cx.metadata(&id).unwrap();
        let (name, target, level) = (meta.name(), meta.target(), *meta.level());
        let fields = Fields::new();
        self.note(Noted { what: "close", name, target, level, span: Some(id.into_u64()), fields });
    }
}

/// Runs a test with a subscriber of its own, under paused time.
fn heard_at<F: Future>(level: Level, test: impl FnOnce(Heard) -> F) {
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::from_level(level)).with(heard.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(test(heard)));
}

fn heard<F: Future>(test: impl FnOnce(Heard) -> F) {
    heard_at(Level::TRACE, test);
}

fn key() -> Key {
    Key::new(SECRET).unwrap()
}

fn get() -> CacheRequest<u32> {
    CacheRequest::get(key())
}

async fn call(
    layer: TraceLayer,
    leaf: &Leaf<u32>,
    request: CacheRequest<u32>,
) -> Result<CacheResponse<u32>, CacheError> {
    layer.layer(leaf.clone()).ready().await?.call(request).await
}

#[track_caller]
fn assert_fields(found: &Fields, expected: &[(&'static str, &str)]) {
    let expected: Fields = expected.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    assert_eq!(*found, expected);
}

#[test]
fn an_operation_is_a_span_and_an_event_in_it() {
    heard(async |heard| {
        let leaf = Leaf::new();
        leaf.push(Outcome::default_answer().after(Duration::from_micros(1_500)));
        let request = CacheRequest::set(key(), 7_u32, Duration::from_secs(60));
        call(TraceLayer::new(), &leaf, request).await.unwrap();

        let (span, event, close) = (heard.span(), heard.only("event"), heard.only("close"));
        assert_eq!((span.name, span.target, span.level), ("cache", "cachex", Level::DEBUG));
        let both = [
            ("attempt", "1"),
            ("component", "cachex"),
            ("duration_ms", "2.0"), // tokio's timer counts whole milliseconds
            ("key", SECRET),
            ("key_count", "1"),
            ("operation", "set"),
            ("status", "ok"),
            ("ttl_ms", "60000"),
        ];
        assert_fields(&span.fields, &[&both[..], &[("otel.name", "cache set")]].concat());
        assert_fields(&event.fields, &[&both[..], &[("message", "done")]].concat());
        assert_eq!((event.level, event.span, close.span), (Level::DEBUG, span.span, span.span));
    });
}

#[test]
fn a_failure_is_a_warning_with_its_causes() {
    heard(async |heard| {
        let cause = std::io::Error::other("connection reset");
        let error = CacheError::with_source(ErrorKind::Connection, "connection lost", cause);
        let leaf = Leaf::new();
        leaf.push(Outcome::err(error));
        call(TraceLayer::new(), &leaf, get()).await.unwrap_err();
        let (span, event) = (heard.span(), heard.only("event"));
        assert_eq!((span.level, event.level, event.span), (Level::DEBUG, Level::WARN, span.span));
        for fields in [&span.fields, &event.fields] {
            assert_eq!(fields["status"], "error");
            assert_eq!(fields["error"], "connection lost: connection reset");
            assert_eq!(fields["error.type"], "connection");
        }
        assert_eq!(span.fields["otel.status_code"], "ERROR");
        assert_eq!(event.fields["message"], "failed");
    });
}

#[test]
fn statuses_are_those_of_the_metrics() {
    let found = |answer: CacheResponse<u32>, request| {
        let mut status = String::new();
        heard(async |heard| {
            let leaf = Leaf::new();
            leaf.push(Outcome::ok(answer));
            call(TraceLayer::new(), &leaf, request).await.unwrap();
            status = heard.span().fields["status"].clone();
        });
        status
    };
    let hit = || Some(Entry::new(1_u32));
    let two = || CacheRequest::get_many(vec![key(), key()]);
    assert_eq!(found(CacheResponse::Hit(Entry::new(1_u32)), get()), "hit");
    assert_eq!(found(CacheResponse::Miss(cachex_core::FillToken::UNFENCED), get()), "miss");
    assert_eq!(found(CacheResponse::Many(vec![hit(), hit()]), two()), "hit");
    assert_eq!(found(CacheResponse::Many(vec![hit(), None]), two()), "miss");
    assert_eq!(found(CacheResponse::Applied(false), CacheRequest::set(key(), 1_u32, None)), "ok");
}

#[test]
fn a_key_is_shown_where_there_is_exactly_one_and_a_lifetime_where_one_is_asked_for() {
    let shown = |request: CacheRequest<u32>| {
        let mut fields = Fields::new();
        heard(async |heard| {
            call(TraceLayer::new(), &Leaf::new(), request).await.unwrap();
            let span = heard.span().fields;
            let event = heard.only("event").fields;
            for name in ["key", "key_count", "ttl_ms"] {
                assert_eq!(span.get(name), event.get(name), "{name}");
            }
            fields = span;
        });
        ["key", "key_count", "ttl_ms"].map(|name| fields.get(name).cloned().unwrap_or_default())
    };
    let none = String::new;
    assert_eq!(shown(CacheRequest::delete(vec![key()])), [SECRET.to_owned(), "1".to_owned(), none()]);
    assert_eq!(shown(CacheRequest::delete(vec![key(); 3])), [none(), "3".to_owned(), none()]);
    assert_eq!(shown(CacheRequest::Ping), [none(), "0".to_owned(), none()]);
    assert_eq!(shown(CacheRequest::set(key(), 1, Ttl::Never))[2], none());
    assert_eq!(shown(CacheRequest::expire(key(), Duration::from_millis(5)))[2], "5");
    let many = vec![(key(), Arc::new(1_u32)); 2];
    assert_eq!(
        shown(CacheRequest::set_many(many, Duration::from_secs(1))),
        [none(), "2".to_owned(), "1000".to_owned()]
    );
}

#[test]
fn redaction_leaves_no_key_value_or_tag_anywhere() {
    heard(async |heard| {
        let foreign = format!("no such row: {SECRET}");
        let error = CacheError::with_source(ErrorKind::Loader, "the loader failed", foreign);
        let leaf = Leaf::<String>::new();
        let tags = Tags::new([cachex_core::Tag::new(SECRET).unwrap()]).unwrap();
        let value = || SECRET.to_owned();
        leaf.push(Outcome::hit(value()));
        leaf.push(Outcome::err(error));
        let mut stack = TraceLayer::new().redact_keys(true).layer(leaf);
        let requests = [
            CacheRequest::get(key()),
            CacheRequest::get(key()),
            CacheRequest::get_many(vec![key(), key()]),
            CacheRequest::set(key(), value(), None),
            CacheRequest::set_many(vec![(key(), Arc::new(value()))], None),
            CacheRequest::delete(key()),
            CacheRequest::add_tags(key(), tags.clone()),
            CacheRequest::invalidate_tags(tags),
            CacheRequest::lock(key(), cachex_core::LockOwner(4711), Duration::from_secs(1)),
        ];
        let count = requests.len();
        for request in requests {
            let _ = stack.ready().await.unwrap().call(request).await;
        }
        drop(stack.ready().await.unwrap().call(CacheRequest::get(key())));
        let all = heard.all();
        assert_eq!((heard.count("new"), heard.count("event")), (count + 1, count + 1));
        assert!(!format!("{all:?}").contains("4711"), "{all:#?}");
        // The same key is still recognizable as the same.
        let keys: Vec<_> = all.iter().filter_map(|noted| noted.fields.get("key")).collect();
        let masked = format!("{:?}", key());
        assert!(keys.len() > count && keys.iter().all(|key| **key == masked), "{keys:?}");
        let failed: Vec<_> = all.iter().filter_map(|noted| noted.fields.get("error")).collect();
        assert_eq!(failed, ["the loader failed", "the loader failed"]);
    });
}

#[test]
fn what_is_beneath_runs_inside_the_span() {
    struct SaysGoodbye;
    impl Drop for SaysGoodbye {
        fn drop(&mut self) {
            tracing::info!(target: "beneath", "dropped");
        }
    }
    let store = tower::service_fn(|request: CacheRequest<u32>| {
        tracing::info!(target: "beneath", "called");
        let goodbye = SaysGoodbye;
        async move {
            let _goodbye = goodbye;
            if request.keys().len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            tracing::info!(target: "beneath", "polled");
            Ok::<_, CacheError>(CacheResponse::<u32>::Done)
        }
    });
    for cancelled in [false, true] {
        heard(async |heard| {
            let mut stack = TraceLayer::new().layer(store);
            if cancelled {
                drop(stack.ready().await.unwrap().call(CacheRequest::Ping));
            } else {
                stack.ready().await.unwrap().call(get()).await.unwrap();
            }
            tracing::info!(target: "beneath", "outside");
            let span = heard.span().span;
            let inner: Vec<_> = heard.all().into_iter().filter(|noted| noted.what == "inner").collect();
            let words: Vec<_> =
                inner.iter().map(|noted| (noted.fields["message"].clone(), noted.span)).collect();
            let say = |word: &str, span| (word.to_owned(), span);
            let expected = if cancelled {
                vec![say("called", span), say("dropped", span), say("outside", None)]
            } else {
                vec![say("called", span), say("polled", span), say("dropped", span), say("outside", None)]
            };
            assert_eq!(words, expected);
        });
    }
}

#[test]
fn what_is_dropped_or_panics_ends_as_cancelled() {
    for panic in [None, Some(Outcome::panic("planted")), Some(Outcome::panic_in_call("planted"))] {
        heard(async |heard| {
            let leaf = Leaf::new();
            leaf.push(panic.unwrap_or_else(Outcome::never));
            let mut stack = TraceLayer::new().layer(leaf.clone());
            stack.ready().await.unwrap();
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let mut answer = Box::pin(stack.call(get()));
                answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }));
            assert!(ended.unwrap_or(true));
            assert_eq!((leaf.in_flight(), heard.count("close")), (0, 1));
            for noted in [heard.span(), heard.only("event")] {
                assert_eq!((noted.level, &*noted.fields["status"]), (Level::DEBUG, "cancelled"));
            }
            assert_eq!(heard.only("event").fields["message"], "cancelled");
        });
    }
}

#[test]
fn the_span_closes_with_the_answer() {
    heard(async |heard| {
        let mut stack = TraceLayer::new().layer(Leaf::new());
        let mut answer = pin!(stack.ready().await.unwrap().call(get()));
        assert!(answer.as_mut().await.is_ok());
        assert_eq!(heard.count("close"), 1);
    });
}

#[test]
fn a_subscriber_at_info_hears_of_failures_only() {
    heard_at(Level::INFO, async |heard| {
        let leaf = Leaf::new();
        let layer = TraceLayer::new();
        call(layer, &leaf, get()).await.unwrap();
        drop(layer.layer(leaf.clone()).ready().await.unwrap().call(get()));
        assert_eq!(heard.all().len(), 0);
        leaf.push(Outcome::err(CacheError::new(ErrorKind::Busy, "busy")).after(Duration::from_millis(20)));
        call(layer, &leaf, CacheRequest::expire(key(), Duration::from_secs(1))).await.unwrap_err();
        let event = heard.only("event");
        assert_eq!((heard.all().len(), event.level, event.span), (1, Level::WARN, None));
        let expected = [
            ("attempt", "1"),
            ("component", "cachex"),
            ("duration_ms", "20.0"),
            ("error", "busy"),
            ("error.type", "busy"),
            ("key", SECRET),
            ("key_count", "1"),
            ("message", "failed"),
            ("operation", "expire"),
            ("status", "error"),
            ("ttl_ms", "1000"),
        ];
        assert_fields(&event.fields, &expected);
    });
}

#[test]
fn the_level_can_be_chosen() {
    for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
        heard(async |heard| {
            let layer = TraceLayer::default().level(level);
            call(layer, &Leaf::new(), get()).await.unwrap();
            assert_eq!((heard.span().level, heard.only("event").level), (level, level));
        });
        heard_at(level, async |heard| {
            let leaf = Leaf::new();
            leaf.push(Outcome::err(CacheError::new(ErrorKind::Busy, "busy")));
            call(TraceLayer::new().level(level), &leaf, get()).await.unwrap_err();
            let failure = if level == Level::ERROR { Level::ERROR } else { Level::WARN };
            assert_eq!((heard.span().level, heard.only("event").level), (level, failure));
        });
    }
}

#[test]
fn without_a_subscriber_it_passes_calls_through() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit(7_u32));
    let mut stack = TraceLayer::new().layer(leaf.clone());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stack.poll_ready(&mut cx).is_ready());
    let mut answer = pin!(stack.call(get()));
    assert!(matches!(answer.as_mut().poll(&mut cx), Poll::Ready(Ok(CacheResponse::Hit(_)))));
    assert_eq!(leaf.requests()[0].keys().next(), Some(&key()));
}

#[test]
fn shows_its_settings() {
    let shown = format!("{:?}", TraceLayer::new().level(Level::INFO).redact_keys(true));
    assert!(shown.contains("Info") && shown.contains("redact_keys: true"), "{shown}");
}
