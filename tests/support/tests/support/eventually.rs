use std::time::Duration;

use cachex_test_support::eventually;

#[tokio::test]
async fn returns_as_soon_as_the_condition_holds() {
    let mut looks = 0;
    eventually(Duration::from_secs(20), async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
}

#[tokio::test]
#[should_panic(expected = "eventually.rs")]
async fn names_the_line_of_the_caller_when_the_deadline_has_passed() {
    eventually(Duration::from_millis(20), async || false).await;
}

#[tokio::test(start_paused = true)]
async fn measures_the_deadline_on_the_real_clock() {
    let start = std::time::Instant::now();
    eventually(Duration::from_secs(20), async || start.elapsed() > Duration::from_millis(30)).await;
}
