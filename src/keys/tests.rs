use std::collections::{BTreeSet, HashMap};

use cachex_core::{CacheError, ErrorKind};
use proptest::prelude::*;

use super::*;

fn keys() -> KeyBuilder {
    KeyBuilder::new("app", "prod").unwrap()
}

/// These are in people's Redis: whoever changes one makes their entries unreachable.
#[test]
fn golden_keys_never_change() {
    let keys = keys();
    let list = |list: ListKey<'_>| list.build().unwrap();
    let golden = [
        (keys.entity("user", 42).unwrap(), "app:prod:user:42"),
        (keys.entity("user", -1).unwrap(), "app:prod:user:-1"),
        (keys.entity("Größe", "日本 x").unwrap(), "app:prod:Größe:日本 x"),
        (keys.entity("a:b", "50%:{x}").unwrap(), "app:prod:a%3Ab:50%25%3A%7Bx%7D"),
        (keys.entity("user", "a\n\u{7f}\u{85}").unwrap(), "app:prod:user:a%0A%7F%C2%85"),
        (keys.entity("list", "x").unwrap(), "app:prod:%6Cist:x"),
        (keys.entity("session", "x").unwrap(), "app:prod:%73ession:x"),
        (keys.entity("lists", "list").unwrap(), "app:prod:lists:list"),
        (keys.session("abc:def").unwrap(), "app:prod:session:abc%3Adef"),
        (keys.composite("user", 1, "order", 2).unwrap(), "app:prod:user:1:order:2"),
        (keys.composite("list", "a", "session", "b").unwrap(), "app:prod:%6Cist:a:%73ession:b"),
        (KeyBuilder::new("a:p", "list").unwrap().session("s").unwrap(), "a%3Ap:list:session:s"),
        (list(keys.list("user")), "app:prod:list:user:1303899ab0c49bd5976cc053029747c32eab0f5a"),
        (list(keys.list("session")), "app:prod:list:%73ession:1303899ab0c49bd5976cc053029747c32eab0f5a"),
        (
            list(keys.list("user").filter("role", "admin").filter("active", true)),
            "app:prod:list:user:8133f80c340f8b1aa99ab8fb60e0e0880f216948",
        ),
        (
            list(keys.list("user").filter("age", 42u8).filter("boss", None::<&str>).filter("big", u128::MAX)),
            "app:prod:list:user:6956ec64a8dc4ea8274118ea5c30bb7f011e8332",
        ),
    ];
    for (key, text) in golden {
        assert_eq!(key.as_str(), text);
    }
}

#[test]
fn filters_are_a_set_of_typed_values() {
    let keys = keys();
    let hash = |filters: &[(&str, FilterValue)]| {
        keys.list("user").filters(filters.iter().map(|(name, value)| (*name, value.clone()))).filter_hash()
    };
    assert_eq!(
        hash(&[("a", 1.into()), ("b", 2.into())]),
        hash(&[("b", 2.into()), ("a", 1u64.into()), ("b", 2.into())])
    );
    let different = [
        hash(&[]),
        hash(&[("a", FilterValue::NOTHING)]),
        hash(&[("a", "".into())]),
        hash(&[("a", 1.into())]),
        hash(&[("a", "1".into())]),
        hash(&[("a", true.into())]),
        hash(&[("a", false.into())]),
        hash(&[("a", "true".into())]),
        hash(&[("a", 1.into()), ("a", 2.into())]),
        hash(&[("a", 1.into()), ("b", 2.into())]),
        hash(&[("a", 2.into()), ("b", 1.into())]),
        hash(&[("ab", "c".into())]),
        hash(&[("a", "bc".into())]),
        hash(&[("a", FilterValue::display(1.5))]),
        // The same bytes but for their lengths.
        hash(&[("a", "\u{3}b".into())]),
        hash(&[("a\u{3}", "b".into())]),
    ];
    assert_eq!(different.iter().collect::<BTreeSet<_>>().len(), different.len());
}

#[test]
fn errors_say_what_is_wrong() {
    let keys = keys();
    let empty = |part| KeyError::Empty { part };
    assert_eq!(KeyBuilder::new("", "x"), Err(empty("prefix")));
    assert_eq!(KeyBuilder::new("x", ""), Err(empty("namespace")));
    assert_eq!(keys.entity("", 1), Err(empty("entity")));
    assert_eq!(keys.entity("user", ""), Err(empty("id")));
    assert_eq!(keys.session(""), Err(empty("id")));
    assert_eq!(keys.composite("a", "b", "", "d"), Err(empty("entity")));
    assert_eq!(keys.composite("a", "b", "c", ""), Err(empty("id")));
    assert_eq!(keys.list("").build(), Err(empty("entity")));
    assert_eq!(keys.list("user").filter("", 1).build(), Err(empty("name of a filter")));

    let max = Key::MAX_LEN;
    let room = max - keys.head().len() - "user:".len();
    assert_eq!(keys.entity("user", "x".repeat(room)).unwrap().as_str().len(), max);
    assert_eq!(keys.entity("user", "x".repeat(room + 1)), Err(KeyError::TooLong { len: max + 1, max }));
    assert!(matches!(keys.entity("user", ":".repeat(room)), Err(KeyError::TooLong { .. })));
    assert!(matches!(KeyBuilder::new("p".repeat(max), "n"), Err(KeyError::TooLong { .. })));

    let error = CacheError::from(empty("id"));
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidKey, "the id of a key is empty"));
    assert!(std::error::Error::source(&error).unwrap().is::<KeyError>());
}

