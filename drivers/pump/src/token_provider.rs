//! Where access tokens come from: a future of the application, which the pump drives and survives.

use std::fmt;
use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use rejoin_core::supabase::AccessToken;

use crate::runtime::BoxFuture;

/// Where access tokens come from; called whenever the session wants a fresh one.
///
/// A closure that returns a future is one:
///
/// ```
/// use rejoin_pump::TokenProvider;
/// use rejoin_pump::core::supabase::AccessToken;
///
/// # async fn refreshed() -> Result<String, std::io::Error> { Ok(String::new()) }
/// fn provider() -> impl TokenProvider {
///     || async {
///         let token = refreshed().await.map_err(|error| error.to_string())?;
///         let token = AccessToken::new(token).map_err(|error| error.to_string())?;
///         Ok(Some(token))
///     }
/// }
/// ```
pub trait TokenProvider: Send + 'static {
    /// A token that is still valid for a while; `None` if the user is signed out.
    ///
    /// The future is polled by the pump's task and must not block it. It is dropped when another
    /// token is wanted before it resolves, or when the pump ends. A panic, here or in the future,
    /// counts as a failure, and the provider is called again later.
    ///
    /// # Errors
    /// Whatever kept the application from getting one; the session tries again.
    fn token(&mut self) -> BoxFuture<Result<Option<AccessToken>, TokenProviderError>>;
}

impl<F, Fut> TokenProvider for F
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<Option<AccessToken>, TokenProviderError>> + Send + 'static,
{
    fn token(&mut self) -> BoxFuture<Result<Option<AccessToken>, TokenProviderError>> {
        Box::pin(self())
    }
}

/// Why a [`TokenProvider`] has no token, in the application's words. They are shown in events and
/// logs, so they must not repeat a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenProviderError(String);

impl From<String> for TokenProviderError {
    fn from(why: String) -> Self {
        Self(why)
    }
}

impl From<&str> for TokenProviderError {
    fn from(why: &str) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for TokenProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TokenProviderError {}

type Answer = Result<Option<AccessToken>, TokenProviderError>;

/// A provider and the one question it is working on; `Id` is the session's name for it.
pub(crate) struct Asking<Id> {
    provider: Box<dyn TokenProvider>,
    asked: Option<(Id, BoxFuture<Answer>)>,
}

impl<Id: Copy> Asking<Id> {
    pub(crate) fn new(provider: Box<dyn TokenProvider>) -> Self {
        Self { provider, asked: None }
    }

    /// Asks for a token. What was asked before is not answered any more.
    pub(crate) fn ask(&mut self, id: Id) {
        self.forget();
        let future = survive(|| self.provider.token()).unwrap_or_else(|panicked| Box::pin(ready(Err(panicked))));
        self.asked = Some((id, future));
    }

    /// The answer, once; pending if nothing was asked.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Id, Answer)> {
        let Some((id, future)) = &mut self.asked else { return Poll::Pending };
        let id = *id;
        let polled = survive(|| future.as_mut().poll(cx)).unwrap_or_else(|panicked| Poll::Ready(Err(panicked)));
        let Poll::Ready(answer) = polled else { return Poll::Pending };
        self.forget();
        Poll::Ready((id, answer))
    }

    fn forget(&mut self) {
        let asked = self.asked.take();
        // The answer is known or not wanted: that its future cannot even be dropped changes nothing.
        let _ = survive(|| drop(asked));
    }
}

/// Runs code of the application. What a panic leaves behind is seen by nobody else but that code;
/// its message may hold anything and is left to the panic hook.
fn survive<T>(run: impl FnOnce() -> T) -> Result<T, TokenProviderError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| TokenProviderError::from("the token provider panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_channel::oneshot;
    use futures_util::task::noop_waker_ref;
    use std::future::pending;

    fn token() -> AccessToken {
        AccessToken::new("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjIwODI3NTg0MDB9.c2lnbmVk").unwrap()
    }

    fn boxed(provider: impl TokenProvider) -> Box<dyn TokenProvider> {
        Box::new(provider)
    }

    fn poll(asking: &mut Asking<u8>) -> Poll<(u8, Answer)> {
        asking.poll(&mut Context::from_waker(noop_waker_ref()))
    }

    fn panicked() -> Answer {
        Err("the token provider panicked".into())
    }

    #[test]
    fn a_question_is_answered_once_under_its_own_number() {
        let mut answers = vec![Err("the network is down".into()), Ok(None), Ok(Some(token()))];
        let expected = answers.clone();
        let mut asking = Asking::new(boxed(move || ready(answers.remove(0))));
        assert!(poll(&mut asking).is_pending(), "nothing was asked");
        for (id, answer) in (0..).zip(expected) {
            asking.ask(id);
            assert_eq!(poll(&mut asking), Poll::Ready((id, answer)));
            assert!(poll(&mut asking).is_pending());
        }
    }

    #[test]
    fn an_answer_may_take_its_time_and_is_forgotten_when_asked_anew() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
        let mut receivers = receivers.into_iter();
        let mut asking = Asking::new(boxed(move || {
            let receiver = receivers.next().unwrap();
            async { receiver.await.map_err(|_| "cancelled".into()) }
        }));
        let [first, second] = <[_; 2]>::try_from(senders).unwrap();
        asking.ask(1);
        assert!(poll(&mut asking).is_pending());
        asking.ask(2);
        assert!(first.is_canceled(), "nobody waits for the first answer");
        assert!(poll(&mut asking).is_pending());
        second.send(Some(token())).unwrap();
        assert_eq!(poll(&mut asking), Poll::Ready((2, Ok(Some(token())))));
    }

    #[test]
    fn a_provider_that_panics_has_failed_and_is_asked_again() {
        let mut calls = 0;
        let mut asking = Asking::new(boxed(move || {
            calls += 1;
            assert!(calls != 1, "when called");
            async move {
                assert!(calls != 2, "when polled");
                Ok(None)
            }
        }));
        for (id, answer) in [(1, panicked()), (2, panicked()), (3, Ok(None))] {
            asking.ask(id);
            assert_eq!(poll(&mut asking), Poll::Ready((id, answer)));
        }
    }

    #[test]
    fn a_future_that_panics_when_it_is_dropped_takes_no_answer_away() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("when dropped");
            }
        }

        let mut calls = 0;
        let mut asking = Asking::new(boxed(move || {
            calls += 1;
            let bomb = (calls == 1).then(|| Bomb);
            async move {
                if bomb.is_some() {
                    pending::<()>().await;
                }
                Ok(None)
            }
        }));
        asking.ask(1);
        assert!(poll(&mut asking).is_pending());
        asking.ask(2);
        assert_eq!(poll(&mut asking), Poll::Ready((2, Ok(None))));
    }
}
