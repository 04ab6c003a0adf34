use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use cachex_core::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::pipe::{Asking, Driver, Pipe, Told, WINDOW};
use super::super::reader::KEPT;
use super::{answering, bulk, key, value_of};
use crate::store::redis::connection::SILENCE;

const LONG: Duration = Duration::from_secs(60);

/// A pipe, and the server's end of its connection, which holds so many bytes each way.
fn by_hand(room: usize) -> (Pipe, JoinHandle<()>, DuplexStream) {
    let (client, server) = tokio::io::duplex(room);
    let (pipe, driver) = Pipe::open(Box::new(client), false);
    (pipe, tokio::spawn(driver.run()), server)
}

fn ask(pipe: &Pipe, name: impl AsRef<str>) -> Asking {
    Arc::clone(pipe.shared()).ask(key(name), Instant::now())
}

/// A read that is queued.
fn asked(pipe: &Pipe, name: impl AsRef<str>) -> Asking {
    let mut asking = ask(pipe, name);
    assert!(poll(&mut asking).is_pending());
    asking
}

fn poll(asking: &mut Asking) -> Poll<Told> {
    Pin::new(asking).poll(&mut Context::from_waker(Waker::noop()))
}

/// Time is paused: it passes when nobody can go on.
async fn told(asking: Asking) -> Told {
    let start = Instant::now();
    let told = tokio::time::timeout(LONG, asking).await.expect("an answer comes");
    assert!(start.elapsed() < LONG, "it was there, and nobody woken");
    told
}

async fn found(asking: Asking) -> Option<Vec<u8>> {
    match told(asking).await {
        Told::Found(value) => value.map(Bytes::into),
        other => panic!("{other:?}"),
    }
}

/// What the driver has written.
async fn hear(server: &mut DuplexStream) -> String {
    let mut heard = vec![0; 1 << 16];
    let len = tokio::time::timeout(LONG, server.read(&mut heard)).await.expect("it is asked").unwrap();
    heard.truncate(len);
    String::from_utf8(heard).unwrap()
}

async fn ended(driver: JoinHandle<()>) {
    tokio::time::timeout(LONG, driver).await.expect("it ends").unwrap();
}

async fn let_others_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn is_lost(told: &Told) -> bool {
    matches!(told, Told::Failed(error) if error.kind() == ErrorKind::Connection)
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_own() {
    let mut random = fastrand::Rng::with_seed(3);
    for room in [1, 7, 64, 1000, 1 << 20] {
        let (client, server) = tokio::io::duplex(room);
        tokio::spawn(answering(server));
        let (pipe, driver) = Pipe::open(Box::new(client), false);
        let driver = tokio::spawn(driver.run());
        for round in 0..20 {
            let kinds = ["a", "none", "empty", if room < 64 { "b" } else { "large" }];
            let names: Vec<_> = (0..random.usize(1..40))
                .map(|n| format!("{}:{n}{round}", kinds[random.usize(..4)]))
                .collect();
            let calls: Vec<_> = names.iter().map(|name| tokio::spawn(found(ask(&pipe, name)))).collect();
            for (name, call) in names.iter().zip(calls) {
                assert!(call.await.unwrap() == value_of(name), "{name} got the answer of another");
            }
        }
        drop(pipe);
        ended(driver).await;
    }
}

/// As TLS does, and it takes more than one attempt to get them out of it.
#[tokio::test(start_paused = true)]
async fn a_socket_that_keeps_bytes_to_itself_is_flushed() {
    for (room, names) in [(7, 1), (7, 30), (1 << 20, 30)] {
        let (client, server) = tokio::io::duplex(room);
        tokio::spawn(answering(server));
        let (pipe, driver) = Pipe::open(Box::new(BufWriter::new(client)), false);
        let driver = tokio::spawn(driver.run());
        let names: Vec<_> = (0..names).map(|n| format!("{n}:{n}")).collect();
        let calls: Vec<_> = names.iter().map(|name| tokio::spawn(found(ask(&pipe, name)))).collect();
        for (name, call) in names.iter().zip(calls) {
            assert_eq!(call.await.unwrap(), value_of(name));
        }
        drop(pipe);
        ended(driver).await;
    }
}

/// Some leave: before they are queued, before they are written, while the answer is on its way.
#[tokio::test(start_paused = true)]
async fn who_leaves_takes_nobodys_answer() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..200 {
        let room = [1, 16, 300, 70_000][round % 4];
        let (client, server) = tokio::io::duplex(room);
        tokio::spawn(answering(server));
        let (pipe, driver) = Pipe::open(Box::new(client), false);
        let driver = tokio::spawn(driver.run());
        let (mut left, mut stay) = (Vec::new(), Vec::new());
        for n in 0..random.usize(2..30) {
            let mut asking = ask(&pipe, format!("k:{n}"));
            if random.bool() {
                stay.push((n, tokio::spawn(found(asking))));
            } else if random.bool() {
                let _ = poll(&mut asking);
                left.push(asking);
            }
            for _ in 0..random.usize(..4) {
                tokio::task::yield_now().await;
            }
            if random.bool() {
                left.clear();
            }
        }
        drop(left);
        for (n, call) in stay {
            assert_eq!(call.await.unwrap(), value_of(&format!("k:{n}")));
        }
        assert_eq!(found(ask(&pipe, "last:1")).await, value_of("last:1"));
        assert!(pipe.shared().is_tidy(), "places are free again");
        drop(pipe);
        ended(driver).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_goes_out_together_and_waits_for_no_answer() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let first: Vec<_> = ["a", "b", "c"].map(|name| tokio::spawn(found(ask(&pipe, name)))).into();
    let get = |name: &str| format!("*2\r\n$3\r\nGET\r\n$1\r\n{name}\r\n");
    assert_eq!(hear(&mut server).await, ["a", "b", "c"].map(get).concat());
    let second: Vec<_> = ["d", "e"].map(|name| tokio::spawn(found(ask(&pipe, name)))).into();
    assert_eq!(hear(&mut server).await, ["d", "e"].map(get).concat());
    for name in ["a", "b", "c", "d", "e"] {
        server.write_all(&bulk(Some(name.as_bytes()))).await.unwrap();
    }
    for (call, name) in first.into_iter().chain(second).zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(call.await.unwrap().unwrap(), name.as_bytes());
    }
}

