use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cachex_core::{Key, handover};
use redis::{ErrorKind, RedisError, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream};

use super::super::Reader;
use super::super::reader::{Condition, KEPT, MOST_OWED};
use super::{answering, array, bulk, key, value_of};
use crate::store::redis::connection::SILENCE;

type Values = Vec<Option<Vec<u8>>>;

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(key).collect()
}

/// GET when it is one name, else MGET.
async fn read(reader: &mut Reader, names: &[&str]) -> Result<Result<Values, ServerError>, RedisError> {
    let mut values = Vec::new();
    let sink = |value: Option<&[u8]>, _| values.push(value.map(<[u8]>::to_vec));
    let refusal = reader.read(&keys(names), names.len() > 1, sink).await?;
    Ok(refusal.map_or(Ok(values), Err))
}

fn held_by_server(names: &[&str]) -> Values {
    names.iter().map(|name| value_of(name)).collect()
}

async fn assert_reads(reader: &mut Reader, names: &[&str]) {
    // Time is paused: it passes when nobody can go on.
    let values = tokio::time::timeout(Duration::from_secs(60), read(reader, names)).await;
    let values = values.expect("an answer comes").unwrap().unwrap();
    assert!(values == held_by_server(names), "{names:?} got the answer of another");
}

/// A reader whose answers are those of [`answering`], over a pipe that holds so many bytes each way.
fn answered(pipe: usize) -> Reader {
    let (client, server) = tokio::io::duplex(pipe);
    tokio::spawn(answering(server));
    Reader::new(Box::new(client), false)
}

fn by_hand() -> (Reader, DuplexStream) {
    let (client, server) = tokio::io::duplex(1 << 20);
    (Reader::new(Box::new(client), false), server)
}

async fn hear(server: &mut DuplexStream) {
    assert!(server.read(&mut [0; 4096]).await.unwrap() > 0);
}

/// Polls a read so often, with everyone else going on in between, and drops it. Whether it was over.
async fn give_up(reader: &mut Reader, names: &[&str], polls: usize) -> bool {
    let mut over = false;
    {
        let mut reading = pin!(read(reader, names));
        for _ in 0..polls {
            let poll = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut reading).poll(cx))).await;
            if let Poll::Ready(values) = poll {
                assert!(values.unwrap().unwrap() == held_by_server(names));
                over = true;
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    reader.rest();
    over
}

const SETS: [&[&str]; 4] =
    [&["a:1"], &["b:1", "none:1", "b:2", "empty:1"], &["none:2"], &["c:1", "large:1", "none:3", "c:2"]];

/// Before the request is written, in the middle of it, before the answer, in the middle of it: the next gets its own.
#[tokio::test(start_paused = true)]
async fn given_up_at_every_step() {
    for pipe in [1, 7, 64, 1000, 1 << 20] {
        for names in SETS {
            // A large value over a narrow pipe takes more polls than are worth it.
            if pipe < 64 && names.contains(&"large:1") {
                continue;
            }
            for polls in 0.. {
                let mut reader = answered(pipe);
                let over = give_up(&mut reader, names, polls).await;
                assert_eq!(reader.look(), Condition::Fit);
                assert_reads(&mut reader, &["d:1", "none:4", "d:2"]).await;
                assert_reads(&mut reader, &["e:1"]).await;
                assert_eq!(reader.look(), Condition::Fit);
                if over {
                    break;
                }
            }
        }
    }
}

/// One after the other, each given up while what was owed before it is written or skipped.
#[tokio::test(start_paused = true)]
async fn given_up_again_and_again() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..300 {
        let pipe = [1, 16, 300, 70_000][round % 4];
        let mut reader = answered(pipe);
        for _ in 0..random.usize(1..12) {
            let names = SETS[random.usize(..if pipe < 16 { 3 } else { 4 })];
            give_up(&mut reader, names, random.usize(..60)).await;
            assert_eq!(reader.look(), Condition::Fit);
        }
        assert_reads(&mut reader, &["d:1", "none:4", "d:2"]).await;
        assert_reads(&mut reader, &["e:1"]).await;
    }
}

