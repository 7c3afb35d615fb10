//! From handles to their bridge: a bounded queue of commands, and a list of what lost its last handle.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender};
use futures_util::Stream;
use futures_util::task::AtomicWaker;

/// A queue for at least one command `C`, and the list of what was abandoned, by its name `A`.
pub(crate) fn commands<C, A>(capacity: usize) -> (Sender<C>, Arc<Abandoned<A>>, Commands<C, A>) {
    let (sender, receiver) = async_channel::bounded(capacity.max(1));
    let abandoned = Arc::new(Abandoned { names: Mutex::default(), pump: AtomicWaker::new() });
    (sender, abandoned.clone(), Commands { queue: Box::pin(receiver), abandoned, due: Vec::new() })
}

/// The bridge's end.
pub(crate) struct Commands<C, A> {
    queue: Pin<Box<Receiver<C>>>,
    abandoned: Arc<Abandoned<A>>,
    /// What was abandoned, and is to be said when the queue is empty.
    due: Vec<A>,
}

/// What lost its last handle. A drop cannot wait for room in the queue; this list is bounded by the
/// number of things that have handles.
pub(crate) struct Abandoned<A> {
    names: Mutex<Vec<A>>,
    pump: AtomicWaker,
}

impl<A> Abandoned<A> {
    pub(crate) fn add(&self, name: A) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        self.pump.wake();
    }

    fn take(&self) -> Vec<A> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C, A> Commands<C, A> {
    /// The next command; `None` once no handle can send another. While there is none, says what was
    /// abandoned: only behind everything that the dropped handles had asked for before.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, abandon: impl FnMut(A)) -> Poll<Option<C>> {
        loop {
            let command = self.queue.as_mut().poll_next(cx);
            if matches!(command, Poll::Ready(Some(_))) {
                return command;
            }
            self.abandoned.pump.register(cx.waker());
            let mut abandoned = self.abandoned.take();
            if abandoned.is_empty() {
                self.due.drain(..).for_each(abandon);
                return command;
            }
            // What these handles asked for last may have come between the two looks: another one.
            self.due.append(&mut abandoned);
        }
    }
}

/// Senders keep what waits in a queue alive, and whoever waits for its answer would wait for ever.
impl<C, A> Drop for Commands<C, A> {
    fn drop(&mut self) {
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;
    use std::task::{Wake, Waker};

    #[test]
    fn what_was_abandoned_comes_behind_what_was_asked_for_before_and_ahead_of_the_end() {
        let mut cx = Context::from_waker(noop_waker_ref());
        let (sender, abandoned, mut commands) = commands::<u8, char>(0);
        let mut left = Vec::new();
        sender.try_send(1).unwrap();
        abandoned.add('a');
        assert_eq!(commands.poll_next(&mut cx, |name| left.push(name)), Poll::Ready(Some(1)));
        assert_eq!(left, []);
        assert_eq!(commands.poll_next(&mut cx, |name| left.push(name)), Poll::Pending);
        assert_eq!(left, ['a']);
        abandoned.add('b');
        drop(sender);
        assert_eq!(commands.poll_next(&mut cx, |name| left.push(name)), Poll::Ready(None));
        assert_eq!(left, ['a', 'b']);
    }

    /// Asks for something and drops the last handle, as another thread may at any time.
    struct Handle {
        sender: Sender<u8>,
        abandoned: Arc<Abandoned<char>>,
    }

    impl Wake for Handle {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            self.sender.try_send(1).unwrap();
            self.abandoned.add('a');
        }
    }

    #[test]
    fn a_handle_that_is_dropped_between_two_looks_is_not_abandoned_ahead_of_its_last_wish() {
        let (sender, abandoned, mut commands) = commands(1);
        let mut left = Vec::new();
        let handle = Waker::from(Arc::new(Handle { sender, abandoned }));
        assert_eq!(commands.poll_next(&mut Context::from_waker(&handle), |name| left.push(name)), Poll::Pending);
        drop(handle);
        // The queue is found empty; then the old waker gives way to this one, and the handle is gone.
        let mut cx = Context::from_waker(noop_waker_ref());
        assert_eq!(commands.poll_next(&mut cx, |name| left.push(name)), Poll::Ready(Some(1)));
        assert_eq!(left, []);
        assert_eq!(commands.poll_next(&mut cx, |name| left.push(name)), Poll::Ready(None));
        assert_eq!(left, ['a']);
    }

    #[test]
    fn what_waits_is_dropped_with_the_bridge() {
        let (sender, _, commands) = commands::<Arc<()>, ()>(4);
        let command = Arc::new(());
        sender.try_send(command.clone()).unwrap();
        drop(commands);
        assert_eq!(Arc::strong_count(&command), 1);
        assert!(sender.try_send(command).is_err());
    }
}
