//! Listening for a change of the primary.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex_core::CacheError;
use tokio::sync::{mpsc, watch};

use super::{Guide, Sentinels};
use crate::store::redis::address::Endpoint;
use crate::store::redis::connection::{FIRST_BACKOFF, MAX_BACKOFF};

/// What a sentinel publishes when another server is the primary.
const CHANNEL: &str = "+switch-master";

/// How often a sentinel is asked although it published nothing: a message may be lost with the connection it was on, and a
/// connection may be dead without a sign.
const REVIEW: Duration = Duration::from_secs(5);

impl Guide {
    /// Has a task listen to each sentinel, until the guide is dropped or closed. Does nothing while they do already.
    pub(in super::super) fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let watching = Arc::new(Watching(Arc::downgrade(self)));
        for node in &self.sentinels.nodes {
            let listener = Listener {
                guide: Arc::downgrade(self),
                sentinels: self.sentinels.clone(),
                node: node.clone(),
                patience: self.patience,
            };
            let (watching, end) = (Arc::clone(&watching), self.end.subscribe());
            tokio::spawn(async move {
                listener.run(end).await;
                drop(watching);
            });
        }
    }
}

/// Held by the tasks: when they are dropped, as by a runtime that shuts down, others may take their place.
struct Watching(Weak<Guide>);

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(guide) = self.0.upgrade() {
            guide.watched.store(false, Ordering::Release);
        }
    }
}

struct Listener {
    guide: Weak<Guide>,
    sentinels: Sentinels,
    node: Endpoint,
    patience: Duration,
}

impl Listener {
    async fn run(self, mut end: watch::Receiver<bool>) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let mut heard = false;
            tokio::select! {
                _ = self.listen(&mut heard) => {}
                _ = end.changed() => return,
            }
            backoff = if heard { FIRST_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
            tokio::select! {
                () = tokio::time::sleep(backoff.mul_f64(fastrand::f64())) => {}
                _ = end.changed() => return,
            }
        }
    }

    /// Returns when the sentinel is out of reach, or no longer of use.
    async fn listen(&self, heard: &mut bool) -> Result<(), CacheError> {
        let (sender, mut pushes) = mpsc::unbounded_channel();
        let mut connection = self.sentinels.dial(&self.node, self.patience, Some(sender)).await?;
        connection.subscribe(CHANNEL).await.map_err(crate::store::redis::error::from_driver)?;
        loop {
            // Whatever was published, the answer is newer, and it comes with its epoch.
            let answer = self.sentinels.ask(&mut connection).await?;
            *heard = true;
            match self.guide.upgrade() {
                Some(guide) => guide.learn(&answer),
                None => return Ok(()),
            };
            tokio::select! {
                push = pushes.recv() => if push.is_none() {
                    return Ok(());
                },
                () = tokio::time::sleep(REVIEW) => {}
            }
        }
    }
}
