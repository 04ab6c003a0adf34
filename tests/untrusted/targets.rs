//! Everything that reads bytes from outside, as functions that take any bytes and panic where a promise is broken.
//!
//! `main.rs` runs them on every test run; `fuzz/` hands them to libFuzzer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use cachex::keys::KeyBuilder;
use cachex::layers::encrypt::{EncryptLayer, EncryptionKey, KeyId, KeyRing};
use cachex::layers::envelope::{self, Cipher, Envelope, Unreadable};
use cachex::layers::serialize::{
    Bincode, Json, MessagePack, Postcard, Serialize as SerializeService, SerializeLayer,
};
use cachex::store::redis::RedisStore;
use cachex::{CacheError, CacheRequest, CacheResponse, CacheService, Codec, Encoded, Entry, ErrorKind, Key};
use cachex_core::StoredBytes;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

#[cfg_attr(not(test), expect(dead_code, reason = "messages are made and read here, but published by nobody"))]
#[path = "../../src/store/redis/pubsub/message.rs"]
mod message;

#[expect(dead_code, reason = "nothing is asked here")]
#[path = "../../src/store/redis/direct/resp.rs"]
mod resp;

/// A target and the inputs its mutations start from.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

pub(crate) const ALL: &[Target] = &[
    Target { name: "stored", run: stored, seeds: || [open_values(), vec![golden(TAGGED)]].concat() },
    Target { name: "codecs", run: codecs, seeds: payloads },
    Target { name: "sealed", run: sealed, seeds: sealed_values },
    Target { name: "keys", run: keys, seeds: key_texts },
    Target { name: "message", run: message, seeds: messages },
    Target { name: "reply", run: reply, seeds: replies },
    Target { name: "address", run: address, seeds: addresses },
];

