//! tokio, in which an explorer runs the tasks and decides when a timer fires.
//!
//! Sources of cachex are compiled against this crate under the name `tokio`, unchanged. tokio's channels and `Notify` are
//! the real ones: each of their operations is one step to the explorer.
#![forbid(unsafe_code)]

pub use tokio::*;

/// As [`tokio::runtime`].
pub mod runtime {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::task::Poll;

    use shuttle::future::{JoinHandle, block_on};

    pub use tokio::runtime::*;

    use crate::task::Task;

    /// As [`tokio::runtime::Handle`]: there is always one.
    #[derive(Clone, Debug)]
    pub struct Handle(());

    /// As [`tokio::runtime::Id`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Id(());

    impl Handle {
        pub fn id(&self) -> Id {
            Id(())
        }

        pub fn try_current() -> Result<Self, TryCurrentError> {
            Ok(Self(()))
        }

        pub fn spawn<F>(&self, future: F) -> Task
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            let task = shuttle::future::spawn(async move {
                let mut future = pin!(future);
                std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
                    Poll::Pending if !crate::task::is_abandoned() => Poll::Pending,
                    _ => Poll::Ready(()),
                })
                .await;
            });
            let handle = Task(task.abort_handle());
            TASKS.with_borrow_mut(|tasks| tasks.push(task));
            handle
        }
    }

    thread_local! {
        // The explorer runs all of its tasks on one thread.
        static TASKS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    }

    /// Waits for every task. A schedule ends with this: what it leaves behind could not give back what it holds.
    pub fn shut_down() {
        while let Some(task) = TASKS.with_borrow_mut(Vec::pop) {
            // Over or aborted: both are an end.
            let _ = block_on(task);
        }
    }
}

/// As [`tokio::task`].
pub mod task {
    pub use tokio::task::*;

    use std::cell::Cell;

    pub use shuttle::future::{AbortHandle, yield_now};

    thread_local! {
        // The explorer runs all of its tasks on one thread.
        static ABANDONED: Cell<bool> = const { Cell::new(false) };
    }

    /// Ends the task that awaits it here and now, as a panic or the end of its runtime would; nothing unwinds, which the
    /// explorer does not allow for.
    pub async fn abandon() {
        ABANDONED.set(true);
        std::future::pending::<()>().await;
    }

    pub(crate) fn is_abandoned() -> bool {
        ABANDONED.take()
    }

    /// What [`Handle::spawn`](crate::runtime::Handle::spawn) answers. Dropped, the task goes on.
    #[derive(Debug)]
    pub struct Task(pub(crate) AbortHandle);

    impl Task {
        pub fn abort_handle(&self) -> AbortHandle {
            self.0.clone()
        }
    }
}

/// As [`tokio::time`].
pub mod time {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    pub use tokio::time::*;

    use shuttle::rand::Rng;

    /// As [`tokio::time::Sleep`], but over whenever the explorer says so.
    #[derive(Debug)]
    pub struct Sleep(());

    pub fn sleep_until(_: Instant) -> Sleep {
        Sleep(())
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if shuttle::rand::thread_rng().gen_bool(0.5) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}
