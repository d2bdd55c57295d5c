//! Taking, awaiting and giving back bytes.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::*;

fn later() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn waits(account: &Account, bytes: usize) -> tokio::task::JoinHandle<Result<Permit, Exhausted>> {
    let account = account.clone();
    TaskTracker::new().spawn(async move { account.acquire(bytes, later()).await })
}

/// Runs the tasks that are ready.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn one_connection_gets_most_and_leaves_room_for_others() {
    let budget = Budget::new(900);
    let first = budget.account();
    let second = budget.account();
    let mut held = first.try_acquire(600).unwrap();
    assert!(first.try_acquire(1).is_none());
    assert!(!held.try_grow(1));
    let other = second.try_acquire(200).unwrap();
    assert!(second.try_acquire(1).is_none());
    assert_eq!((budget.used(), first.used(), second.used()), (800, 600, 200));
    drop(other);
    held.shrink_to(100);
    assert_eq!((budget.used(), held.bytes()), (100, 100));
    assert!(held.try_grow(500));
    let part = held.split(450);
    assert_eq!((held.bytes(), part.bytes()), (150, 450));
    drop((held, part));
    assert_eq!((budget.used(), first.used()), (0, 0));
}

#[test]
fn memory_in_use_is_charged_without_room() {
    let budget = Budget::new(100);
    let account = budget.account();
    let held = account.charge(1000);
    assert!(budget.account().try_acquire(1).is_none());
    assert!(budget.account().try_acquire(0).is_some());
    drop(held);
    assert!(account.try_acquire(60).is_some());
}

#[test]
fn an_empty_account_always_gets_a_little() {
    let budget = Budget::new(64 << 20);
    let all = budget.account().charge(66 << 20);
    let newcomer = budget.account();
    let little = newcomer.try_acquire(LITTLE).unwrap();
    assert!(newcomer.try_acquire(1).is_none(), "more than a little waits for room");
    drop((all, little));
    let _all = budget.account().charge(80 << 20);
    assert!(newcomer.try_acquire(1).is_none(), "a little for each can be much together");
}

#[tokio::test(start_paused = true)]
async fn acquisitions_of_one_account_keep_their_order() {
    let budget = Budget::new(900);
    let greedy = budget.account();
    let modest = budget.account();
    let held = greedy.acquire(600, later()).await.unwrap();
    let large = waits(&greedy, 500);
    settle().await;
    let small = waits(&greedy, 10);
    settle().await;
    assert!(!large.is_finished() && !small.is_finished());
    assert!(greedy.try_acquire(1).is_none(), "behind those that wait");
    assert!(modest.acquire(50, later()).await.is_ok(), "another account");
    drop(held);
    let large = large.await.unwrap().unwrap();
    let small = small.await.unwrap().unwrap();
    assert_eq!(budget.used(), 510);
    drop((large, small));
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_and_holds_no_bytes() {
    let budget = Budget::new(900);
    let account = budget.account();
    let held = account.acquire(600, later()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(account.acquire(1, later()).await.unwrap_err(), Exhausted);
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    // A request that never fits does not wait.
    assert_eq!(account.acquire(601, later()).await.unwrap_err(), Exhausted);
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    // A dropped waiter does not hold up later waiters.
    let first = waits(&account, 300);
    let second = waits(&account, 200);
    settle().await;
    first.abort();
    settle().await;
    drop(held);
    assert_eq!(second.await.unwrap().unwrap().bytes(), 200);
    assert_eq!((budget.used(), budget.0.waiting.load(Ordering::SeqCst)), (0, 0));
    assert_eq!(budget.0.refused.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_untaken_grant_is_given_back() {
    let budget = Budget::new(900);
    let account = budget.account();
    let held = account.charge(900);
    let mut waiting = Box::pin(account.acquire(100, later()));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    drop(held);
    assert_eq!(budget.used(), 100);
    drop(waiting);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_queue_has_a_limit() {
    let budget = Budget::new(9);
    let account = budget.account();
    let held = account.charge(9);
    let queue: Vec<Queued> = (0..WAITING_MAX).map(|_| account.enqueue(1).unwrap()).collect();
    assert!(account.enqueue(1).is_err());
    drop(queue);
    drop(held);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_acquisitions_lose_no_bytes() {
    let budget = Budget::new(1000);
    let tracker = TaskTracker::new();
    let tasks: Vec<_> = (1..=16)
        .map(|n: usize| {
            let account = budget.account();
            tracker.spawn(async move {
                for round in 0..500 {
                    let bytes = 1 + (n * 37 + round * 11) % 300;
                    let permit = account.acquire(bytes, later()).await.unwrap();
                    assert!(account.shared.used.load(Ordering::SeqCst) <= 1000);
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(permit);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((budget.used(), budget.0.waiting.load(Ordering::SeqCst)), (0, 0));
}
