//! Tags as generations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cachex_core::{KeyHashBuilder, Tag, Tags};

use super::lock;

/// The time of a tag between two invalidations. Entries hold the generations they were stored under, so a generation
/// that the registry has forgotten is as good as ever to tell whether it has ended, and a new one is never mistaken for it.
#[derive(Debug, Default)]
pub(super) struct Generation {
    ended: AtomicBool,
}

/// The generations an entry depends on. Nothing, for an entry without tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamp(Option<Arc<Vec<Arc<Generation>>>>);

impl Stamp {
    pub(super) fn is_valid(&self) -> bool {
        match &self.0 {
            None => true,
            Some(generations) => generations.iter().all(|one| !one.ended.load(Ordering::Acquire)),
        }
    }

    /// The union with another stamp.
    pub(super) fn and(&self, other: &Self) -> Self {
        let (Some(ours), Some(theirs)) = (&self.0, &other.0) else {
            return if self.0.is_some() { self.clone() } else { other.clone() };
        };
        let new = theirs.iter().filter(|one| !ours.iter().any(|other| Arc::ptr_eq(one, other)));
        Self(Some(Arc::new(ours.iter().chain(new).cloned().collect())))
    }

    /// How many tags it stands for.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |generations| generations.len())
    }
}

/// The present generation of every tag that some entry carries.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    generations: HashMap<Tag, Arc<Generation>, KeyHashBuilder>,
    /// Forget what no entry holds when there are this many.
    tidy_at: usize,
}

/// A registry smaller than this is not worth tidying.
const TIDY_FROM: usize = 256;

impl Registry {
    /// The present generations of these tags.
    pub(super) fn stamp(&self, tags: &Tags) -> Stamp {
        if tags.is_empty() {
            return Stamp::default();
        }
        let mut present = lock(&self.0);
        let stamp = tags
            .as_slice()
            .iter()
            .map(|tag| Arc::clone(present.generations.entry(tag.clone()).or_default()))
            .collect();
        if present.generations.len() >= present.tidy_at.max(TIDY_FROM) {
            // The lock is held, so what only the registry holds nobody can be about to use.
            present.generations.retain(|_, one| Arc::strong_count(one) > 1);
            present.tidy_at = present.generations.len() * 2;
        }
        Stamp(Some(Arc::new(stamp)))
    }

    /// Ends the present generations of these tags.
    pub(super) fn end(&self, tags: &Tags) {
        let mut present = lock(&self.0);
        for tag in tags.as_slice() {
            if let Some(generation) = present.generations.remove(tag) {
                generation.ended.store(true, Ordering::Release);
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).generations.len()
    }
}

#[cfg(test)]
mod tests {
    use cachex_core::IntoTags;

    use super::*;

    #[test]
    fn forgets_what_nobody_holds_and_nothing_else() {
        let registry = Registry::default();
        let kept = registry.stamp(&["kept"].into_tags().unwrap());
        for n in 0..100_000 {
            let _ = registry.stamp(&[n.to_string()].into_tags().unwrap());
        }
        assert!(registry.len() <= TIDY_FROM + 1, "{}", registry.len());
        assert!(kept.is_valid());
        registry.end(&["kept"].into_tags().unwrap());
        assert!(!kept.is_valid());
        assert!(registry.stamp(&["kept"].into_tags().unwrap()).is_valid());
    }

    #[test]
    fn a_union_has_no_duplicates() {
        let registry = Registry::default();
        let [ab, bc] = [["a", "b"], ["b", "c"]].map(|tags| registry.stamp(&tags.into_tags().unwrap()));
        assert_eq!(ab.and(&bc).len(), 3);
        assert_eq!(ab.and(&Stamp::default()).len(), 2);
        assert_eq!(Stamp::default().and(&bc).len(), 2);
    }
}