/// On such a runtime, whoever is woken by a task runs right after it: the driver has to let the other tasks run.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_from_tasks_that_are_ready_goes_out_together() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let calls = tokio::spawn(async move {
        for names in [["a", "b", "c"], ["d", "e", "f"]] {
            let calls = names.map(|name| tokio::spawn(found(ask(&pipe, name))));
            let heard = hear(&mut server).await;
            assert_eq!(heard.matches("GET").count(), 3, "{heard}");
            server.write_all(&bulk(Some(b"x")).repeat(3)).await.unwrap();
            for call in calls {
                assert_eq!(call.await.unwrap().unwrap(), b"x");
            }
            // The driver sleeps again.
            let_others_run().await;
        }
    });
    calls.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_when_it_is_there() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let [a, b, c] = ["a", "b", "c"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    server.write_all(b"$1\r\na\r\n$1").await.unwrap();
    assert_eq!(found(a).await.unwrap(), b"a");
    let mut b = tokio::spawn(found(b));
    assert!(tokio::time::timeout(LONG / 2, &mut b).await.is_err());
    server.write_all(b"\r\nb\r\n").await.unwrap();
    assert_eq!(b.await.unwrap().unwrap(), b"b");
    server.write_all(b"$-1\r\n").await.unwrap();
    assert_eq!(found(c).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_for_the_one_it_is_about() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    server.write_all(b"$1\r\na\r\n-WRONGTYPE no\r\n-NOPERM no\r\n$1\r\nd\r\n").await.unwrap();
    assert_eq!(found(a).await.unwrap(), b"a");
    for (asking, code) in [(b, "WRONGTYPE"), (c, "NOPERM")] {
        let Told::Refused(refusal) = told(asking).await else { panic!("it is refused") };
        assert_eq!(refusal.code(), code);
    }
    assert_eq!(found(d).await.unwrap(), b"d");
}

#[tokio::test(start_paused = true)]
async fn when_the_connection_ends_each_is_told_how_far_it_came() {
    for unasked in [false, true] {
        let (pipe, driver, mut server) = by_hand(64);
        let [a, b] = ["a", "b"].map(|name| asked(&pipe, name));
        hear(&mut server).await;
        // Neither is written whole: the socket takes no more.
        let [c, d] = ["c", "d"].map(|name| asked(&pipe, name.repeat(100)));
        let_others_run().await;
        let e = asked(&pipe, "e");
        server.write_all(b"$1\r\na\r\n").await.unwrap();
        let_others_run().await;
        if unasked {
            server.write_all(b"%what").await.unwrap();
        } else {
            drop(server);
        }
        assert_eq!(found(a).await.unwrap(), b"a", "it had been answered");
        for asking in [b, c, d] {
            assert!(is_lost(&told(asking).await));
        }
        assert!(matches!(told(e).await, Told::Unsent));
        ended(driver).await;
        assert!(pipe.shared().is_over());
        assert!(matches!(told(ask(&pipe, "f")).await, Told::Unsent));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_closed_or_speaks_unasked_while_idle_costs_no_error() {
    for said in ["", "$1\r\nx\r\n", "+hello\r\n"] {
        let (pipe, driver, mut server) = by_hand(1 << 20);
        let first = asked(&pipe, "a");
        hear(&mut server).await;
        server.write_all(b"$1\r\na\r\n").await.unwrap();
        assert_eq!(found(first).await.unwrap(), b"a");
        let_others_run().await;
        server.write_all(said.as_bytes()).await.unwrap();
        let open = (!said.is_empty()).then_some(server);
        // Queued before anybody has looked at the connection.
        let asking = asked(&pipe, "b");
        assert!(matches!(told(asking).await, Told::Unsent), "{said:?}");
        drop(open);
        ended(driver).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_pipe_answers_who_waits_and_ends() {
    let (pipe, driver, mut server) = by_hand(1 << 20);
    let (early, unheard) = (asked(&pipe, "a"), asked(&pipe, "b"));
    let late = ask(&pipe, "c");
    drop(pipe);
    assert!(matches!(told(late).await, Told::Unsent));
    assert!(hear(&mut server).await.ends_with("b\r\n"));
    server.write_all(b"$1\r\na\r\n").await.unwrap();
    assert_eq!(found(early).await.unwrap(), b"a");
    let_others_run().await;
    assert!(!driver.is_finished());
    // The last who waited leaves; that its answer is owed keeps nobody.
    drop(unheard);
    ended(driver).await;
    assert!(hear(&mut server).await.is_empty(), "the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_leaves_nobody_waiting() {
    let (pipe, driver, mut server) = by_hand(1 << 20);
    let [answered, sent] = ["a", "b"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    server.write_all(b"$1\r\na\r\n").await.unwrap();
    assert_eq!(found(answered).await.unwrap(), b"a");
    driver.abort();
    let unsent = asked(&pipe, "b");
    assert!(is_lost(&told(sent).await));
    assert!(matches!(told(unsent).await, Told::Unsent));
    let (client, _server) = tokio::io::duplex(64);
    let (pipe, driver): (Pipe, Driver) = Pipe::open(Box::new(client), false);
    let never_sent = asked(&pipe, "c");
    drop(driver);
    assert!(matches!(told(never_sent).await, Told::Unsent));
}

/// It was closed before anything was sent, although nobody could see it.
#[tokio::test(start_paused = true)]
async fn one_that_ends_without_a_word_since_it_was_idle_costs_no_error() {
    let (pipe, driver, mut server) = by_hand(1 << 20);
    let first = asked(&pipe, "a");
    hear(&mut server).await;
    server.write_all(b"$1\r\na\r\n").await.unwrap();
    assert_eq!(found(first).await.unwrap(), b"a");
    let sent = ["b", "c"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    drop(server);
    for asking in sent {
        assert!(matches!(told(asking).await, Told::Unsent));
    }
    ended(driver).await;
}

/// A server that cannot keep up is asked for no more than it owes, and not for what nobody wants any more.
#[tokio::test(start_paused = true)]
async fn what_is_left_in_the_queue_is_not_sent() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let mut sent: Vec<_> = (0..WINDOW).map(|n| asked(&pipe, format!("sent:{n}"))).collect();
    let beyond: Vec<_> = (0..10).map(|n| asked(&pipe, format!("sent:beyond:{n}"))).collect();
    assert_eq!(hear(&mut server).await.matches("sent").count(), WINDOW);
    drop(beyond);
    for round in 0..50 {
        let impatient: Vec<_> = (0..100).map(|n| asked(&pipe, format!("left:{round}:{n}"))).collect();
        let_others_run().await;
        drop(impatient);
        assert!(pipe.shared().places() < 3 * WINDOW + 200, "{round}");
    }
    let patient = asked(&pipe, "patient");
    let_others_run().await;
    // There is room for one, and it goes to the one who waits.
    server.write_all(b"$1\r\nx\r\n").await.unwrap();
    assert_eq!(found(sent.remove(0)).await.unwrap(), b"x");
    let heard = hear(&mut server).await;
    assert!(heard.contains("patient") && !heard.contains("left"), "{heard}");
    server.write_all(&bulk(Some(b"x")).repeat(WINDOW)).await.unwrap();
    for asking in sent.into_iter().chain([patient]) {
        assert_eq!(found(asking).await.unwrap(), b"x");
    }
    assert!(pipe.shared().is_tidy());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_leaves_no_places_behind() {
    let (client, server) = tokio::io::duplex(1 << 20);
    tokio::spawn(answering(server));
    let (pipe, driver) = Pipe::open(Box::new(client), false);
    tokio::spawn(driver.run());
    let calls: Vec<_> = (0..5000).map(|n| tokio::spawn(found(ask(&pipe, format!("a:{n}"))))).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), value_of(&format!("a:{n}")));
    }
    assert_eq!(pipe.shared().places(), 0);
    assert_eq!(found(ask(&pipe, "b:1")).await, value_of("b:1"));
}

/// The server takes nothing any more, and whoever waited has left.
#[tokio::test(start_paused = true)]
async fn one_that_is_jammed_ends_when_nobody_wants_it() {
    for close_first in [false, true] {
        let (pipe, driver, _server) = by_hand(8);
        let calls = ["a", "b"].map(|name| asked(&pipe, name));
        let_others_run().await;
        assert!(!driver.is_finished());
        if close_first {
            drop(pipe);
            let_others_run().await;
            drop(calls);
        } else {
            drop(calls);
            let_others_run().await;
            drop(pipe);
        }
        ended(driver).await;
    }
}

/// Replies keep coming, each of them a round, and what is asked meanwhile does not wait for the last.
#[tokio::test(start_paused = true)]
async fn commands_go_out_between_replies() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let calls: Vec<_> = (0..20).map(|n| asked(&pipe, format!("{n}"))).collect();
    hear(&mut server).await;
    let value = vec![b'v'; 40_000];
    server.write_all(&bulk(Some(&value)).repeat(20)).await.unwrap();
    let late = asked(&pipe, "late");
    let mut last = calls.into_iter().next_back().unwrap();
    // As a task, whose turn comes between those of the driver.
    let watch = tokio::spawn(async move {
        assert!(hear(&mut server).await.contains("late"));
        assert!(poll(&mut last).is_pending(), "there are replies that were not looked at");
        (server, last)
    });
    let (_server, last) = watch.await.unwrap();
    assert_eq!(found(last).await.unwrap(), value);
    drop(late);
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_from_an_answer_that_is_late() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let mut calls = ["a", "b", "c", "d", "e"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    assert!(!calls[0].give_up(true), "one timeout is no silence");
    server.write_all(b"$1\r\na\r\n").await.unwrap();
    let_others_run().await;
    assert!(!calls[1].give_up(true), "something has come since");
    assert!(!calls[2].give_up(false), "who leaves may be impatient");
    server.write_all(b"$10").await.unwrap();
    let_others_run().await;
    assert!(!calls[3].give_up(true), "part of a reply has come since");
    assert!(calls[4].give_up(true), "the second timeout");
    let mut late = asked(&pipe, "f");
    assert!(!late.give_up(true), "it has been told");

    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let mut calls = ["a", "b", "c"].map(|name| asked(&pipe, name));
    hear(&mut server).await;
    assert!(!calls[0].give_up(false));
    tokio::time::advance(SILENCE - Duration::from_millis(1)).await;
    assert!(!calls[1].give_up(false));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(calls[2].give_up(false));

    // It counts from when the first was asked, and from when anything came.
    for heard in [false, true] {
        let (pipe, _driver, mut server) = by_hand(1 << 20);
        let [mut first, second] = ["a", "b"].map(|name| asked(&pipe, name));
        hear(&mut server).await;
        tokio::time::advance(SILENCE / 2).await;
        if heard {
            server.write_all(b"$1").await.unwrap();
            let_others_run().await;
        }
        assert!(!first.give_up(false));
        let mut third = asked(&pipe, "c");
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(third.give_up(false), !heard);
        drop(second);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_goes_with_the_values_it_was_for() {
    let (client, server) = tokio::io::duplex(1 << 20);
    tokio::spawn(answering(server));
    let (pipe, driver) = Pipe::open(Box::new(client), false);
    let held = driver.watch_memory();
    tokio::spawn(driver.run());
    assert_eq!(found(ask(&pipe, "huge:40")).await, value_of("huge:40"));
    assert_eq!(found(ask(&pipe, "a:1")).await, value_of("a:1"));
    let now = held.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1..=2 * KEPT).contains(&now), "{now} bytes");
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("planted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_leaves_nobody_asleep() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let mut foreign = ask(&pipe, "a");
    let waker = Waker::from(Arc::new(Panics));
    assert!(Pin::new(&mut foreign).poll(&mut Context::from_waker(&waker)).is_pending());
    let call = tokio::spawn(found(ask(&pipe, "b")));
    hear(&mut server).await;
    server.write_all(b"$1\r\na\r\n$1\r\nb\r\n").await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), b"b");
    assert_eq!(found(foreign).await.unwrap(), b"a");
}

#[tokio::test(start_paused = true)]
async fn whoever_polls_last_is_woken() {
    let (pipe, _driver, mut server) = by_hand(1 << 20);
    let asking = asked(&pipe, "a");
    hear(&mut server).await;
    // Moved to another task.
    let call = tokio::spawn(async move { found(asking).await });
    let_others_run().await;
    server.write_all(b"$1\r\na\r\n").await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), b"a");
}
