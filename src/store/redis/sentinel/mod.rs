//! Which server is the primary, in the words of the sentinels that watch over it.
//!
//! Three things lead to the primary. Every new connection asks a sentinel for it and the server for its role. A task per
//! sentinel listens for `+switch-master` and asks once in a while, so that a primary that was replaced while it stayed in
//! reach (and goes on answering, and even taking writes, for seconds) is left at once. And what sentinels say is put in
//! order by the epoch of their configuration, so that one who has not heard yet leads nobody back.

mod ask;
mod search;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachex_core::CacheError;

use self::search::Search;
use super::address::Endpoint;
use super::connection::Transport;
use super::credentials::Credentials;

/// The port of a sentinel that is named without one.
pub(super) const DEFAULT_PORT: u16 = 26379;

/// Whom to ask, for what, and how.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    /// What they call the primary.
    pub(super) master: String,
    pub(super) nodes: Vec<Endpoint>,
    pub(super) transport: Transport,
    pub(super) credentials: Option<Credentials>,
}

/// What a sentinel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) primary: Endpoint,
    /// The epoch of its configuration: it grows with every failover. Zero when the sentinel does not tell.
    epoch: u64,
}

/// What is known of the primary of one store.
pub(super) struct Guide {
    sentinels: Sentinels,
    /// How long asking one sentinel may take, so that a silent one leaves time for the others.
    patience: Duration,
    known: Mutex<Option<Answer>>,
    /// Counts the times another server became the primary. Written under the lock.
    moves: AtomicU64,
    /// The sentinel that answered last.
    first: AtomicUsize,
    /// Whether tasks listen.
    watched: AtomicBool,
    /// Dropped, or told, when they shall end.
    end: tokio::sync::watch::Sender<bool>,
}

impl Guide {
    pub(super) fn new(
        sentinels: &Sentinels,
        servers: &Transport,
        connect_timeout: Duration,
    ) -> Result<Arc<Self>, CacheError> {
        for node in &sentinels.nodes {
            // A certificate that cannot be read is told to whoever builds the store.
            sentinels.transport.info(node)?;
            servers.info(node)?;
        }
        let shares = u32::try_from(sentinels.nodes.len()).unwrap_or(u32::MAX).saturating_add(1);
        Ok(Arc::new(Self {
            sentinels: sentinels.clone(),
            patience: connect_timeout / shares,
            known: Mutex::new(None),
            moves: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            end: tokio::sync::watch::Sender::new(false),
        }))
    }

    /// Begins to look for the primary.
    pub(super) fn search(&self) -> Search<'_> {
        Search::new(self)
    }

    #[inline]
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.end.send_replace(true);
    }

    /// Takes note of an answer, unless a newer one is known. Returns how often the primary has changed, this time included.
    fn learn(&self, answer: &Answer) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.epoch > answer.epoch) {
            return None;
        }
        self.adopt(&mut known, answer);
        Some(self.moves())
    }

    /// Takes note of an answer that is older than what is known, if `newest` is still what is known.
    fn go_back(&self, answer: &Answer, newest: u64) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.epoch > newest) {
            return None;
        }
        self.adopt(&mut known, answer);
        Some(self.moves())
    }

    fn adopt(&self, known: &mut Option<Answer>, answer: &Answer) {
        if known.as_ref().is_some_and(|known| known.primary != answer.primary) {
            self.moves.fetch_add(1, Ordering::Release);
        }
        *known = Some(answer.clone());
    }

    fn known(&self) -> Option<Answer> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guide")
            .field("sentinels", &self.sentinels)
            .field("moves", &self.moves())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Arc<Guide> {
        let sentinels = Sentinels {
            master: "m".to_owned(),
            nodes: vec![Endpoint::Tcp { host: "s".to_owned(), port: DEFAULT_PORT }],
            transport: Transport::default(),
            credentials: Some(Credentials::password("hunter2")),
        };
        Guide::new(&sentinels, &Transport::default(), Duration::from_secs(1)).unwrap()
    }

    fn answer(host: &str, epoch: u64) -> Answer {
        Answer { primary: Endpoint::Tcp { host: host.to_owned(), port: 1 }, epoch }
    }

    #[test]
    fn a_newer_answer_moves_the_primary_and_an_older_one_does_not() {
        let guide = guide();
        assert_eq!(guide.learn(&answer("a", 3)), Some(0), "the first is no move");
        assert_eq!(guide.learn(&answer("a", 4)), Some(0), "nor is the same");
        assert_eq!(guide.learn(&answer("b", 5)), Some(1));
        assert_eq!(guide.learn(&answer("a", 4)), None, "a sentinel that has not heard yet");
        assert_eq!((guide.moves(), guide.known()), (1, Some(answer("b", 5))));
        assert_eq!(guide.learn(&answer("c", 5)), Some(2), "moved by hand");
    }

    #[test]
    fn going_back_is_void_once_something_newer_is_known() {
        let guide = guide();
        guide.learn(&answer("a", 5));
        assert_eq!(guide.go_back(&answer("b", 1), 5), Some(1));
        assert_eq!(guide.known().unwrap().epoch, 1, "sentinels that were set up anew count from there");
        guide.learn(&answer("a", 6));
        assert_eq!(guide.go_back(&answer("b", 1), 5), None);
    }

    #[test]
    fn no_password_is_shown() {
        assert!(!format!("{:?}", guide()).contains("hunter2"));
    }
}
