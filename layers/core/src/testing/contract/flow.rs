//! The rules about what goes down and what comes back.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::drive::{call, drive, paused};
use super::samples::{KINDS, answer, key, requests, shape_of_request, shape_of_response, values_of};
use super::{Contract, KEY_MARKER, VALUE_MARKER, assert_quiet, stored};
use crate::error::{CacheError, ErrorKind};
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::service::CacheService;
use crate::subscription::Invalidation;
use crate::testing::{Leaf, Outcome};

impl<V, W, L> Contract<V, W, L>
where
    V: PartialEq + fmt::Debug + Send + Sync + 'static,
    W: Send + Sync + 'static,
    L: Layer<Leaf<W>, Service: CacheService<V> + fmt::Debug> + fmt::Debug,
{
    pub(super) fn pass_through(&self) {
        for request in requests(&self.value) {
            paused(self.pass(request));
        }
    }

    async fn pass(&self, request: CacheRequest<V>) {
        let op = request.op();
        let (service, leaf) = self.rig();
        // What lies in the store is what the layer itself once put there.
        let value = Arc::new((self.value)(1));
        let written = drive(call(service.clone(), CacheRequest::set(key(1), Arc::clone(&value), None))).await;
        written.done("a set").expect("a set");
        let stored = stored(&leaf);

        let sent = answer(op, &stored);
        let expected = shape_of_response(&sent, self.value_blind);
        leaf.push(Outcome::ok(sent));
        let (before, shape) = (leaf.calls(), shape_of_request(&request));
        let sent_values: Vec<_> = request.values().map(|(_, value)| address(value)).collect();
        let response = drive(call(service, request)).await.done(op.as_str());
        let response = response.unwrap_or_else(|error| panic!("{op} fails: {error:?}"));

        assert_eq!(leaf.calls() - before, 1, "calls of the inner service for one {op} that succeeded");
        let arrived = leaf.take_requests().pop().expect("one request arrived");
        assert_eq!(shape_of_request(&arrived), shape, "the {op} that reached the inner service");
        assert_eq!(shape_of_response(&response, self.value_blind), expected, "the answer to {op}");
        if self.value_blind {
            let arrived_values: Vec<_> = arrived.values().map(|(_, value)| address(value)).collect();
            assert_eq!(arrived_values, sent_values, "the values of {op} were copied on their way down");
            for found in values_of(&response) {
                assert_eq!(address(found), address(&stored), "the value of {op} was copied on its way back");
            }
        }
        for found in values_of(&response) {
            assert_eq!(**found, *value, "the value that {op} read");
        }
        if let CacheResponse::Subscribed(mut subscription) = response {
            let heard = (subscription.next().await, subscription.next().await);
            assert_eq!(heard, (Some(Invalidation::Missed), None), "what a subscription hears");
        }
        assert_quiet(&leaf, op.as_str());
    }

    pub(super) fn errors(&self) {
        let requests: [fn(V) -> CacheRequest<V>; 4] = [
            |_| CacheRequest::get(key(1)),
            |value| CacheRequest::set(key(1), value, None),
            |_| CacheRequest::increment(key(1), 1, None),
            |_| CacheRequest::Ping,
        ];
        for kind in KINDS {
            for request in requests {
                paused(async {
                    let (service, leaf) = self.rig();
                    let sent = CacheError::with_source(kind, "scripted", std::io::Error::other("cause"));
                    let answer = sent.clone();
                    leaf.answer_with(move |_, _| Outcome::err(answer.clone()));
                    let request = request((self.value)(1));
                    let what = format!("{} whose inner service fails with {kind}", request.op());
                    let Err(error) = drive(call(service, request)).await.done(&what) else {
                        panic!("{what}: succeeds");
                    };
                    assert_eq!(error.kind(), kind, "{what}: the kind");
                    assert_eq!(error.effect(), sent.effect(), "{what}: the effect");
                    let source = error.source().map(ToString::to_string);
                    assert_eq!(source.as_deref(), Some("cause"), "{what}: the source");
                    assert_silent(&what, &error);
                    assert_quiet(&leaf, &what);
                });
            }
        }
    }

    pub(super) fn debug(&self) {
        assert_silent("the layer", &(self.layer)());
        paused(async {
            let (service, leaf) = self.rig();
            assert_silent("a fresh service", &service);
            for request in requests(&self.value) {
                drive(call(service.clone(), request)).await.done("a call").expect("a call");
                assert_silent("a service that was called", &service);
            }
            leaf.answer_with(|_, _| Outcome::err(CacheError::new(ErrorKind::Server, "scripted")));
            for request in requests(&self.value) {
                let answer = drive(call(service.clone(), request)).await.done("a call that fails");
                let error = answer.expect_err("a call that fails");
                assert_silent("an error", &error);
                assert!(!marked(&error.to_string()), "an error says a key or a value: {error}");
                assert_silent("a service that failed", &service);
            }
        });
    }
}

/// Where a value is, to tell the same one from an equal one even across types.
fn address<T>(value: &Arc<T>) -> usize {
    Arc::as_ptr(value) as usize
}

fn marked(text: &str) -> bool {
    text.contains(KEY_MARKER) || text.contains(VALUE_MARKER)
}

#[track_caller]
fn assert_silent(what: &str, shown: &impl fmt::Debug) {
    for text in [format!("{shown:?}"), format!("{shown:#?}")] {
        assert!(!text.is_empty(), "`Debug` of {what} shows nothing");
        assert!(!marked(&text), "`Debug` of {what} shows a key or a value: {text}");
    }
}
