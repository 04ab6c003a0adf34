use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::resp::{Malformed, Progress, Reply, Stale, ask};
use super::{array, bulk, key};

type Found = Option<Vec<u8>>;

/// What a GET or an MGET is answered with.
#[derive(Clone, Debug)]
enum Answer {
    One(Found),
    Many(Vec<Found>),
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::One(value) => bulk(value.as_deref()),
            Self::Many(values) => {
                array(&values.iter().map(|value| bulk(value.as_deref())).collect::<Vec<_>>())
            }
        }
    }

    fn values(&self) -> &[Found] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    fn reply(&self) -> Reply {
        match self {
            Self::One(_) => Reply::ONE,
            Self::Many(values) => Reply::many(values.len()),
        }
    }
}

/// Text that looks like a protocol, and bytes that look like nothing.
fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let tricky = prop::sample::select(b"\r\n$*-+:0159ab\xff".as_slice());
    vec(tricky, len)
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Vec::new())),
        4 => text(1..40).prop_map(Some),
        1 => text(500..3000).prop_map(Some),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![found().prop_map(Answer::One), vec(found(), 1..12).prop_map(Answer::Many)]
}

/// Any reply of RESP2.
fn any_reply() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        "[+-][A-Z]{1,9} [a-z $*:0-9-]{0,300}\r\n".prop_map(String::into_bytes),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        text(0..60).prop_map(|text| bulk(Some(&text))),
    ];
    line.prop_recursive(4, 40, 6, |inner| vec(inner, 0..6).prop_map(|elements| array(&elements)))
}

/// Bytes that arrive in pieces of the lengths `cuts`, over and over, and what has arrived.
struct Arriving<'a> {
    rest: &'a [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    input: BytesMut,
}

impl<'a> Arriving<'a> {
    fn new(bytes: &'a [u8], cuts: &'a [usize]) -> Self {
        Self { rest: bytes, cuts: cuts.iter().cycle(), input: BytesMut::new() }
    }

    /// `false` when there is no more.
    fn next(&mut self) -> bool {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(*self.cuts.next().unwrap()));
        self.input.extend_from_slice(piece);
        self.rest = rest;
        !piece.is_empty()
    }

    fn left(&self) -> usize {
        self.input.len() + self.rest.len()
    }
}

/// Reads to the end of a reply. `left` is how many bytes there are after it.
fn read(arriving: &mut Arriving<'_>, reply: &mut Reply, left: usize) -> Vec<(Found, usize)> {
    let mut values = Vec::new();
    loop {
        let sink = |value: Option<&[u8]>, after| values.push((value.map(<[u8]>::to_vec), after));
        match reply.read(&mut arriving.input, sink).unwrap() {
            Progress::Done => return values,
            Progress::Short(missing) => {
                assert!(missing > 0 && missing <= arriving.rest.len() - left, "{missing} is no lower bound");
                assert!(arriving.next());
            }
            Progress::Refused(line) => panic!("{line:?}"),
        }
    }
}

fn skip(arriving: &mut Arriving<'_>, stale: &mut Stale) {
    while let Some(missing) = stale.skip(&mut arriving.input).unwrap() {
        assert!(missing > 0 && missing <= arriving.rest.len());
        assert!(arriving.next(), "it waits for what does not come");
    }
    assert!(stale.is_none());
}

