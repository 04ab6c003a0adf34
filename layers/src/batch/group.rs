//! Callers that wait together, and what they are answered.

use std::sync::Arc;
use std::task::Waker;

use cachex_core::{CacheError, CacheResponse, Entry, FillToken, Key};
use tokio::runtime::Handle;

const NONE: u32 = u32::MAX;

/// Callers whose reads go out together. Slots are used again, so a group that was full once does not allocate any more.
pub(super) struct Group<V> {
    pub(super) phase: Phase<V>,
    /// Callers who have neither left nor taken their answer.
    pub(super) live: usize,
    /// Whom to wake when nobody waits for the batch any more.
    pub(super) sender: Option<Waker>,
    /// Where to send it from.
    pub(super) runtime: Option<Handle>,
    slots: Vec<Slot>,
    /// The first of the slots whose callers left while the group gathered.
    vacant: u32,
    key_bytes: usize,
}

/// One caller.
struct Slot {
    /// Present while the group gathers and the caller waits.
    key: Option<Key>,
    waker: Option<Waker>,
    /// Once sent, which of the keys is the caller's; in a vacant slot, the next vacant one.
    at: u32,
}

/// How far a group has come. Gathering => Sent => Answered, and back to Gathering when the last caller is gone.
pub(super) enum Phase<V> {
    Gathering,
    Sent,
    Answered(Answers<V>),
}

/// What came back for the keys of a group.
pub(super) enum Answers<V> {
    /// For its only key.
    One(Result<Entry<V>, FillToken>),
    /// For each of its keys. `shared` when some of them are more than one caller's.
    Many { entries: Vec<Option<Entry<V>>>, keys: Arc<[Key]>, shared: bool },
    /// An error that befalls them all.
    Failed(CacheError),
    /// An error that may be due to one of them: each asks for itself.
    Split(Arc<[Key]>),
}

/// What a caller is told.
pub(super) enum Told<V> {
    Answer(Result<CacheResponse<V>, CacheError>),
    /// To ask for this key alone.
    Alone(Key),
}

impl<V> Group<V> {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Gathering,
            live: 0,
            sender: None,
            runtime: None,
            slots: Vec::new(),
            vacant: NONE,
            key_bytes: 0,
        }
    }

    /// Whether one more key of `bytes` fits in.
    #[inline]
    pub(super) fn has_room(&self, bytes: usize, max_keys: usize, max_bytes: usize) -> bool {
        self.live < max_keys && self.key_bytes + bytes <= max_bytes
    }

    /// Takes a caller in; answers its slot.
    #[inline]
    pub(super) fn seat(&mut self, key: Key, waker: Waker) -> u32 {
        self.live += 1;
        self.key_bytes += key.as_str().len();
        let slot = Slot { key: Some(key), waker: Some(waker), at: NONE };
        if self.vacant == NONE {
            self.slots.push(slot);
            return (self.slots.len() - 1) as u32;
        }
        let at = self.vacant;
        self.vacant = self.slots[at as usize].at;
        self.slots[at as usize] = slot;
        at
    }

    /// Lets a caller go; answers its waker, which must not be dropped under the lane's lock.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<Waker> {
        self.live -= 1;
        let vacated = &mut self.slots[slot as usize];
        if let Some(key) = vacated.key.take() {
            self.key_bytes -= key.as_str().len();
            vacated.at = self.vacant;
            self.vacant = slot;
        }
        vacated.waker.take()
    }

    /// Has `waker` woken when there is an answer; answers the waker it replaces.
    pub(super) fn register(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
        let registered = &mut self.slots[slot as usize].waker;
        match registered {
            Some(known) if known.will_wake(waker) => None,
            _ => registered.replace(waker.clone()),
        }
    }

    /// Moves the keys into `keys`, each once, and tells every caller which one is its own. `table` is scratch.
    pub(super) fn collect_keys(&mut self, keys: &mut Vec<Key>, table: &mut Vec<u32>) {
        // Open addressing, at most half full, by bits of the hash that did not choose the lane.
        let size = (2 * self.live).next_power_of_two();
        table.clear();
        table.resize(size, NONE);
        keys.reserve(self.live);
        for slot in &mut self.slots {
            let Some(key) = slot.key.take() else { continue };
            let mut probe = key.hash_code() as usize;
            slot.at = loop {
                let place = &mut table[probe & (size - 1)];
                if *place == NONE {
                    *place = keys.len() as u32;
                    keys.push(key);
                    break *place;
                }
                if keys[*place as usize] == key {
                    break *place;
                }
                probe += 1;
            };
        }
    }

    /// What the caller in this slot is told, who is then gone; `None` while there is nothing to tell.
    ///
    /// A miss is an answer only where `unfenced`: where misses hand out fences, a caller has to ask for its own.
    pub(super) fn tell(&mut self, slot: u32, unfenced: bool) -> Option<Told<V>> {
        let Phase::Answered(answers) = &mut self.phase else { return None };
        let at = self.slots[slot as usize].at as usize;
        self.live -= 1;
        Some(match answers {
            Answers::One(Ok(entry)) => Told::hit(entry.clone()),
            Answers::One(Err(token)) => Told::Answer(Ok(CacheResponse::Miss(*token))),
            Answers::Many { entries, keys, shared } => match &mut entries[at] {
                Some(entry) if *shared => Told::hit(entry.clone()),
                found @ Some(_) => found.take().map_or_else(|| Told::Alone(keys[at].clone()), Told::hit),
                None if unfenced => Told::Answer(Ok(CacheResponse::Miss(FillToken::UNFENCED))),
                None => Told::Alone(keys[at].clone()),
            },
            Answers::Failed(error) => Told::Answer(Err(error.clone())),
            Answers::Split(keys) => Told::Alone(keys[at].clone()),
        })
    }

    /// Moves the wakers of all who wait into `wakers`.
    pub(super) fn collect_wakers(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.slots.iter_mut().filter_map(|slot| slot.waker.take()));
    }

    /// Makes the group ready for others when its last caller is gone; answers what must not be dropped under the lock.
    pub(super) fn reset(&mut self) -> Phase<V> {
        self.slots.clear();
        self.vacant = NONE;
        self.key_bytes = 0;
        std::mem::replace(&mut self.phase, Phase::Gathering)
    }
}

impl<V> Told<V> {
    fn hit(entry: Entry<V>) -> Self {
        Self::Answer(Ok(CacheResponse::Hit(entry)))
    }
}