#[test]
fn refuses_to_read_what_it_would_not_write() {
    for text in [
        "a",
        "a:b",
        "a:b:c",
        "a:b:c:d:e",
        "a:b:c:d:e:f:g",
        ":b:c:d",
        "a::c:d",
        "a:b::d",
        "a:b:c:",
        "a:b:list:user:short",
        "a:b:list:user:1303899AB0C49BD5976CC053029747C32EAB0F5A",
        "a:b:list:1:list:2",
        "a:b:session:1:user:2",
        "a:b:c:%41",
        "a:b:c:%3a",
        "a:b:c:%",
        "a:b:c:%3",
        "a:b:c:%zz",
        "a:b:c:%+1",
        "a:b:c:%FF",
        "a:b:c:{d}",
        "%61:b:c:d",
        "a:b:%6Cisp:d",
        "a:b:c:%73ession",
    ] {
        let read = KeyBuilder::parse(&Key::new(text).unwrap());
        assert!(matches!(read, Err(KeyError::Foreign { .. })), "{text}: {read:?}");
    }
}

#[test]
fn debug_shows_no_id() {
    let keys = keys();
    let made = [
        keys.entity("user", "secret").unwrap(),
        keys.session("secret").unwrap(),
        keys.composite("user", "secret", "order", "secret").unwrap(),
    ];
    for key in made {
        let shown = format!("{:?}", KeyBuilder::parse(&key).unwrap());
        assert!(!shown.contains("secret") && shown.contains("app:prod:"), "{shown}");
    }
    let shown =
        format!("{:?} {:?}", keys.list("user").filter("secret", "secret"), FilterValue::from("secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

/// Parts that are likely to be mistaken for something else.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("list".to_owned()),
        Just("session".to_owned()),
        Just("%6Cist".to_owned()),
        "[a:%{}36C]{1,4}",
        "\\PC{1,6}",
        "(?s).{1,4}",
        "[0-9a-f]{40}",
    ]
}

/// One of each kind, with the builder's own parts.
fn parsed() -> impl Strategy<Value = ParsedKey> {
    let list = (part(), prop::collection::vec((part(), part()), 0..3)).prop_map(|(entity, filters)| {
        ParsedKey::List { filters: keys().list(&entity).filters(filters).filter_hash(), entity }
    });
    prop_oneof![
        (part(), part()).prop_map(|(entity, id)| ParsedKey::Entity { entity, id }),
        list,
        ((part(), part()), (part(), part()))
            .prop_map(|(first, second)| ParsedKey::Composite { first, second }),
        part().prop_map(|id| ParsedKey::Session { id }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_built_reads_back(prefix in part(), namespace in part(), parsed in parsed()) {
        let keys = KeyBuilder::new(&prefix, &namespace).unwrap();
        let key = parsed.build(&keys).unwrap();
        prop_assert_eq!(KeyBuilder::parse(&key), Ok((keys, parsed)));
    }

    #[test]
    fn different_parts_make_different_keys(
        made in prop::collection::vec(((part(), part()), parsed()), 2..12),
    ) {
        let mut seen = HashMap::new();
        for (head, parsed) in made {
            let key = parsed.build(&KeyBuilder::new(&head.0, &head.1).unwrap()).unwrap();
            let of = seen.entry(key).or_insert_with(|| (head.clone(), parsed.clone()));
            prop_assert_eq!(&*of, &(head, parsed));
        }
    }

    #[test]
    fn what_reads_is_written_the_same(text in "[a:%list36C{}]{1,16}") {
        let key = Key::new(&text).unwrap();
        if let Ok((keys, parsed)) = KeyBuilder::parse(&key) {
            prop_assert_eq!(parsed.build(&keys).unwrap(), key);
        }
    }

    #[test]
    fn different_filters_make_different_hashes(
        a in prop::collection::btree_set((part(), part()), 0..4),
        b in prop::collection::btree_set((part(), part()), 0..4),
    ) {
        let keys = keys();
        let hash = |filters: Vec<_>| keys.list("user").filters(filters).filter_hash();
        let forward: Vec<_> = a.iter().cloned().collect();
        let backward: Vec<_> = a.iter().rev().chain(&a).cloned().collect();
        prop_assert_eq!(hash(forward.clone()), hash(backward));
        prop_assert_eq!(hash(forward) == hash(b.iter().cloned().collect()), a == b);
    }
}
