//! The ways to Redis that are compared.

mod cachex;
mod deadpool;
mod fred;
mod redis;
mod redis_tower;
mod rustis;

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::load::{Drive, Driver};
use crate::workload::{MGET_KEYS, Size};

/// Why a contender is out of the race, and the run with it.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The keys of the values that all but the sealed contenders share.
pub const PLAIN: &str = "plain";

/// One caller's way to Redis.
///
/// Keys come as the text that a caller has just put together, as in a service that was asked for something by its number.
/// Prepared beforehand, most of what is measured would be the bench's own misses of the processor's caches. Values are
/// prepared, in the form that suits the client best.
pub trait Client: Clone + Send + Sync + 'static {
    type Value: Send + Sync + 'static;
    type Reply: AsRef<[u8]> + Send;

    /// Names the key space.
    const SPACE: &'static str = PLAIN;

    fn value(bytes: Bytes) -> Result<Self::Value, Failure>;

    fn get(&mut self, key: &str) -> impl Future<Output = Result<Option<Self::Reply>, Failure>> + Send;

    fn set(&mut self, key: &str, value: &Self::Value) -> impl Future<Output = Result<(), Failure>> + Send;

    fn mget(
        &mut self,
        keys: [&str; MGET_KEYS],
    ) -> impl Future<Output = Result<Vec<Option<Self::Reply>>, Failure>> + Send;
}

/// The values of both sizes in the form of one client, shared by all settings of a contender.
pub struct Material<C: Client> {
    small: Vec<C::Value>,
    large: Vec<C::Value>,
}

impl<C: Client> Material<C> {
    pub fn new() -> Result<Arc<Self>, Failure> {
        let values = |size: Size| size.indices().map(|n| C::value(size.value(n))).collect::<Result<_, _>>();
        Ok(Arc::new(Self { small: values(Size::Small)?, large: values(Size::Large)? }))
    }

    pub fn values(&self, size: Size) -> &[C::Value] {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }
}

/// What a contender is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cachex, the bytes as they are.
    Plain,
    /// cachex, with serialize and encrypt.
    Sealed,
    /// Another client.
    Peer,
}

/// One way to Redis in several settings, of which the best counts.
pub struct Contender {
    /// How `--only` calls it.
    pub id: &'static str,
    /// How the tables call it.
    pub title: &'static str,
    pub kind: Kind,
    pub settings: Vec<Setting>,
}

/// A contender as it was set up.
pub struct Setting {
    pub label: String,
    /// Whether it is what a user gets who sets nothing.
    pub is_default: bool,
    pub drive: Box<dyn Drive>,
}

impl Contender {
    fn new(id: &'static str, title: &'static str, kind: Kind) -> Self {
        Self { id, title, kind, settings: Vec::new() }
    }

    /// Adds a setting. Callers share `clients` evenly, each keeping to one.
    fn setting<C: Client>(
        &mut self,
        label: impl Into<String>,
        is_default: bool,
        material: &Arc<Material<C>>,
        clients: Vec<C>,
    ) {
        let drive = Box::new(Driver::new(clients, Arc::clone(material)));
        self.settings.push(Setting { label: label.into(), is_default, drive });
    }
}

/// How many connections those contenders have that leave the choice to their user.
const CONNECTIONS: [usize; 3] = [1, 2, 4];

fn connections(count: usize) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

/// The contender that the others' tail latency is compared with.
pub const BARE: &str = "redis";

/// Where the server is.
pub struct Target {
    pub url: String,
    /// Host and port.
    pub addr: String,
}

type Connect = for<'a> fn(&'a Target) -> Connecting<'a>;
type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Contender, Failure>> + 'a>>;

/// Everyone, by the names that `--only` knows, in the order of the tables.
const ALL: &[(&str, Connect)] = &[
    ("cachex", |target| Box::pin(cachex::plain(target))),
    ("cachex-batch", |target| Box::pin(cachex::batched(target))),
    ("cachex-sealed", |target| Box::pin(cachex::sealed(target))),
    ("cachex-sealed-batch", |target| Box::pin(cachex::sealed_batched(target))),
    (BARE, |target| Box::pin(redis::multiplexed(target))),
    ("redis-manager", |target| Box::pin(redis::manager(target))),
    ("deadpool", |target| Box::pin(deadpool::checkout(target))),
    ("fred", |target| Box::pin(fred::pool(target))),
    ("rustis", |target| Box::pin(rustis::multiplexed(target))),
    ("redis-tower", |target| Box::pin(redis_tower::multiplexed(target))),
];

/// What `--only` can name.
pub fn ids() -> Vec<&'static str> {
    ALL.iter().map(|(id, _)| *id).collect()
}

/// Connects those contenders that are wanted. The server holds the plain values already.
pub async fn connect(target: &Target, wanted: impl Fn(&str) -> bool) -> Result<Vec<Contender>, Failure> {
    let mut contenders = Vec::new();
    for (id, connect) in ALL.iter().filter(|(id, _)| wanted(id)) {
        let contender = connect(target).await.map_err(|e| format!("{id}: {e}"))?;
        contenders.push(contender);
    }
    Ok(contenders)
}
