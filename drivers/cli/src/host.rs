//! The two runtimes behind one trait, so that every command is written once.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use rejoin_pump::core::phoenix::Config;
use rejoin_pump::core::supabase;
use rejoin_pump::{Client, ConnectOptions, Runtime};

use crate::args::RuntimeName;
use crate::failure::Failure;

/// A runtime that commands run on.
pub(crate) trait Host: Clone + Send + Sync + 'static {
    type Runtime: Runtime + Clone;
    type Listener: Send + Sync + 'static;

    /// What pumps need of it.
    fn runtime(&self) -> Self::Runtime;

    /// Runs a future to its end in the background.
    fn start(&self, future: impl Future<Output = ()> + Send + 'static);

    /// The addresses of a host.
    fn resolve(&self, name: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Starts to listen.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Where it listens.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// The next connection.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<Io<Self>>> + Send;

    /// The same as `start`, with somebody who waits for the end.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let (alive, done) = async_channel::bounded(1);
        self.start(async move {
            future.await;
            drop(alive);
        });
        Task(done)
    }

    /// A client whose pump runs in the background; the task ends when the client is closed.
    fn connect(&self, config: Config, options: ConnectOptions) -> (Client, Task) {
        let (client, pump) = rejoin_pump::connect_with(config, options, self.runtime());
        (client, self.spawn(pump))
    }

    /// The same for a Supabase project.
    fn connect_to_project(
        &self,
        config: supabase::Config,
        options: rejoin_pump::supabase::ConnectOptions,
    ) -> (rejoin_pump::supabase::Client, Task) {
        let (client, pump) = rejoin_pump::supabase::connect_with(config, options, self.runtime());
        (client, self.spawn(pump))
    }

    /// Waits. Longer than the clock can say is for ever.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        let deadline = Instant::now().checked_add(time);
        let sleep = deadline.map(|deadline| self.runtime().sleep_until(deadline));
        async move {
            match sleep {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Waits for at most `time`; `None` if that was too short.
    fn within<T: Send>(
        &self,
        time: Duration,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send {
        let sleep = self.sleep(time);
        futures_lite::future::or(async { Some(future.await) }, async {
            sleep.await;
            None
        })
    }
}

/// A host's byte stream.
pub(crate) type Io<H> = <<H as Host>::Runtime as Runtime>::Io;

/// Something that runs in the background. Dropping this leaves it running.
#[derive(Clone, Debug)]
pub(crate) struct Task(Receiver<()>);

impl Task {
    /// Waits for its end, also if it panicked.
    pub(crate) async fn done(&self) {
        // Nobody sends; the channel closes.
        let _ = self.0.recv().await;
    }
}

/// A command, for any host.
pub(crate) trait Job: Send {
    fn run<H: Host>(self, host: H) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Runs a command on the runtime that was asked for.
pub(crate) fn run(runtime: RuntimeName, job: impl Job) -> Result<(), Failure> {
    match runtime {
        RuntimeName::Smol => smol::block_on(job.run(SmolHost)),
        RuntimeName::Tokio => {
            let runtime = tokio_runtime()?;
            let outcome = runtime.block_on(job.run(TokioHost(runtime.handle().clone())));
            // A name that is still being looked up must not hold up the exit.
            runtime.shutdown_background();
            outcome
        }
    }
}

/// smol's global executor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SmolHost;

impl Host for SmolHost {
    type Runtime = rejoin_smol::SmolRuntime;
    type Listener = smol::Async<std::net::TcpListener>;

    fn runtime(&self) -> Self::Runtime {
        rejoin_smol::SmolRuntime::default()
    }

    fn start(&self, future: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(future).detach();
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve((name, port)).await
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        Self::Listener::bind(address)
    }

    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.get_ref().local_addr()
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<rejoin_smol::Io> {
        let (tcp, _) = listener.accept().await?;
        tcp.get_ref().set_nodelay(true)?;
        Ok(rejoin_smol::plain(tcp))
    }
}

/// A multi-threaded tokio runtime, which somebody else owns.
#[derive(Clone, Debug)]
pub(crate) struct TokioHost(pub(crate) tokio::runtime::Handle);

/// The runtime that a `TokioHost` is a handle to.
pub(crate) fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::broken(format!("tokio cannot be started: {error}")))
}

impl Host for TokioHost {
    type Runtime = rejoin_tokio::TokioRuntime;
    type Listener = tokio::net::TcpListener;

    fn runtime(&self) -> Self::Runtime {
        rejoin_tokio::TokioRuntime::default()
    }

    fn start(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(future);
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        Self::Listener::bind(address).await
    }

    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<rejoin_tokio::Io> {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(rejoin_tokio::plain(tcp))
    }
}
