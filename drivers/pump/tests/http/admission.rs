//! Who comes in is known before anything is answered, whatever the client comes by.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use rejoin_core::ConnId;
use rejoin_core::phoenix::{Config, ConnectionState, Params, ServerConfig, Token, Transport};
use rejoin_pump::memory::{MemoryListener, MemoryRuntime, network};
use rejoin_pump::{
    AcceptOptions, ConnectOptions, Incoming, LongPollHub, LongPollOptions, LongPollSession, connect_with, serve,
    serve_long_poll,
};

use crate::rig::Rig;
use crate::server::run_all;

/// Token, and the parameter `user`.
type Guests = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

#[test]
fn a_clients_auth_token_and_parameters_reach_the_host_by_either_transport() {
    for transport in [Transport::WebSocket, Transport::LongPoll] {
        let (runtime, listener) = network();
        let (mut rig, guests) = (Rig::new(runtime.clone()), Guests::default());
        rig.spawn(host(listener, runtime.clone(), guests.clone()));
        let mut config = Config::new("ws://test/socket").unwrap();
        config.transport = transport;
        // Whose base64 has a letter of which there are two kinds.
        config.auth_token = Some("good~~~".into());
        config.params = vec![("user".into(), "a b".into())];
        let (client, pump) = connect_with(config, ConnectOptions::default(), runtime);
        rig.spawn(pump);
        assert_eq!(*guests.lock().unwrap(), [(Some("good~~~".to_owned()), Some("a b".to_owned()))]);
        let mut state = pin!(client.state());
        assert!(state.as_mut().now_or_never().is_none());
        rig.settle();
        let state = state.now_or_never();
        assert_eq!(state, Some(Ok(ConnectionState::Connected)), "it hears the subprotocol that it wants");
    }
}

/// Lets everybody in and notes who it was.
async fn host(listener: MemoryListener, runtime: MemoryRuntime, guests: Guests) {
    let hub = LongPollHub::new(LongPollOptions::default());
    run_all(|jobs| async move {
        while let Some(io) = listener.accept_io().await {
            let (runtime, hub, guests, more) = (runtime.clone(), hub.clone(), guests.clone(), jobs.clone());
            jobs.start(async move {
                match Incoming::read(io).await {
                    Ok(Incoming::Upgrade(request)) => {
                        let accepted = request.answer(&AcceptOptions::default()).await.unwrap();
                        note(&guests, accepted.token.as_ref(), &accepted.params);
                        let config = ServerConfig::new(accepted.serializer);
                        let (_peer, _events, pump) = serve(accepted.websocket, ConnId::new(1), config, runtime);
                        pump.await;
                    }
                    Ok(Incoming::Http(connection)) => {
                        let clock = runtime.clone();
                        let admit = |session: LongPollSession| {
                            note(&guests, session.token(), session.params());
                            let config = ServerConfig::new(session.serializer());
                            let (peer, events, pump) =
                                serve_long_poll(session, ConnId::new(1), config, runtime.clone());
                            more.start(async move {
                                let _handles = (peer, events);
                                pump.await;
                            });
                        };
                        hub.serve(connection, clock, admit).await;
                    }
                    _ => panic!("the client speaks HTTP"),
                }
            });
        }
    })
    .await;
}

fn note(guests: &Guests, token: Option<&Token>, params: &Params) {
    let token = token.map(|token| token.expose().to_owned());
    guests.lock().unwrap().push((token, params.get("user").map(|user| user.into_owned())));
}
