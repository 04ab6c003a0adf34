//! A cluster that does not serve all slots.

use cachex_core::{CacheRequest, Effect, ErrorKind, Retry};
use cachex_test_support::{Cluster, eventually};

use super::{PATIENCE, builder, call, get, get_many, key, ping, set};

async fn on_all(cluster: &Cluster, command: &[&str]) {
    for node in cluster.nodes() {
        node.command(command).await;
    }
}

#[tokio::test]
async fn slots_without_an_owner() {
    let cluster = Cluster::start().await;
    let slot = Cluster::slot("orphan").to_string();
    let store = builder(&cluster).build().unwrap();
    set(&store, "orphan", "v").await.unwrap();

    let owner = cluster.master_for_slot(Cluster::slot("orphan")).await;
    // Until the owner's last claim is past, it may bring the slot back to the others.
    eventually(PATIENCE, async || {
        let mut uncovered = true;
        for node in [owner].into_iter().chain(cluster.nodes()) {
            let _ = node.try_command(["CLUSTER", "DELSLOTS", &slot]).await;
            let info = node.command(["CLUSTER", "INFO"]).await;
            uncovered &= info.as_str().unwrap().contains("cluster_slots_assigned:16383");
        }
        uncovered
    })
    .await;
    // The whole cluster refuses.
    let refused = async |name| match get(&store, name).await {
        Err(error) if error.kind() == ErrorKind::ClusterDown => {
            assert_eq!(error.effect(), Effect::None);
            assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
            true
        }
        _ => false,
    };
    eventually(PATIENCE, async || refused("orphan").await && refused("other").await).await;

    // It serves what it can: requests for the hole are refused, by the map as by the servers, and nothing else is.
    on_all(&cluster, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    eventually(PATIENCE, async || set(&store, "other", "v").await.is_ok()).await;
    for store in [store.clone(), builder(&cluster).build().unwrap()] {
        eventually(PATIENCE, async || get(&store, "other").await.is_ok()).await;
        for _ in 0..3 {
            assert_eq!(get(&store, "orphan").await.unwrap_err().kind(), ErrorKind::ClusterDown);
        }
        let both = ["other".to_owned(), "orphan".to_owned()];
        assert_eq!(get_many(&store, &both).await.unwrap_err().kind(), ErrorKind::ClusterDown);
        let error = call(&store, CacheRequest::delete(both.map(key).to_vec())).await.unwrap_err();
        // What could be deleted was.
        assert_eq!((error.kind(), error.effect()), (ErrorKind::ClusterDown, Effect::Unknown));
        assert_eq!(get(&store, "other").await.unwrap(), None);
        // As soon as the map is read anew, nobody is asked.
        let uncovered =
            async || ping(&store).await.is_err_and(|error| error.kind() == ErrorKind::ClusterDown);
        eventually(PATIENCE, uncovered).await;
        assert_eq!(get(&store, "orphan").await.unwrap_err().kind(), ErrorKind::ClusterDown);
    }

    owner.command(["CLUSTER", "ADDSLOTS", &slot]).await;
    on_all(&cluster, &["CONFIG", "SET", "cluster-require-full-coverage", "yes"]).await;
    eventually(PATIENCE, async || set(&store, "orphan", "v").await.is_ok()).await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
}
