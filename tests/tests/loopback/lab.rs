//! The two runtimes behind one trait, and a small server to talk to.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rejoin_core::phoenix::{Config, ServerConfig, ServerEvent, Status};
use rejoin_core::{Backoff, ConnId, Payload};
use rejoin_pump::tls::rustls::{self, ClientConfig, ServerConfig as TlsServerConfig};
use rejoin_pump::{
    AcceptOptions, Accepted, Client, ConnectOptions, Inbox, Incoming, Inflow, LongPollHub, LongPollOptions,
    LongPollSession, Peer, PeerEvents, Runtime, serve, serve_long_poll,
};

/// What a Supabase client is made of.
mod supabase {
    pub(crate) use rejoin_core::supabase::Config;
    pub(crate) use rejoin_pump::supabase::{Client, ConnectOptions};
}

/// Longer than anything here takes; a test that gets there hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A runtime under test.
pub(crate) trait Lab: Clone + Send + Sync + 'static {
    type Runtime: Runtime;
    type Tcp: Send + 'static;
    type Listener: Send + Sync + 'static;

    /// Runs a test to its end, or panics after [`DEADLINE`].
    fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Self) -> F);
    fn spawn(&self, job: Job);
    fn runtime(&self, tls: Option<Arc<ClientConfig>>) -> Self::Runtime;
    fn listen(&self, address: SocketAddr) -> Pending<(Self::Listener, SocketAddr)>;
    fn next<'a>(&self, listener: &'a Self::Listener) -> Pin<Box<dyn Future<Output = Self::Tcp> + Send + 'a>>;
    fn plain(&self, tcp: Self::Tcp) -> <Self::Runtime as Runtime>::Io;
    fn encrypted(
        &self,
        config: Arc<TlsServerConfig>,
        tcp: Self::Tcp,
    ) -> Pending<Option<<Self::Runtime as Runtime>::Io>>;

    fn connect_on(&self, runtime: Self::Runtime, config: Config) -> Client {
        let (client, pump) = rejoin_pump::connect_with(config, ConnectOptions::default(), runtime);
        self.spawn(Box::pin(pump));
        client
    }

    fn connect(&self, config: Config) -> Client {
        self.connect_on(self.runtime(None), config)
    }

    /// With a stream of everything that happens from the first attempt on.
    fn connect_watched(&self, config: Config) -> Pending<(Client, Inbox)> {
        let mut options = ConnectOptions::default();
        options.connect = false;
        let (client, pump) = rejoin_pump::connect_with(config, options, self.runtime(None));
        self.spawn(Box::pin(pump));
        Box::pin(async move {
            let (_, inbox) = client.inbox(Inflow::default()).await.unwrap();
            client.connect().await.unwrap();
            (client, inbox)
        })
    }

    fn connect_supabase(&self, config: supabase::Config, options: supabase::ConnectOptions) -> supabase::Client;

    /// A server that lets everybody in, by WebSocket and by long-poll; see [`host`].
    fn server(&self) -> Pending<SocketAddr> {
        let lab = self.clone();
        Box::pin(async move {
            let (listener, address) = lab.listen(any_port()).await;
            let (hosts, hub) = (lab.clone(), LongPollHub::new(LongPollOptions::default()));
            lab.spawn(Box::pin(async move {
                loop {
                    let tcp = hosts.next(&listener).await;
                    let (lab, hub) = (hosts.clone(), hub.clone());
                    hosts.spawn(Box::pin(async move {
                        if let Ok(incoming) = Incoming::read(lab.plain(tcp)).await {
                            lab.visit(incoming, hub).await;
                        }
                    }));
                }
            }));
            address
        })
    }

    /// Serves one connection, whatever its client has come for.
    fn visit(&self, incoming: Incoming<<Self::Runtime as Runtime>::Io>, hub: LongPollHub) -> Pending<()> {
        let lab = self.clone();
        Box::pin(async move {
            match incoming {
                Incoming::Upgrade(request) => {
                    if let Ok(accepted) = request.answer(&AcceptOptions::default()).await {
                        lab.host(accepted).await;
                    }
                }
                Incoming::Http(connection) => {
                    let admit = |session: LongPollSession| {
                        let config = ServerConfig::new(session.serializer());
                        let (peer, events, pump) = serve_long_poll(session, ConnId::new(1), config, lab.runtime(None));
                        lab.spawn(lab.attend(peer, events, Box::pin(pump)));
                    };
                    hub.serve(connection, lab.runtime(None), admit).await;
                }
                _ => {}
            }
        })
    }

    /// Serves one socket until it ends: `cut` drops it without a word, `count` N pushes N messages,
    /// `quiet` is not answered; anything else is answered `ok` with its own payload.
    fn host(&self, accepted: Accepted<<Self::Runtime as Runtime>::Io>) -> Pending<()> {
        let config = ServerConfig::new(accepted.serializer);
        let (peer, events, pump) = serve(accepted.websocket, ConnId::new(1), config, self.runtime(None));
        self.attend(peer, events, Box::pin(pump))
    }

    /// The same for whatever the client has come by.
    fn attend(&self, peer: Peer, mut events: PeerEvents, pump: Job) -> Pending<()> {
        let (cut, cuts) = async_channel::bounded::<()>(1);
        // Dropping the pump drops the socket.
        self.spawn(Box::pin(futures_lite::future::or(pump, async move { cuts.recv().await.unwrap_or_default() })));
        Box::pin(async move {
            while let Some(event) = events.next().await {
                match event {
                    ServerEvent::Join { join, payload, .. } => drop(peer.accept_join(join, payload)),
                    ServerEvent::Push { channel, event, payload, reply } => match event.as_str() {
                        "cut" => drop(cut.send(()).await),
                        "quiet" => {}
                        "count" => {
                            let n: u32 = payload.parse().expect("a number");
                            for i in 0..n {
                                let _ = peer.push(channel, "counted", Payload::json(&i).expect("JSON"));
                            }
                        }
                        _ => drop(peer.reply(reply, Status::Ok, payload)),
                    },
                    _ => {}
                }
            }
        })
    }
}

