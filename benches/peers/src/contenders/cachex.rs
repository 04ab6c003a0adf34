//! cachex itself: over the store alone, and through serialize and encrypt; each with and without batches.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cachex::core::StoredBytes;
use cachex::layers::{BatchLayer, Bincode, EncryptLayer, EncryptionKey, KeyId, KeyRing, SerializeLayer};
use cachex::store::redis::RedisStore;
use cachex::{Cache, CacheService, Encoded, IntoKey, Sealed, Ttl};
use tower_layer::Layer;

use super::{CONNECTIONS, Client, Contender, Failure, Kind, Material, Target, connections};
use crate::workload::{MGET_KEYS, Size};

/// How many connections a `RedisStore` has unless told.
const DEFAULT_CONNECTIONS: usize = 2;

/// How many values one MSET carries while the server is filled.
const FILL: usize = 500;

pub(super) async fn plain(target: &Target) -> Result<Contender, Failure> {
    contender("cachex", "cachex", Kind::Plain, |count| Ok(Plain(Cache::new(store(target, count)?))))
}

pub(super) async fn batched(target: &Target) -> Result<Contender, Failure> {
    contender("cachex-batch", "cachex, batch", Kind::Plain, |count| {
        Ok(Plain(Cache::new(BatchLayer::new().layer(store(target, count)?))))
    })
}

pub(super) async fn sealed(target: &Target) -> Result<Contender, Failure> {
    sealed_over("cachex-sealed", "cachex, serialize + encrypt", |count| Ok(store(target, count)?.sealed()))
        .await
}

pub(super) async fn sealed_batched(target: &Target) -> Result<Contender, Failure> {
    sealed_over("cachex-sealed-batch", "cachex, serialize + encrypt + batch", |count| {
        Ok(BatchLayer::new().layer(store(target, count)?.sealed()))
    })
    .await
}

async fn sealed_over<S: CacheService<Sealed> + Sync>(
    id: &'static str,
    title: &'static str,
    store: impl Fn(usize) -> Result<S, Failure>,
) -> Result<Contender, Failure> {
    let keys = keys()?;
    let stack = |count| -> Result<_, Failure> {
        let encrypt = EncryptLayer::new(keys.clone()).layer(store(count)?);
        Ok(Typed(Cache::new(SerializeLayer::new(Bincode).layer(encrypt))))
    };
    fill(&stack(DEFAULT_CONNECTIONS)?.0).await?;
    contender(id, title, Kind::Sealed, stack)
}

/// One for all who seal: they share their values.
fn keys() -> Result<KeyRing, Failure> {
    static KEYS: OnceLock<KeyRing> = OnceLock::new();
    let new = KeyRing::new(KeyId(1), EncryptionKey::generate()?);
    Ok(KEYS.get_or_init(|| new).clone())
}

fn contender<C: Client>(
    id: &'static str,
    title: &'static str,
    kind: Kind,
    client: impl Fn(usize) -> Result<C, Failure>,
) -> Result<Contender, Failure> {
    let material = Material::new()?;
    let mut contender = Contender::new(id, title, kind);
    for count in CONNECTIONS {
        let is_default = count == DEFAULT_CONNECTIONS;
        contender.setting(connections(count), is_default, &material, vec![client(count)?]);
    }
    Ok(contender)
}

fn store(target: &Target, connections: usize) -> Result<RedisStore, Failure> {
    Ok(RedisStore::builder().url(&target.url).connections(connections).build()?)
}

/// Stores the values that only a sealing stack can write.
async fn fill<S: CacheService<String>>(cache: &Cache<String, S>) -> Result<(), Failure> {
    for size in Size::ALL {
        let indices: Vec<usize> = size.indices().collect();
        for some in indices.chunks(FILL) {
            let entries = some
                .iter()
                .map(|n| Ok((size.key(Typed::<S>::SPACE, *n).as_str().into_key()?, text(size.value(*n))?)))
                .collect::<Result<Vec<_>, Failure>>()?;
            cache.mset(entries, Ttl::Never).await?;
        }
    }
    Ok(())
}

fn text(bytes: Bytes) -> Result<String, Failure> {
    Ok(String::from_utf8(bytes.into())?)
}

/// The bytes as they are: no codec, what the peers do.
#[derive(Clone)]
struct Plain<S>(Cache<Encoded, S>);

impl<S: CacheService<Encoded> + Sync> Client for Plain<S> {
    type Value = Bytes;
    type Reply = Reply<Encoded>;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Self::Reply>, Failure> {
        Ok(self.0.get(key).await.map_err(boxed)?.map(Reply))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        self.0.set(key, Encoded::from_bytes(value.clone()), Ttl::Never).await.map_err(boxed)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Self::Reply>>, Failure> {
        let found = self.0.mget(keys).await.map_err(boxed)?;
        Ok(found.into_iter().map(|value| value.map(Reply)).collect())
    }
}

/// Values of a type of one's own: text.
#[derive(Clone)]
struct Typed<S>(Cache<String, S>);

impl<S: CacheService<String> + Sync> Client for Typed<S> {
    type Value = Arc<String>;
    type Reply = Reply<String>;

    const SPACE: &'static str = "sealed";

    fn value(bytes: Bytes) -> Result<Arc<String>, Failure> {
        text(bytes).map(Arc::new)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Self::Reply>, Failure> {
        Ok(self.0.get(key).await.map_err(boxed)?.map(Reply))
    }

    async fn set(&mut self, key: &str, value: &Arc<String>) -> Result<(), Failure> {
        self.0.set(key, Arc::clone(value), Ttl::Never).await.map_err(boxed)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Self::Reply>>, Failure> {
        let found = self.0.mget(keys).await.map_err(boxed)?;
        Ok(found.into_iter().map(|value| value.map(Reply)).collect())
    }
}

fn boxed(error: impl Error + Send + Sync + 'static) -> Failure {
    error.into()
}

/// A value as the cache hands it out.
struct Reply<V>(Arc<V>);

impl AsRef<[u8]> for Reply<Encoded> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl AsRef<[u8]> for Reply<String> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
