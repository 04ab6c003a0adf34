use std::sync::Arc;
use std::time::Duration;

use super::super::pipe::{Driver, Pipe, Shared};
use super::super::pipes::{Lookup, Pipes};
use super::super::{Badge, REST};

const BADGE: Badge = Badge { connection: 7, credentials: 3 };

fn made() -> (Pipe, Driver) {
    let (client, _) = tokio::io::duplex(64);
    Pipe::open(Box::new(client), false)
}

fn is_wanted(pipes: &Pipes, badge: Badge) -> bool {
    matches!(pipes.share(0, badge), Lookup::Wanted)
}

fn is_nothing(pipes: &Pipes, badge: Badge) -> bool {
    matches!(pipes.share(0, badge), Lookup::Nothing)
}

fn shared(pipes: &Pipes) -> Arc<Shared> {
    match pipes.share(0, BADGE) {
        Lookup::Pipe(pipe) => pipe,
        Lookup::Wanted => panic!("wanted"),
        Lookup::Nothing => panic!("nothing"),
    }
}

/// A place that has one, and what serves it.
fn with_one() -> (Pipes, Driver) {
    let pipes = Pipes::new(1);
    assert!(is_wanted(&pipes, BADGE));
    let (pipe, driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    (pipes, driver)
}

#[tokio::test(start_paused = true)]
async fn one_is_made_by_one_and_shared_by_all() {
    let pipes = Pipes::new(1);
    assert!(is_wanted(&pipes, BADGE) && is_nothing(&pipes, BADGE), "it is being made");
    pipes.forget(0);
    assert!(is_wanted(&pipes, BADGE), "who was to make it did not");
    let (pipe, _driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    assert!(Arc::ptr_eq(&shared(&pipes), &shared(&pipes)));
    assert!(matches!(Pipes::new(0).share(0, BADGE), Lookup::Nothing));
}

#[tokio::test(start_paused = true)]
async fn it_goes_with_its_connection_and_its_credentials() {
    for newer in [Badge { connection: 8, ..BADGE }, Badge { credentials: 4, ..BADGE }] {
        let (pipes, _driver) = with_one();
        assert!(is_wanted(&pipes, newer));
        let (pipe, _driver) = made();
        pipes.made(0, Some((pipe, newer)));
        assert!(is_nothing(&pipes, BADGE), "who has seen an older one does not take it away");
        assert!(matches!(pipes.share(0, newer), Lookup::Pipe(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_none_can_be_made_or_stays_nobody_tries_for_a_while() {
    let pipes = Pipes::new(1);
    assert!(is_wanted(&pipes, BADGE));
    pipes.made(0, None);
    tokio::time::advance(REST - Duration::from_millis(1)).await;
    assert!(is_nothing(&pipes, BADGE));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(is_wanted(&pipes, BADGE));
    // Made, and closed at once.
    let (pipe, driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    drop(driver);
    tokio::time::advance(REST - Duration::from_millis(1)).await;
    assert!(is_nothing(&pipes, BADGE) && is_nothing(&pipes, BADGE));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(is_wanted(&pipes, BADGE));
    // One that has served for some time.
    let (pipe, driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    tokio::time::advance(REST).await;
    drop(driver);
    assert!(is_wanted(&pipes, BADGE));
}

#[tokio::test(start_paused = true)]
async fn who_gives_one_up_does_not_take_its_successor_away() {
    let (pipes, _driver) = with_one();
    let old = shared(&pipes);
    pipes.clear_this(0, &old);
    assert!(is_wanted(&pipes, BADGE));
    let (pipe, _driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    pipes.clear_this(0, &old);
    assert!(!Arc::ptr_eq(&shared(&pipes), &old));
    pipes.clear(0);
    assert!(is_wanted(&pipes, BADGE));
}

#[tokio::test(start_paused = true)]
async fn what_is_closed_stays_so() {
    let (pipes, _driver) = with_one();
    pipes.close();
    assert!(is_nothing(&pipes, BADGE));
    let (pipe, _driver) = made();
    pipes.made(0, Some((pipe, BADGE)));
    pipes.clear(0);
    pipes.forget(0);
    assert!(is_nothing(&pipes, BADGE));
}