/// TLS for a server called `localhost`, and for a client that trusts it and nobody else.
pub(crate) fn certified() -> (Arc<TlsServerConfig>, Arc<ClientConfig>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = TlsServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Impatient, so that tests are quick.
pub(crate) fn config(address: SocketAddr) -> Config {
    let mut config = Config::new(&format!("ws://{address}/socket")).expect("a good URL");
    config.reconnect = Backoff::Steps(vec![Duration::from_millis(20)]);
    config.close_timeout = Duration::from_secs(2);
    config
}

#[derive(Clone)]
pub(crate) struct Smol(Arc<smol::Executor<'static>>);

impl Lab for Smol {
    type Runtime = rejoin_smol::SmolRuntime;
    type Tcp = smol::Async<std::net::TcpStream>;
    type Listener = smol::Async<std::net::TcpListener>;

    fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Self) -> F) {
        let executor = Arc::new(smol::Executor::new());
        let test = test(Self(executor.clone()));
        let late = async {
            smol::Timer::after(DEADLINE).await;
            panic!("the test takes longer than {DEADLINE:?}");
        };
        smol::block_on(executor.run(futures_lite::future::or(test, late)));
    }

    fn spawn(&self, job: Job) {
        self.0.spawn(job).detach();
    }

    fn runtime(&self, tls: Option<Arc<ClientConfig>>) -> Self::Runtime {
        let mut runtime = rejoin_smol::SmolRuntime::default();
        runtime.tls = tls;
        runtime
    }

    fn listen(&self, address: SocketAddr) -> Pending<(Self::Listener, SocketAddr)> {
        Box::pin(async move {
            let listener = smol::Async::<std::net::TcpListener>::bind(address).expect("a free port");
            let address = listener.get_ref().local_addr().expect("bound");
            (listener, address)
        })
    }

    fn next<'a>(&self, listener: &'a Self::Listener) -> Pin<Box<dyn Future<Output = Self::Tcp> + Send + 'a>> {
        Box::pin(async move { listener.accept().await.expect("accepting works").0 })
    }

    fn plain(&self, tcp: Self::Tcp) -> rejoin_smol::Io {
        rejoin_smol::plain(tcp)
    }

    fn encrypted(&self, config: Arc<TlsServerConfig>, tcp: Self::Tcp) -> Pending<Option<rejoin_smol::Io>> {
        Box::pin(async move { rejoin_smol::tls::accept(config, tcp).await.ok() })
    }

    fn connect_supabase(&self, config: supabase::Config, options: supabase::ConnectOptions) -> supabase::Client {
        let (client, pump) = rejoin_smol::supabase::connect_on(self.runtime(None), config, options);
        self.spawn(Box::pin(pump));
        client
    }
}

#[derive(Clone)]
pub(crate) struct Tokio;

impl Lab for Tokio {
    type Runtime = rejoin_tokio::TokioRuntime;
    type Tcp = tokio::net::TcpStream;
    type Listener = tokio::net::TcpListener;

    fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Self) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let test = test(Self);
        let late = "the test is too slow";
        runtime.expect("a runtime").block_on(async { tokio::time::timeout(DEADLINE, test).await.expect(late) });
    }

    fn spawn(&self, job: Job) {
        tokio::spawn(job);
    }

    fn runtime(&self, tls: Option<Arc<ClientConfig>>) -> Self::Runtime {
        let mut runtime = rejoin_tokio::TokioRuntime::default();
        runtime.tls = tls;
        runtime
    }

    fn listen(&self, address: SocketAddr) -> Pending<(Self::Listener, SocketAddr)> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            (listener, address)
        })
    }

    fn next<'a>(&self, listener: &'a Self::Listener) -> Pin<Box<dyn Future<Output = Self::Tcp> + Send + 'a>> {
        Box::pin(async move { listener.accept().await.expect("accepting works").0 })
    }

    fn plain(&self, tcp: Self::Tcp) -> rejoin_tokio::Io {
        rejoin_tokio::plain(tcp)
    }

    fn encrypted(&self, config: Arc<TlsServerConfig>, tcp: Self::Tcp) -> Pending<Option<rejoin_tokio::Io>> {
        Box::pin(async move { rejoin_tokio::tls::accept(config, tcp).await.ok() })
    }

    fn connect_supabase(&self, config: supabase::Config, options: supabase::ConnectOptions) -> supabase::Client {
        let (client, pump) = rejoin_tokio::supabase::connect_on(self.runtime(None), config, options);
        self.spawn(Box::pin(pump));
        client
    }
}
