//! Runs futures in virtual time, one step of the test after the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use rejoin_pump::memory::MemoryRuntime;

/// More polls than any step of a test needs; who wants more is spinning.
const MOST_POLLS: usize = 1_000;

pub(crate) struct Rig {
    pub(crate) runtime: MemoryRuntime,
    tasks: Vec<Task>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Rig {
    pub(crate) const fn new(runtime: MemoryRuntime) -> Self {
        Self { runtime, tasks: Vec::new() }
    }

    /// Runs everything until it sleeps.
    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(Task { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) });
        self.settle();
    }

    /// Moves time and runs whoever it wakes; returns how many polls that took.
    pub(crate) fn advance(&mut self, by: Duration) -> usize {
        self.runtime.advance(by);
        self.settle()
    }

    /// Polls everybody without a reason, as runtimes may, and then whoever was woken.
    pub(crate) fn poll_all(&mut self) {
        self.tasks.iter().for_each(|task| task.woken.0.store(true, Ordering::SeqCst));
        self.settle();
    }

    /// Runs whoever was woken until nobody is; returns the number of polls.
    pub(crate) fn settle(&mut self) -> usize {
        let mut polls = 0;
        while self.tasks.iter().any(|task| task.woken.0.load(Ordering::SeqCst)) {
            self.tasks.retain_mut(|task| {
                if !task.woken.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                polls += 1;
                assert!(polls < MOST_POLLS, "a task spins");
                let waker = Waker::from(task.woken.clone());
                task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
        }
        polls
    }

    /// How many futures have not resolved.
    pub(crate) fn running(&self) -> usize {
        self.tasks.len()
    }
}
