//! The types keep the order of the layers right.
//!
//! Whether a stack is a cache service of a type is asked of the compiler itself, which does not depend on the words of its
//! errors. The documentation of the encrypt and serialize modules shows the same stacks as examples that must not compile.

use std::marker::PhantomData;

use cachex_core::{BoxCacheService, CacheService, Encoded, Sealed, SealedOnly};
use cachex_layers::encrypt::Encrypt;
use cachex_layers::serialize::{Bincode, Serialize};

struct Stack<S, V>(PhantomData<(S, V)>);

/// Found first, where it applies.
impl<V, S: CacheService<V>> Stack<S, V> {
    const SERVES: bool = true;
}

/// Found otherwise.
trait Refused {
    const SERVES: bool = false;
}

impl<S, V> Refused for Stack<S, V> {}

type Bytes = BoxCacheService<Encoded>;
type Seals = BoxCacheService<Sealed>;

#[test]
fn the_right_orders_compile() {
    const { assert!(Stack::<Serialize<Bytes, Bincode>, String>::SERVES) };
    const { assert!(Stack::<Serialize<Encrypt<Seals>, Bincode>, String>::SERVES) };
    const { assert!(Stack::<Serialize<Encrypt<SealedOnly<Seals>>, Bincode>, String>::SERVES) };
}

#[test]
fn the_wrong_orders_do_not() {
    // Encrypt above serialize.
    const { assert!(!Stack::<Encrypt<Serialize<Seals, Bincode>>, String>::SERVES) };
    const { assert!(!Stack::<Encrypt<Serialize<Bytes, Bincode>>, Encoded>::SERVES) };
    // Clear bytes for a store that was declared sealed.
    const { assert!(!Stack::<Serialize<SealedOnly<Seals>, Bincode>, String>::SERVES) };
    // A typed value for a store of bytes, or for encrypt.
    const { assert!(!Stack::<Bytes, String>::SERVES) };
    const { assert!(!Stack::<Encrypt<Seals>, String>::SERVES) };
    // Sealed twice, encoded twice.
    const { assert!(!Stack::<Encrypt<Encrypt<Seals>>, Encoded>::SERVES) };
    const { assert!(!Stack::<Serialize<Serialize<Bytes, Bincode>, Bincode>, String>::SERVES) };
}
