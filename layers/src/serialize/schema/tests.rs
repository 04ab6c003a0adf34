use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error};

use super::{describe, structural_fingerprint};

fn shown<T: DeserializeOwned>() -> String {
    String::from_utf8(describe::<T>(false)).unwrap()
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
struct User {
    id: u64,
    name: String,
    mails: Vec<String>,
    manager: Option<Box<User>>,
}

#[test]
fn a_struct_is_seen_whole() {
    assert_eq!(shown::<User>(), "c4:Userr4(2:id3:u644:name3:str5:mailss3:str7:managero#0;)");
}

#[test]
fn any_change_that_serde_sees_changes_it() {
    mod v2 {
        #[derive(serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape is of interest")]
        pub(super) struct User {
            id: u32,
            name: String,
            mails: Vec<String>,
            manager: Option<Box<User>>,
        }
    }
    mod renamed {
        #[derive(serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape is of interest")]
        pub(super) struct User {
            id: u64,
            #[serde(rename = "title")]
            name: String,
            mails: Vec<String>,
            manager: Option<Box<User>>,
        }
    }
    let first = structural_fingerprint::<User>(false);
    assert_ne!(first, structural_fingerprint::<v2::User>(false));
    assert_ne!(first, structural_fingerprint::<renamed::User>(false));
    assert_ne!(structural_fingerprint::<Vec<User>>(false), first);
    assert_ne!(structural_fingerprint::<Vec<u8>>(false), structural_fingerprint::<Vec<u16>>(false));
    assert_ne!(structural_fingerprint::<[u8; 3]>(false), structural_fingerprint::<[u8; 4]>(false));
    assert_ne!(
        structural_fingerprint::<BTreeMap<u8, bool>>(false),
        structural_fingerprint::<BTreeMap<bool, u8>>(false)
    );
    // How text and binary formats see an address differs.
    assert_ne!(structural_fingerprint::<IpAddr>(false), structural_fingerprint::<IpAddr>(true));
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
enum Shade {
    Light,
    Dark { by: u8 },
    Mixed(Box<Tone>, f32),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
enum Tone {
    Warm(Shade),
    Cold(HashMap<String, Tone>),
    None,
}

#[test]
fn every_variant_of_nested_enums_is_seen() {
    let shape =
        "c5:Shadee3(5:Lightu4:Darkr1(2:by2:u8)5:Mixedt2(c4:Tonee3(4:Warmn#0;4:Coldnm3:str#1;4:Noneu)3:f32))";
    assert_eq!(shown::<Shade>(), shape);
    // The walk starts elsewhere and sees the same parts.
    assert!(!shown::<(Tone, Shade)>().contains('?'));
}

/// The first variant leads back to the type: without a bound the walk would not end.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Call { name: String, args: Vec<Expr> },
    Wrap(Box<Wrapped>),
    Literal(i64),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
struct Wrapped {
    inner: Expr,
}

#[test]
fn recursion_ends() {
    let shape = shown::<Expr>();
    assert!(!shape.contains('?'), "{shape}");
    assert!(shape.contains("7:Literaln3:i64"), "{shape}");
}

/// A type without a finite value.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
struct Endless {
    next: Box<Endless>,
}

#[test]
fn an_endless_type_is_given_up() {
    assert!(shown::<Endless>().starts_with("c7:Endlessr1(4:next"));
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
struct Checked {
    count: NonZeroU32,
    address: IpAddr,
    lived: Duration,
    #[serde(deserialize_with = "date")]
    born: String,
    after: bool,
}

fn date<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() == 10 && text.as_bytes()[4] == b'-' {
        Ok(text)
    } else {
        Err(D::Error::custom("not a date"))
    }
}

#[test]
fn types_that_check_their_data_are_seen() {
    for human_readable in [false, true] {
        let shape = String::from_utf8(describe::<Checked>(human_readable)).unwrap();
        assert!(shape.ends_with("5:after4:bool)"), "{shape}");
        assert!(!shape.contains('?'), "{shape}");
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
#[serde(untagged)]
enum Loose {
    Number { n: u64 },
    Text { t: String },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is of interest")]
enum Partly {
    First(Loose),
    Second { x: u8 },
}

#[test]
fn what_cannot_be_seen_costs_that_part_only() {
    assert_eq!(shown::<Partly>(), "c6:Partlye2(5:Firstn3:any6:Secondr1(1:x2:u8))");
}

#[test]
fn a_panic_is_caught() {
    struct Bomb;
    impl<'de> Deserialize<'de> for Bomb {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("planted")
        }
    }
    assert_eq!(shown::<Bomb>(), "?");
    assert_eq!(shown::<Option<Bomb>>(), "o?");
}

#[test]
fn a_wide_type_is_cut_off() {
    // 2^30 leaves: the bound is what ends it.
    type Wide<T> = [Box<T>; 32];
    let shape = shown::<Wide<Wide<Wide<Wide<Wide<Wide<u8>>>>>>>();
    assert!(shape.starts_with("t32("));
}
