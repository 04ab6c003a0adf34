//! Reading the map of slots: one task at a time, however many ask, and not too often.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Cluster;
use super::layout::Layout;
use super::map::Node;
use crate::store::redis::address::Endpoint;
use crate::store::redis::connection::ConnectionState;
use crate::store::redis::error;
use crate::store::redis::service::Wire;

/// The least time between two readings. A failover takes longer; a slot that moved is known without one.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one node is waited for before the next is asked as well.
const STAGGER: Duration = Duration::from_millis(100);

/// Bounds of the wait between two attempts, with full jitter, while no node answers.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How far the task is.
pub(super) enum Phase {
    /// Nobody has asked yet, or the task died with its runtime.
    Idle,
    /// It is at work, and has not failed.
    Reading,
    /// No node answered; it goes on. Whoever has a map uses that.
    Failing(CacheError),
    /// The map is as a node told it at that time.
    Known(Instant),
    /// For good.
    Closed,
}

impl Cluster {
    /// Has the map read again, in the background. Does nothing if that is under way.
    pub(super) fn refresh(self: &Arc<Self>) {
        let mut pause = Duration::ZERO;
        let begun = self.phase.send_if_modified(|phase| {
            match phase {
                Phase::Idle => {}
                Phase::Known(since) => pause = PAUSE.saturating_sub(since.elapsed()),
                Phase::Reading | Phase::Failing(_) | Phase::Closed => return false,
            }
            *phase = Phase::Reading;
            true
        });
        if begun {
            let reader = Reader(Arc::downgrade(self));
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                reader.run().await;
            });
        }
    }

    /// Waits until there is a map: for one attempt at most, and not at all while no node is known to answer.
    pub(super) async fn known(self: &Arc<Self>) -> Result<(), CacheError> {
        let mut changes = self.phase.subscribe();
        loop {
            if self.map().is_known() {
                return Ok(());
            }
            match &*changes.borrow_and_update() {
                Phase::Failing(error) => return Err(error.clone()),
                Phase::Closed => return Err(error::closed()),
                Phase::Idle | Phase::Reading | Phase::Known(_) => {}
            }
            self.refresh();
            // The sender lives in the cluster.
            let _ = changes.changed().await;
        }
    }

    /// Has the map read again, and waits until that is done or was found to fail.
    ///
    /// Cancel safe: reading goes on without the caller.
    pub(super) async fn refreshed(self: &Arc<Self>) {
        let mut changes = self.phase.subscribe();
        self.refresh();
        // The sender lives in the cluster.
        let _ = changes.wait_for(|phase| !matches!(phase, Phase::Reading)).await;
    }

    /// One attempt: asks node after node until one knows the owner of every slot; failing that, takes the best answer.
    async fn read(self: &Arc<Self>) -> Result<(), CacheError> {
        let mut candidates = self.candidates().into_iter();
        let mut asked = FuturesUnordered::new();
        let mut best: Option<(Layout, Arc<Node>)> = None;
        let mut last = None;
        loop {
            if let Some(endpoint) = candidates.next() {
                asked.push(self.ask(endpoint));
            }
            let answer = tokio::select! {
                answer = asked.next() => answer,
                () = tokio::time::sleep(STAGGER), if candidates.len() > 0 => continue,
            };
            match answer {
                None => break,
                Some(Ok((layout, node))) => {
                    let complete = layout.is_complete();
                    if best.as_ref().is_none_or(|(best, _)| best.covered() < layout.covered()) {
                        best = Some((layout, node));
                    }
                    if complete {
                        break;
                    }
                }
                Some(Err(error)) => last = Some(error),
            }
        }
        match best {
            Some((layout, node)) if layout.covered() > 0 => self.install(layout, &node),
            Some(_) => Err(CacheError::new(ErrorKind::ClusterDown, "no node of the cluster serves any slot")),
            None => Err(last.unwrap_or_else(error::closed)),
        }
    }

    /// Whom to ask, the likeliest to know and to answer first: masters that answer, seeds, replicas, the others.
    fn candidates(&self) -> Vec<Endpoint> {
        let map = self.map();
        let mut ranked: Vec<(u8, u64, Endpoint)> = Vec::new();
        let mut add = |rank, endpoint: &Endpoint| {
            if !ranked.iter().any(|(.., known)| known == endpoint) {
                ranked.push((rank, fastrand::u64(..), endpoint.clone()));
            }
        };
        for node in map.nodes() {
            let rank = match node.connections.state() {
                ConnectionState::Connected => 0,
                ConnectionState::Idle => 1,
                _ => 4,
            };
            add(rank, &node.endpoint);
        }
        self.seeds.iter().for_each(|seed| add(2, seed));
        map.replicas().iter().for_each(|replica| add(3, replica));
        ranked.sort_unstable_by_key(|(rank, random, _)| (*rank, *random));
        ranked.into_iter().map(|(.., endpoint)| endpoint).collect()
    }

    async fn ask(&self, endpoint: Endpoint) -> Result<(Layout, Arc<Node>), CacheError> {
        let known = self.map().find(&endpoint).cloned();
        let node = match known {
            Some(node) => node,
            None => self.make(&endpoint)?,
        };
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let reply = node.ask(fastrand::u64(..), &Wire::Command(command)).await?;
        Ok((Layout::parse(reply, &endpoint)?, node))
    }

    fn install(&self, layout: Layout, told_by: &Arc<Node>) -> Result<(), CacheError> {
        let mut map = self.map_mut();
        // As in `add`.
        if !self.is_closed() {
            *map = map.rebuilt(layout, told_by, |endpoint| self.make(endpoint))?;
        }
        Ok(())
    }

    /// `Reading | Failing =>` the next, by the task. `false` when the store was closed meanwhile.
    fn settle(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let open = !matches!(phase, Phase::Closed);
            if open {
                *phase = next;
            }
            open
        })
    }
}

/// Held by the task that reads the map, for as long as the phase is its own.
struct Reader(Weak<Cluster>);

impl Reader {
    /// Attempts until one succeeds, the store is closed, or nobody holds it any more.
    async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let Some(cluster) = self.0.upgrade() else { return };
            let (next, done) = match cluster.read().await {
                Ok(()) => (Phase::Known(Instant::now()), true),
                Err(error) => (Phase::Failing(error), false),
            };
            let open = cluster.settle(next);
            if done || !open {
                self.0 = Weak::new();
                return;
            }
            drop(cluster);
            tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(cluster) = self.0.upgrade() {
            cluster.settle(Phase::Idle);
        }
    }
}