fn assert_is(values: Vec<(Found, usize)>, expected: &[Found]) {
    let after = (0..expected.len()).rev();
    assert_eq!(values, expected.iter().cloned().zip(after).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn values_come_out_as_they_went_in(answers in vec(answer(), 1..6), cuts in vec(1_usize..400, 1..20)) {
        let bytes = answers.iter().map(Answer::bytes).collect::<Vec<_>>().concat();
        let mut arriving = Arriving::new(&bytes, &cuts);
        let mut left = bytes.len();
        for answer in &answers {
            left -= answer.bytes().len();
            let mut reply = answer.reply();
            prop_assert!(!reply.is_over());
            assert_is(read(&mut arriving, &mut reply, left), answer.values());
            prop_assert!(reply.is_over());
            prop_assert_eq!(arriving.left(), left);
        }
    }

    #[test]
    fn skipping_leaves_what_follows(
        replies in vec(any_reply(), 1..5),
        next in answer(),
        cuts in vec(1_usize..60, 1..20),
    ) {
        let bytes = [replies.concat(), next.bytes()].concat();
        let mut arriving = Arriving::new(&bytes, &cuts);
        let mut stale = Stale::default();
        replies.iter().for_each(|_| stale.add(Reply::ONE));
        skip(&mut arriving, &mut stale);
        prop_assert_eq!(arriving.left(), next.bytes().len());
        assert_is(read(&mut arriving, &mut next.reply(), 0), next.values());
    }

    /// Reads are given up at any byte, one after the other, each perhaps while the one before it is skipped.
    #[test]
    fn replies_that_were_given_up_are_skipped(
        given_up in vec((answer(), any::<prop::sample::Index>()), 1..5),
        next in answer(),
        cuts in vec(1_usize..400, 1..20),
    ) {
        let given = given_up.iter().map(|(answer, _)| answer.bytes()).collect::<Vec<_>>().concat();
        let bytes = [given, next.bytes()].concat();
        let mut arriving = Arriving::new(&bytes, &cuts);
        let mut stale = Stale::default();
        for (answer, pieces) in &given_up {
            let mut reply = answer.reply();
            let mut sink = |_: Option<&[u8]>, _| ();
            for _ in 0..pieces.index(8) {
                let missing = stale.skip(&mut arriving.input).unwrap().is_some()
                    || reply.read(&mut arriving.input, &mut sink).unwrap() != Progress::Done;
                // Nobody asked for the next one yet.
                if !missing || arriving.left() == next.bytes().len() || !arriving.next() {
                    break;
                }
            }
            stale.add(reply);
        }
        skip(&mut arriving, &mut stale);
        prop_assert_eq!(arriving.left(), next.bytes().len());
        assert_is(read(&mut arriving, &mut next.reply(), 0), next.values());
    }

    #[test]
    fn what_is_cut_off_is_never_whole(answer in answer(), cut in any::<prop::sample::Index>()) {
        let bytes = answer.bytes();
        let cut = cut.index(bytes.len());
        let mut values = Vec::new();
        let mut reply = answer.reply();
        let progress = reply.read(&mut BytesMut::from(&bytes[..cut]), |value, _| {
            values.push(value.map(<[u8]>::to_vec));
        });
        let Ok(Progress::Short(missing)) = progress else { panic!("{progress:?}") };
        prop_assert!(missing > 0 && cut + missing <= bytes.len());
        prop_assert!(answer.values().starts_with(&values) && values.len() < answer.values().len() || values.is_empty());
        let mut stale = Stale::default();
        stale.add(answer.reply());
        prop_assert!(stale.skip(&mut BytesMut::from(&bytes[..cut])).unwrap().is_some());
    }

    /// What is no reply, or another one, ends; in whatever pieces it comes, it ends alike.
    #[test]
    fn damage_is_noticed_or_harmless(
        replies in vec(prop_oneof![answer().prop_map(|answer| answer.bytes()), any_reply()], 1..4),
        damage in vec((any::<prop::sample::Index>(), prop_oneof![text(1..2), text(0..12)]), 1..6),
        many in prop::option::of(1_usize..12),
        cuts in vec(1_usize..60, 1..20),
    ) {
        let mut bytes = replies.concat();
        for (at, with) in damage {
            let at = at.index(bytes.len());
            bytes.splice(at..(at + 1).min(bytes.len()), with);
        }
        prop_assume!(!bytes.is_empty());
        let ends = |cuts: &[usize]| {
            let mut arriving = Arriving::new(&bytes, cuts);
            let (mut reply, mut values) = (many.map_or(Reply::ONE, Reply::many), Vec::new());
            loop {
                let sink = |value: Option<&[u8]>, after| values.push((value.map(<[u8]>::to_vec), after));
                match reply.read(&mut arriving.input, sink) {
                    Ok(Progress::Short(missing)) => assert!(missing > 0),
                    over => return (Some(over), arriving.left(), values),
                }
                if !arriving.next() {
                    return (None, arriving.left(), values);
                }
            }
        };
        let (over, left, values) = ends(&cuts);
        prop_assert!(values.len() <= many.unwrap_or(1));
        let whole = ends(&[bytes.len()]);
        if over != Some(Err(Malformed)) {
            prop_assert_eq!((over, left, values), whole);
        } else {
            prop_assert_eq!(whole.0, Some(Err(Malformed)));
        }

        let mut arriving = Arriving::new(&bytes, &cuts);
        let mut stale = Stale::default();
        replies.iter().for_each(|_| stale.add(Reply::ONE));
        while stale.skip(&mut arriving.input).is_ok_and(|missing| missing.is_some()) && arriving.next() {}
        prop_assert!(arriving.left() <= bytes.len());
    }

    #[test]
    fn requests_are_what_the_driver_would_send(
        lens in vec(prop_oneof![1_usize..12, 95_usize..105, Just(999), Just(4096)], 1..9),
        times in prop::sample::select(&[1_usize, 12, 120, 1100][..]),
        before in text(0..9),
    ) {
        let keys: Vec<_> = lens.iter().map(|&len| key("é".repeat(len / 2) + &"k".repeat(len % 2))).collect();
        let keys: Vec<_> = keys.iter().cycle().take(keys.len() * times).cloned().collect();
        let mut get = redis::cmd("GET");
        get.arg(keys[0].as_str());
        let mut mget = redis::cmd("MGET");
        keys.iter().for_each(|key| _ = mget.arg(key.as_str()));
        for (keys, many, command) in [(&keys[..1], false, get), (&keys[..], true, mget)] {
            let mut output = BytesMut::from(&before[..]);
            ask(&mut output, keys, many);
            prop_assert_eq!(output, [before.clone(), command.get_packed_command()].concat());
        }
    }
}

fn read_all(mut reply: Reply, bytes: &[u8]) -> (Result<Progress, Malformed>, Vec<Found>, Reply, BytesMut) {
    let (mut input, mut values) = (BytesMut::from(bytes), Vec::new());
    let progress = reply.read(&mut input, |value, _| values.push(value.map(<[u8]>::to_vec)));
    (progress, values, reply, input)
}

#[test]
fn refusals_are_told_from_values() {
    for reply in [Reply::ONE, Reply::many(3)] {
        let (progress, values, reply, rest) = read_all(reply, b"-NOPERM no\r\n$1\r\n");
        assert_eq!(progress, Ok(Progress::Refused(b"-NOPERM no\r\n"[..].into())));
        assert!(values.is_empty() && reply.is_over() && rest == b"$1\r\n"[..]);
        assert_eq!(read_all(reply, b"-NOPERM no\r").0, Ok(Progress::Done), "it is over");
    }
    assert_eq!(read_all(Reply::ONE, b"-NOPERM no\r").0, Ok(Progress::Short(1)));
}

/// As a proxy before several servers answers when one of them is down.
#[test]
fn a_refusal_among_values_refuses_all_of_them_and_the_others_are_skipped() {
    for at in 0..3 {
        let mut elements = [bulk(Some(b"a")), bulk(None), bulk(Some(b"c"))];
        elements[at] = b"-upstream failure\r\n".to_vec();
        let (progress, _, reply, mut rest) =
            read_all(Reply::many(3), &[array(&elements), bulk(Some(b"next"))].concat());
        assert_eq!(progress, Ok(Progress::Refused(b"-upstream failure\r\n"[..].into())), "{at}");
        let mut stale = Stale::default();
        stale.add(reply);
        assert_eq!(stale.skip(&mut rest), Ok(None));
        assert_eq!(rest, bulk(Some(b"next")), "{at}");
    }
}

#[test]
fn what_answers_no_read_is_malformed() {
    for (reply, bytes) in [
        (Reply::ONE, "*1\r\n"),
        (Reply::ONE, "*-1\r\n"),
        (Reply::ONE, "+OK\r\n"),
        (Reply::ONE, ":1\r\n"),
        (Reply::ONE, "_\r\n"),
        (Reply::ONE, "$-2\r\n"),
        (Reply::ONE, "$--1\r\n"),
        (Reply::ONE, "$\r\n"),
        (Reply::ONE, "$-\r\n"),
        (Reply::ONE, "$1\n\r"),
        (Reply::ONE, "$1\r\nabc"),
        (Reply::ONE, "$536870913\r\n"),
        (Reply::ONE, "$1234567890123456789"),
        (Reply::ONE, "-ERR\n"),
        (Reply::many(2), "*3\r\n"),
        (Reply::many(2), "*-1\r\n"),
        (Reply::many(2), "$1\r\na\r\n"),
        (Reply::many(1), "*1\r\n*1\r\n"),
    ] {
        assert_eq!(read_all(reply, bytes.as_bytes()).0, Err(Malformed), "{bytes:?}");
    }
    let endless = [b"-".as_slice(), &[b'x'; 70_000]].concat();
    assert_eq!(read_all(Reply::ONE, &endless).0, Err(Malformed));
}

#[test]
fn numbers_without_end_overflow_nothing() {
    let most = b"*999999999999999999\r\n".repeat(30);
    let mut stale = Stale::default();
    stale.add(Reply::ONE);
    let mut input = BytesMut::from(&most[..]);
    // More elements than can be counted are no reply.
    assert_eq!(stale.skip(&mut input), Err(Malformed));
    let left = input.len();
    assert!(left > 0);
    stale.add(Reply::ONE);
    for _ in 0..3 {
        stale.add(Reply::many(usize::MAX));
    }
    assert_eq!(stale.skip(&mut input), Err(Malformed));
    assert_eq!(input.len(), left, "it stays where it is");

    let (progress, ..) = read_all(Reply::ONE, b"$536870912\r\nabc");
    assert_eq!(progress, Ok(Progress::Short((512 << 20) + 2 - 3)));
}