/// As TLS does.
#[tokio::test(start_paused = true)]
async fn a_socket_that_keeps_bytes_to_itself_is_flushed() {
    for names in SETS {
        for polls in [0, 1, 2, 3, 1000] {
            let (client, server) = tokio::io::duplex(64);
            tokio::spawn(answering(server));
            let mut reader = Reader::new(Box::new(BufWriter::new(client)), false);
            give_up(&mut reader, names, polls).await;
            assert_reads(&mut reader, &["d:1", "none:4", "d:2"]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_a_server_on_this_machine_is_noted() {
    for is_here in [false, true] {
        let (client, _server) = tokio::io::duplex(1 << 20);
        let mut reader = Reader::new(Box::new(client), is_here);
        for (names, noted) in [(&["a"][..], false), (&["a", "b"], is_here)] {
            let mut reading = pin!(read(&mut reader, names));
            let poll = poll_fn(|cx| Poll::Ready(handover::watch(|| reading.as_mut().poll(cx)))).await;
            assert!(poll.0.is_pending());
            assert_eq!(poll.1, noted, "{names:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_noted_when_all_of_it_is_written() {
    let (client, mut server) = tokio::io::duplex(4);
    let mut reader = Reader::new(Box::new(client), true);
    let mut reading = pin!(read(&mut reader, &["a", "b"]));
    let (mut heard, mut noted) = (0, false);
    while !noted {
        let poll = poll_fn(|cx| Poll::Ready(handover::watch(|| reading.as_mut().poll(cx)))).await;
        noted = poll.1;
        // *3 $4 MGET $1 a $1 b: 28 bytes, of which the pipe holds four.
        assert!(poll.0.is_pending() && noted == (heard == 24), "{heard}");
        heard += server.read(&mut [0; 4]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_a_timeout_is_nobody_elses() {
    let (mut reader, mut server) = by_hand();
    let late = tokio::time::timeout(Duration::from_millis(100), read(&mut reader, &["a"])).await;
    assert!(late.is_err() && !reader.was_given_up());
    reader.rest();
    assert!(reader.was_given_up());
    hear(&mut server).await;
    server.write_all(&bulk(Some(b"late"))).await.unwrap();
    assert_eq!(reader.look(), Condition::Fit);
    assert!(!reader.was_given_up(), "it has been heard");
    server.write_all(&bulk(Some(b"own"))).await.unwrap();
    assert_eq!(read(&mut reader, &["b"]).await.unwrap().unwrap(), [Some(b"own".to_vec())]);
    tokio::time::advance(2 * SILENCE).await;
    assert_eq!(reader.look(), Condition::Fit, "an idle one is not silent");
}

#[tokio::test(start_paused = true)]
async fn one_that_says_nothing_for_too_long_is_silent() {
    let (mut reader, mut server) = by_hand();
    for _ in 0..3 {
        give_up(&mut reader, &["a"], 2).await;
        assert_eq!(reader.look(), Condition::Fit);
        tokio::time::advance(SILENCE / 5).await;
    }
    assert_eq!(reader.look(), Condition::Fit);
    tokio::time::advance(SILENCE / 5).await;
    assert_eq!(reader.look(), Condition::Fit);
    tokio::time::advance(SILENCE / 5).await;
    assert_eq!(reader.look(), Condition::Silent);
    // A single byte is a sign of life.
    server.write_all(b"$").await.unwrap();
    assert_eq!(reader.look(), Condition::Fit);
    give_up(&mut reader, &["a"], 2).await;
    tokio::time::advance(SILENCE).await;
    assert_eq!(reader.look(), Condition::Silent);
}

#[tokio::test(start_paused = true)]
async fn one_that_falls_behind_is_let_go() {
    let (mut reader, mut server) = by_hand();
    for _ in 0..=MOST_OWED {
        assert_eq!(reader.look(), Condition::Fit);
        give_up(&mut reader, &["a"], 1).await;
    }
    assert_eq!(reader.look(), Condition::Gone);
    // Some of it comes, and that is enough.
    server.write_all(b"$-1\r\n").await.unwrap();
    assert_eq!(reader.look(), Condition::Fit);

    let (client, _server) = tokio::io::duplex(1);
    let mut reader = Reader::new(Box::new(client), false);
    let long = "k".repeat(4000);
    for _ in 0..KEPT / 4000 {
        assert_eq!(reader.look(), Condition::Fit);
        give_up(&mut reader, &[&long], 1).await;
    }
    give_up(&mut reader, &[&long], 1).await;
    assert_eq!(reader.look(), Condition::Gone, "what is not written piles up");
}

#[tokio::test]
async fn one_that_was_closed_is_gone() {
    let (mut reader, server) = by_hand();
    assert_eq!(reader.look(), Condition::Fit);
    drop(server);
    assert_eq!(reader.look(), Condition::Gone);

    // Whatever it was used for.
    for (names, answer) in [
        (&["a"][..], bulk(Some(b"v"))),
        (&["a"], b"-NOPERM no\r\n".to_vec()),
        (&["a", "b"], array(&[bulk(None), bulk(None)])),
        (&["a", "b"], b"-NOPERM no\r\n".to_vec()),
        (&["a", "b"], array(&[b"-NOPERM no\r\n".to_vec(), bulk(None)])),
    ] {
        let (mut reader, mut server) = by_hand();
        server.write_all(&answer).await.unwrap();
        let refused = read(&mut reader, names).await.unwrap().is_err();
        assert_eq!(refused, answer.windows(6).any(|part| part == b"NOPERM"));
        reader.rest();
        assert!(!reader.was_given_up());
        assert_eq!(reader.look(), Condition::Fit, "{names:?}");
        drop(server);
        assert_eq!(reader.look(), Condition::Gone, "{names:?}");
    }
    let (mut reader, server) = by_hand();
    give_up(&mut reader, &["a", "b"], 1).await;
    drop(server);
    assert_eq!(reader.look(), Condition::Gone, "an answer is due");
}

/// What comes unasked would be the answer to the next read.
#[tokio::test]
async fn one_that_speaks_unasked_is_gone() {
    for answer in [bulk(Some(b"v")), b"-NOPERM no\r\n".to_vec()] {
        for together in [true, false] {
            let (mut reader, mut server) = by_hand();
            let more = bulk(Some(b"of another"));
            server.write_all(&[&answer[..], if together { &more[..] } else { b"" }].concat()).await.unwrap();
            let _ = read(&mut reader, &["a"]).await.unwrap();
            reader.rest();
            if !together {
                server.write_all(&more).await.unwrap();
            }
            assert_eq!(reader.look(), Condition::Gone, "{together}");
        }
    }
}

/// A task that has used up its budget is told of everything that it is pending.
#[tokio::test]
async fn a_busy_task_sees_it_too() {
    let (mut reader, server) = by_hand();
    drop(server);
    tokio::spawn(async move {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        assert_eq!(reader.look(), Condition::Gone);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_ends_or_makes_no_sense_is_an_error() {
    for (answer, kind) in [
        (&b""[..], ErrorKind::Io),
        (b"$5\r\nhal", ErrorKind::Io),
        (b"*2\r\n$1\r\na\r\n", ErrorKind::Io),
        (b"*3\r\n", ErrorKind::Parse),
        (b"HTTP/1.1 400 Bad Request\r\n", ErrorKind::Parse),
    ] {
        for given_up in 0..2 {
            let (mut reader, mut server) = by_hand();
            let names = if answer.starts_with(b"$") { &["a"][..] } else { &["a", "b"] };
            for _ in 0..given_up {
                give_up(&mut reader, &["z"], 1).await;
                server.write_all(&bulk(Some(b"late"))).await.unwrap();
            }
            server.write_all(answer).await.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(read(&mut reader, names).await.unwrap_err().kind(), kind, "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn memory_goes_with_the_values_it_was_for() {
    // Of many sizes: how much room is left behind the value differs.
    for size in 1..40 {
        let mut reader = answered(1 << 16);
        assert_reads(&mut reader, &[&format!("huge:{size}")]).await;
        assert!(reader.held() <= KEPT, "{} bytes", reader.held());
        assert_reads(&mut reader, &["a:1", &format!("huge:{size}"), "none:1"]).await;
        assert!(reader.held() <= KEPT, "{} bytes", reader.held());
    }
    let mut reader = answered(1 << 16);
    // Long requests too.
    let long: Vec<_> = (0..300).map(|n| format!("none:{n}:") + &"k".repeat(4000)).collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    assert_reads(&mut reader, &long).await;
    assert!(reader.held() <= KEPT, "{} bytes", reader.held());
    // And those nobody waited for.
    assert!(!give_up(&mut reader, &["huge:40"], 40).await);
    assert!(reader.held() <= KEPT, "{} bytes", reader.held());
    assert_reads(&mut reader, &["a:2"]).await;
    assert!(reader.held() <= KEPT, "{} bytes", reader.held());
}

#[tokio::test(start_paused = true)]
async fn a_length_costs_nothing_until_its_bytes_come() {
    let (mut reader, mut server) = by_hand();
    server.write_all(b"$536870912\r\nabc").await.unwrap();
    for _ in 0..3 {
        let mut reading = pin!(read(&mut reader, &["a"]));
        assert!(tokio::time::timeout(Duration::from_millis(1), reading.as_mut()).await.is_err());
    }
    assert!(reader.held() <= 2 << 20, "{} bytes", reader.held());
    reader.rest();
    assert!(reader.held() <= KEPT, "{} bytes", reader.held());
}
