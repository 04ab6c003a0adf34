//! What waits for one subscriber: bounded, and never silently short of a message.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use cachex_core::{Invalidation, Key, Publisher};

/// How much may wait for a subscriber that does not read: about 4 MiB, by the estimate of [`News::weight`].
const CAPACITY: usize = 4 * 1024 * 1024;
/// What a key weighs beside its text.
const KEY_OVERHEAD: usize = 64;
/// What a message weighs beside its keys.
const MESSAGE_OVERHEAD: usize = 128;

/// A message with keys, shared by all mailboxes it is put into.
#[derive(Clone, Debug)]
pub(super) struct News {
    publisher: Publisher,
    keys: Arc<[Key]>,
    weight: usize,
}

impl News {
    pub(super) fn new(publisher: Publisher, keys: Vec<Key>) -> Self {
        let keys: Arc<[Key]> = keys.into();
        let weight =
            keys.iter().map(|key| key.as_str().len() + KEY_OVERHEAD).sum::<usize>() + MESSAGE_OVERHEAD;
        Self { publisher, keys, weight }
    }
}

#[derive(Debug)]
enum Item {
    News(News),
    Missed,
}

#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// The sum of the weights of `items`.
    weight: usize,
    /// The server has confirmed the subscription since the mailbox is there: what is published is heard.
    hears: bool,
    ended: bool,
    reader: Option<Waker>,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then wakes the reader.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Whether everything that is published reaches the mailbox, or a [`Invalidation::Missed`] in its place.
    pub(super) fn hears(&self) -> bool {
        self.state().hears
    }

    /// The server confirmed the subscription. Whoever heard before may have missed something in between.
    pub(super) fn confirm(&self) {
        self.change(|state| {
            if mem::replace(&mut state.hears, true) {
                state.miss();
            }
        });
    }

    /// Something may be missed from here on.
    pub(super) fn miss(&self) {
        self.change(|state| {
            if state.hears {
                state.miss();
            }
        });
    }

    /// Puts a message in; `false` when there was no room, so that its reader will be told that it missed some.
    pub(super) fn put(&self, news: &News) -> bool {
        self.change(|state| {
            // Before the confirmation nobody was promised anything.
            if state.ended || !state.hears {
                return true;
            }
            let fits = state.weight + news.weight <= CAPACITY;
            if fits {
                state.weight += news.weight;
                state.items.push_back(Item::News(news.clone()));
            } else {
                // What waits is among what the reader shall take for out of date: it can go as well.
                state.items = VecDeque::new();
                state.weight = 0;
                state.miss();
            }
            fits
        })
    }

    /// What is there is still read; after it the stream ends.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<(Publisher, Invalidation)>> {
        let mut state = self.state();
        match state.items.pop_front() {
            Some(Item::News(news)) => {
                state.weight -= news.weight;
                drop(state);
                Poll::Ready(Some((news.publisher, Invalidation::Keys(news.keys.to_vec()))))
            }
            Some(Item::Missed) => Poll::Ready(Some((Publisher::Other, Invalidation::Missed))),
            None if state.ended => Poll::Ready(None),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl State {
    /// Tells the reader once, however often it happens before it looks.
    fn miss(&mut self) {
        if !matches!(self.items.back(), Some(Item::Missed)) && !self.ended {
            self.items.push_back(Item::Missed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(name: &str) -> News {
        News::new(Publisher::Other, vec![Key::new(name).unwrap()])
    }

    fn take(mailbox: &Mailbox) -> Poll<Option<Invalidation>> {
        let mut cx = Context::from_waker(Waker::noop());
        mailbox.poll_take(&mut cx).map(|message| Some(message?.1))
    }

    fn keys(name: &str) -> Poll<Option<Invalidation>> {
        Poll::Ready(Some(Invalidation::Keys(vec![Key::new(name).unwrap()])))
    }

    const MISSED: Poll<Option<Invalidation>> = Poll::Ready(Some(Invalidation::Missed));

    #[test]
    fn a_gap_is_told_in_its_place() {
        let mailbox = Mailbox::default();
        mailbox.confirm();
        mailbox.put(&news("before"));
        mailbox.miss();
        mailbox.confirm();
        mailbox.put(&news("after"));
        assert_eq!(take(&mailbox), keys("before"));
        assert_eq!(take(&mailbox), MISSED);
        assert_eq!(take(&mailbox), keys("after"));
        assert_eq!(take(&mailbox), Poll::Pending);
        mailbox.miss();
        assert_eq!(take(&mailbox), MISSED);
        mailbox.confirm();
        assert_eq!(take(&mailbox), MISSED, "what was published meanwhile was missed as well");
    }

    #[test]
    fn nothing_is_told_before_the_first_confirmation() {
        let mailbox = Mailbox::default();
        mailbox.put(&news("early"));
        mailbox.miss();
        mailbox.confirm();
        assert_eq!(take(&mailbox), Poll::Pending);
        mailbox.end();
        assert_eq!(take(&mailbox), Poll::Ready(None));
    }

    #[test]
    fn what_does_not_fit_is_missed() {
        let mailbox = Mailbox::default();
        mailbox.confirm();
        let news_of_4k = News::new(Publisher::Own, vec![Key::new("k".repeat(Key::MAX_LEN)).unwrap()]);
        let mut fitted = 0;
        while mailbox.put(&news_of_4k) {
            fitted += 1;
        }
        assert!((900..1024).contains(&fitted), "{fitted}");
        assert_eq!(mailbox.state().weight, 0);
        assert!(mailbox.put(&news("next")));
        assert_eq!(take(&mailbox), MISSED);
        assert_eq!(take(&mailbox), keys("next"));
        assert_eq!(take(&mailbox), Poll::Pending);
        assert_eq!(mailbox.state().weight, 0);
    }

    #[test]
    fn what_is_there_is_read_after_the_end() {
        let mailbox = Mailbox::default();
        mailbox.confirm();
        mailbox.put(&news("last"));
        mailbox.end();
        mailbox.miss();
        mailbox.put(&news("late"));
        assert_eq!(take(&mailbox), keys("last"));
        assert_eq!(take(&mailbox), Poll::Ready(None));
    }
}