/// The type whose values the golden files of the layers hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Country {
    code: String,
    population: u64,
    capital: Option<String>,
    borders: Vec<String>,
    notes: BTreeMap<String, i32>,
    rule: Rule,
    position: (f64, f64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Rule {
    Republic,
    Kingdom { since: u16 },
    Union(u8, bool),
}

const BINCODE: &str = include_str!("../../layers/tests/golden/v1-bincode.hex");
const JSON: &str = include_str!("../../layers/tests/golden/v1-json.hex");
const MESSAGE_PACK: &str = include_str!("../../layers/tests/golden/v1-message_pack.hex");
const POSTCARD: &str = include_str!("../../layers/tests/golden/v1-postcard.hex");
const SEALED: &str = include_str!("../../layers/tests/golden/v1-sealed.hex");
const SEALED_XAES: &str = include_str!("../../layers/tests/golden/v1-sealed-xaes.hex");
const TAGGED: &str = include_str!("../../layers/tests/golden/v1-tagged.hex");

fn golden(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn open_values() -> Vec<Vec<u8>> {
    [BINCODE, JSON, MESSAGE_PACK, POSTCARD].map(golden).into()
}

fn sealed_values() -> Vec<Vec<u8>> {
    [SEALED, SEALED_XAES].map(golden).into()
}

/// The key that the golden files were written under.
fn key() -> Key {
    Key::new("golden:v1").expect("a valid key")
}

thread_local! {
    static HELD: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// A store that holds the same bytes under every key: those that [`get`] was given.
#[derive(Clone)]
struct Holding;

impl<W: StoredBytes> Service<CacheRequest<W>> for Holding {
    type Response = CacheResponse<W>;
    type Error = CacheError;
    type Future = Ready<Result<CacheResponse<W>, CacheError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: CacheRequest<W>) -> Self::Future {
        ready(Ok(CacheResponse::Hit(Entry::new(W::from_bytes(HELD.with_borrow(Bytes::clone))))))
    }
}

/// A stack over [`Holding`], made once: it finds out the shape of its type.
type Stack<C> = LazyLock<SerializeService<Holding, C>>;

fn stack<C: Clone>(codec: C) -> SerializeService<Holding, C> {
    // When the golden files were written.
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let layer = SerializeLayer::new(codec).schema_version(3).on_unreadable(Unreadable::Error);
    layer.wall_clock(move || now).layer(Holding)
}

/// What a stack answers to a get when the store holds these bytes. It does not wait.
fn get<V>(mut stack: impl CacheService<V>, bytes: &[u8]) -> Result<CacheResponse<V>, CacheError> {
    HELD.set(Bytes::copy_from_slice(bytes));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = stack.poll_ready(cx) else { panic!("not ready") };
    let Poll::Ready(answer) = pin!(stack.call(CacheRequest::get(key()))).poll(cx) else { panic!("it waits") };
    answer
}

/// Values in the stored form: as they are, and as the payload of an envelope that is otherwise whole.
fn stored(bytes: &[u8]) {
    if let Ok(read) = Envelope::parse(bytes, &key()) {
        assert!(read.tags.clone().count() == read.tags.len(), "tags that are not there");
    }
    fn read<C: Codec<Country> + Clone>(
        codec: C,
        stack: &SerializeService<Holding, C>,
        whole: &str,
        bytes: &[u8],
    ) {
        let header = Envelope::parse(&golden(whole), &key()).expect("a golden file").header;
        let mut wrapped = Vec::new();
        envelope::begin(&mut wrapped, &header, &[]);
        wrapped.extend_from_slice(bytes);
        envelope::finish(&mut wrapped, 0, &key());
        for stored in [bytes, &wrapped] {
            if let Ok(CacheResponse::Hit(entry)) = get::<Country>(stack.clone(), stored) {
                again(&codec, &*entry.value);
            }
        }
    }
    static STACKS: (Stack<Bincode>, Stack<Json>, Stack<MessagePack>, Stack<Postcard>) = (
        LazyLock::new(|| stack(Bincode)),
        LazyLock::new(|| stack(Json)),
        LazyLock::new(|| stack(MessagePack)),
        LazyLock::new(|| stack(Postcard)),
    );
    read(Bincode, &STACKS.0, BINCODE, bytes);
    read(Json, &STACKS.1, JSON, bytes);
    read(MessagePack, &STACKS.2, MESSAGE_PACK, bytes);
    read(Postcard, &STACKS.3, POSTCARD, bytes);
}

/// A value that was read can be written, and what is then read is written alike.
fn again<T>(codec: &impl Codec<T>, value: &T) {
    let mut first = Vec::new();
    codec.encode(value, &mut first).expect("what was read can be written");
    let read = codec.decode(&first).expect("what was written can be read");
    let mut second = Vec::new();
    codec.encode(&read, &mut second).expect("what was read can be written");
    assert_eq!(first, second);
}

/// The codecs without an envelope.
fn codecs(bytes: &[u8]) {
    fn read<T>(bytes: &[u8])
    where
        Bincode: Codec<T>,
        Json: Codec<T>,
        MessagePack: Codec<T>,
        Postcard: Codec<T>,
    {
        fn one<T>(codec: &impl Codec<T>, bytes: &[u8]) {
            if let Ok(value) = codec.decode(bytes) {
                again(codec, &value);
            }
        }
        one::<T>(&Bincode, bytes);
        one::<T>(&Json, bytes);
        one::<T>(&MessagePack, bytes);
        one::<T>(&Postcard, bytes);
    }
    read::<Country>(bytes);
    // What lengths from outside could make large, or deep.
    read::<Vec<u64>>(bytes);
    read::<Vec<()>>(bytes);
    read::<Vec<Vec<Weightless>>>(bytes);
    read::<BTreeMap<String, Vec<String>>>(bytes);
    read::<Nested>(bytes);
}

/// Takes room, and no bytes.
#[derive(Serialize, Deserialize)]
struct Weightless {
    #[serde(skip)]
    _room: [u64; 4],
}

#[derive(Serialize, Deserialize)]
struct Nested(Option<Box<Nested>>, Vec<Nested>);

fn payloads() -> Vec<Vec<u8>> {
    let payload = |value: &Vec<u8>| {
        let read = Envelope::parse(value, &key()).expect("a golden file");
        read.clear_payload().expect("it is not sealed").to_vec()
    };
    open_values().iter().map(payload).collect()
}

/// Sealed values: nothing is taken but what was sealed.
fn sealed(bytes: &[u8]) {
    static WHOLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(sealed_values);
    for cipher in [Cipher::XChaCha20Poly1305, Cipher::Xaes256Gcm] {
        let key = EncryptionKey::from_bytes(&[0x42; 32]).expect("a key").with_cipher(cipher);
        let sealing = EncryptLayer::new(KeyRing::new(KeyId(7), key)).on_unreadable(Unreadable::Error);
        let opened = get::<Encoded>(sealing.layer(Holding), bytes);
        assert!(
            !matches!(opened, Ok(CacheResponse::Hit(_))) || WHOLE.iter().any(|whole| whole == bytes),
            "a forgery"
        );
    }
}

/// Keys, and the parts they are read back to.
fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(key) = Key::new(text) else { return };
    assert_eq!(key.as_str(), text);
    if let Ok((builder, parsed)) = KeyBuilder::parse(&key) {
        assert_eq!(parsed.build(&builder).expect("it can be made again"), key);
    }
}

fn key_texts() -> Vec<Vec<u8>> {
    let keys = KeyBuilder::new("app:1", "ns%").expect("a prefix and a namespace");
    let made = [
        keys.entity("user", "4:2").expect("a key"),
        keys.session("s%3A").expect("a key"),
        keys.composite("user", 1, "list", "é\n").expect("a key"),
        keys.list("user").filter("age", 3).build().expect("a key"),
    ];
    made.iter().map(|key| key.as_str().into()).collect()
}

/// Invalidation messages.
fn message(bytes: &[u8]) {
    let Some((publisher, keys)) = message::decode(bytes) else { return };
    assert!(!keys.is_empty(), "a message without keys");
    let written = message::encode(publisher, &keys);
    let read: Vec<_> =
        written.iter().map(|one| message::decode(one).expect("what was written can be read")).collect();
    assert!(read.iter().all(|(from, _)| *from == publisher));
    assert_eq!(read.into_iter().flat_map(|(_, keys)| keys).collect::<Vec<_>>(), keys);
}

fn messages() -> Vec<Vec<u8>> {
    let one = b"\xca\xc9\x01\x010123456789abcdef\x02\x00\x07\x00user:42\x03\x00\xc3\xa9t".to_vec();
    vec![one, b"\xca\xc9\x01\x010123456789abcdef\xff\xff\x01\x00a".to_vec()]
}

/// Replies to reads: the same values in however many pieces they come, and to skip one is to read it for nobody.
fn reply(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let whole = match first {
        0 => resp::Reply::ONE,
        values => resp::Reply::many(usize::from(values)),
    };
    let read = |piece: usize| {
        let (mut reply, mut input, mut values) = (whole, BytesMut::new(), Vec::new());
        let mut came = 0;
        let over = bytes.chunks(piece).find_map(|piece| {
            came += piece.len();
            input.extend_from_slice(piece);
            let sink = |value: Option<&[u8]>, after: usize| values.push((value.map(<[u8]>::to_vec), after));
            match reply.read(&mut input, sink) {
                Ok(resp::Progress::Short(missing)) => {
                    assert!(missing > 0, "nothing is missing");
                    None
                }
                over => Some(over),
            }
        });
        assert!(input.len() <= came, "more than came");
        // Where it makes no sense, what made some may have been taken before.
        let taken = if over == Some(Err(resp::Malformed)) { 0 } else { came - input.len() };
        (over, values, taken)
    };
    let at_once = read(bytes.len().max(1));
    for piece in [1, 7] {
        assert_eq!(read(piece), at_once);
    }
    let (over, values, taken) = at_once;
    assert!(values.len() <= usize::from(first).max(1), "too many values");
    let mut input = BytesMut::from(bytes);
    let mut stale = resp::Stale::default();
    stale.add(whole);
    let skipped = stale.skip(&mut input);
    if over == Some(Ok(resp::Progress::Done)) {
        assert_eq!((skipped, bytes.len() - input.len()), (Ok(None), taken));
        assert!(stale.is_none());
    }
}

fn replies() -> Vec<Vec<u8>> {
    [
        &b"\x00$5\r\nvalue\r\n$1\r\nb\r\n"[..],
        b"\x00$-1\r\n",
        b"\x00-WRONGTYPE Operation against a key\r\n",
        b"\x03*3\r\n$5\r\nvalue\r\n$-1\r\n$0\r\n\r\n*1\r\n",
        b"\x02*2\r\n$1\r\na\r\n-ERR upstream failure\r\n",
        b"\x00$536870912\r\nabc",
        b"\x01*1\r\n*999999999999999999\r\n:-12\r\n+OK\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// Addresses: refused with a typed error, and nobody gets to see a password.
fn address(bytes: &[u8]) {
    const SECRET: &str = "hunter2";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shown: Box<dyn Debug> = match RedisStore::connect(text) {
        Ok(store) => Box::new(store),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(!error.to_string().contains(SECRET), "an error tells the password");
            Box::new(error)
        }
    };
    // Elsewhere than in its place it is a path or the name of a host.
    if text.starts_with("redis://user:hunter2@")
        && text.matches(SECRET).count() == 1
        && text.matches('@').count() == 1
    {
        assert!(!format!("{shown:?}").contains(SECRET), "the password is shown");
    }
}

fn addresses() -> Vec<Vec<u8>> {
    [
        "redis://user:hunter2@cache.internal:6380/3",
        "rediss://:hunter2@[::1]:6380",
        "unix:///run/redis.sock?db=2&user=u&pass=p",
        "redis-sentinel://user:hunter2@one:26379,two,[::1]:5/primary/1",
        "redis-cluster://user:hunter2@one:7000,two:7001",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
