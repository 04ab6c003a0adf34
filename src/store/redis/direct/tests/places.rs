use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};

use super::super::{Badge, Found, REST, Reader, Readers, SHY};

const BADGE: Badge = Badge { connection: 7, credentials: 3 };

/// A reader, and the server's end of its connection.
fn reader() -> (Reader, DuplexStream) {
    let (client, server) = tokio::io::duplex(64);
    (Reader::new(Box::new(client), false), server)
}

async fn is_closed(mut server: DuplexStream) -> bool {
    tokio::time::timeout(Duration::from_secs(1), server.read(&mut [0]))
        .await
        .is_ok_and(|read| read.unwrap() == 0)
}

fn take(readers: &Readers, at: usize) -> Reader {
    match readers.take(at, BADGE, false) {
        Found::Reader(reader) => reader,
        Found::Wanted => panic!("wanted"),
        Found::Company => panic!("company"),
        Found::Nothing => panic!("nothing"),
    }
}

fn is_wanted(readers: &Readers, at: usize) -> bool {
    matches!(readers.take(at, BADGE, false), Found::Wanted)
}

fn has_company(readers: &Readers, at: usize) -> bool {
    matches!(readers.take(at, BADGE, false), Found::Company)
}

fn is_nothing(readers: &Readers, at: usize) -> bool {
    matches!(readers.take(at, BADGE, false), Found::Nothing)
}

/// Places of which the first has a reader.
fn with_one(slots: usize, each: usize) -> (Readers, DuplexStream) {
    let readers = Readers::new(slots, each);
    assert!(is_wanted(&readers, 0));
    let (reader, server) = reader();
    readers.made(0, Some((reader, BADGE)));
    (readers, server)
}

#[test]
fn a_place_belongs_to_the_slot_of_its_keys() {
    assert_eq!(Readers::new(2, 0).place_of(u64::MAX), None);
    for (slots, each) in [(1, 1), (1, 4), (2, 2), (3, 5), (64, 1)] {
        let readers = Readers::new(slots, each);
        let slot_of = |hash| ((u128::from(hash) * slots as u128) >> 64) as usize;
        let mut random = fastrand::Rng::with_seed(1);
        for hash in [0, 1, u64::MAX / 2, u64::MAX].into_iter().chain((0..1000).map(|_| random.u64(..))) {
            let place = readers.place_of(hash).unwrap();
            assert!(place < slots * each);
            assert_eq!(place / each, slot_of(hash), "{slots} slots, {each} each, {hash}");
        }
    }
}

#[tokio::test]
async fn one_is_made_by_one_and_taken_by_one() {
    let readers = Readers::new(1, 2);
    assert!(is_wanted(&readers, 0));
    assert!(is_nothing(&readers, 0), "it is being made");
    assert!(is_wanted(&readers, 1), "each place for itself");
    let (reader, _server) = reader();
    readers.made(0, Some((reader, BADGE)));
    assert_eq!(readers.idle(), 1);
    let reader = take(&readers, 0);
    assert_eq!(readers.idle(), 0);
    readers.put_back(0, reader, BADGE);
    take(&readers, 0);
}

#[tokio::test]
async fn who_finds_it_taken_keeps_away_for_a_while() {
    let (readers, _server) = with_one(1, 1);
    let reader = take(&readers, 0);
    assert!(has_company(&readers, 0));
    readers.put_back(0, reader, BADGE);
    for n in 0..SHY {
        assert!(has_company(&readers, 0), "{n}");
    }
    take(&readers, 0);
}

/// A batch that meets a single read at its place has not met a crowd, and the next batch asks again.
#[tokio::test]
async fn reads_of_many_are_not_put_off() {
    let (readers, _server) = with_one(1, 1);
    let reader = take(&readers, 0);
    assert!(matches!(readers.take(0, BADGE, true), Found::Company));
    readers.put_back(0, reader, BADGE);
    let reader = take(&readers, 0);
    assert!(has_company(&readers, 0), "single reads are put off from here on");
    readers.put_back(0, reader, BADGE);
    assert!(matches!(readers.take(0, BADGE, true), Found::Reader(_)));
}

#[tokio::test]
async fn one_of_another_connection_or_other_credentials_is_let_go() {
    for other in [Badge { connection: 8, ..BADGE }, Badge { credentials: 4, ..BADGE }] {
        let (readers, server) = with_one(1, 1);
        assert!(matches!(readers.take(0, other, false), Found::Wanted));
        assert!(is_closed(server).await);
        assert!(matches!(readers.take(0, other, false), Found::Nothing), "another is being made");
        // One that was taken before, and comes back.
        let (reader, server) = reader();
        readers.made(0, Some((reader, BADGE)));
        let reader = take(&readers, 0);
        readers.clear(0);
        readers.put_back(0, reader, BADGE);
        assert!(matches!(readers.take(0, other, false), Found::Wanted));
        assert!(is_closed(server).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_failed_is_not_repeated_at_once() {
    let readers = Readers::new(1, 1);
    assert!(is_wanted(&readers, 0));
    readers.made(0, None);
    tokio::time::advance(REST - Duration::from_millis(1)).await;
    assert!(is_nothing(&readers, 0));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(is_wanted(&readers, 0));
}

#[tokio::test]
async fn an_attempt_that_was_dropped_is_made_by_another() {
    let readers = Readers::new(1, 1);
    assert!(is_wanted(&readers, 0));
    readers.forget(0);
    assert!(is_wanted(&readers, 0));
    // Nor does a late report harm the next one.
    let (reader, _server) = reader();
    readers.made(0, Some((reader, BADGE)));
    readers.forget(0);
    readers.made(0, None);
    readers.lose(0);
    take(&readers, 0);
}

#[tokio::test]
async fn a_broken_one_leaves_its_place_free() {
    let (readers, _server) = with_one(1, 1);
    drop(take(&readers, 0));
    readers.lose(0);
    assert!(is_wanted(&readers, 0));
}

#[tokio::test]
async fn clearing_a_slot_leaves_the_others() {
    let readers = Readers::new(2, 2);
    let servers: Vec<_> = (0..4)
        .map(|at| {
            assert!(is_wanted(&readers, at));
            let (reader, server) = reader();
            readers.made(at, Some((reader, BADGE)));
            server
        })
        .collect();
    readers.clear(1);
    assert_eq!(readers.idle(), 2);
    for (at, server) in servers.into_iter().enumerate() {
        if at < 2 {
            take(&readers, at);
        } else {
            assert!(is_closed(server).await);
        }
    }
}

#[tokio::test]
async fn closed_is_closed_whatever_comes_back() {
    let (readers, idle) = with_one(3, 1);
    assert!(is_wanted(&readers, 1));
    let (reader_1, taken) = reader();
    readers.made(1, Some((reader_1, BADGE)));
    let reader_1 = take(&readers, 1);
    assert!(is_wanted(&readers, 2));
    readers.close();
    assert!(is_closed(idle).await);
    readers.put_back(1, reader_1, BADGE);
    assert!(is_closed(taken).await);
    let (reader_2, made) = reader();
    readers.made(2, Some((reader_2, BADGE)));
    assert!(is_closed(made).await);
    readers.clear(0);
    readers.lose(1);
    readers.forget(2);
    for at in 0..3 {
        assert!(is_nothing(&readers, at));
        assert!(is_nothing(&readers, at));
    }
}
