//! One suite for both stores: what it says of memory holds for Valkey, decision for decision.
//!
//! Valkey's part runs when TOLLGATE_TEST_VALKEY is set (`.ci/run` sets it), and then fails if there is no server to start. Time is the
//! tests' own: no sleeping, no assumption about the clock.

#[path = "store/server.rs"]
mod server;
#[path = "store/suite.rs"]
mod suite;

use server::Server;
use tollgate_admission::Store;

#[tokio::test]
async fn memory() {
    suite::run(&|| Store::memory().with_callers_clock()).await;
}

#[tokio::test]
async fn valkey() {
    let Some(server) = Server::start() else { return };
    let open = || {
        // Each test has counters of its own.
        let gateway = format!("test-{}", uuid::Uuid::now_v7());
        Store::open(&server.address(), &gateway).expect("an address").with_callers_clock()
    };
    suite::run(&open).await;
    suite::same_as_memory(&open).await;
    suite::everything_expires(&open, &server).await;
    suite::a_lost_store_is_rebuilt(&server).await;
    suite::replicas_share(&server).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_says_so_and_keeps_its_password_to_itself() {
    let store = Store::open("redis://:hunter2@127.0.0.1:1", "test").expect("an address");
    let error = store.is_ready().await.expect_err("nobody listens there").to_string();
    assert!(error.contains("does not answer") && !error.contains("hunter2"), "{error}");
    assert!(!format!("{store:?}").contains("hunter2"));
    let error = Store::open("nonsense://hunter2", "test").expect_err("no address").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
