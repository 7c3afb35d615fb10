//! Whatever a peer says, in whatever pieces: nobody panics, nobody spins, and everybody ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rejoin_core::http::{HttpId, HttpRequest};
use rejoin_pump::memory::network;
use rejoin_pump::{Http, HttpClient, LongPollHub, LongPollOptions};

use crate::rig::Rig;
use crate::server::Server;
use crate::wire::Wire;

/// Words of HTTP and of long-poll, so that some of what is said makes sense for a while.
const WORDS: &[&str] = &[
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "100 Continue",
    "101 Switching Protocols",
    "200 OK",
    "204 No Content",
    "302 Found",
    "GET ",
    "POST ",
    "OPTIONS ",
    "HEAD ",
    "/socket/longpoll?vsn=2.0.0",
    "*",
    "http://host:1/a",
    "&token=",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    ": ",
    "host: h\r\n",
    "content-length: ",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "content-type: application/x-ndjson\r\n",
    "location: /\r\n",
    "retry-after: 1\r\n",
    "0",
    "5",
    "ffffffffffffffff",
    "99999999999999999999",
    "-1",
    "; a=b",
    "hello",
    "[\"1\",\"1\",\"room:1\",\"phx_join\",{}]",
    "\u{0}",
    "ž",
];

fn speech() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![4 => select(WORDS).prop_map(str::to_owned), 1 => "[ -~]{0,9}"];
    vec(vec(word, 0..8).prop_map(|words| words.concat()), 0..12)
}

proptest! {
    #[test]
    fn a_client_gets_an_answer_or_an_error(said in speech(), begins in any::<bool>()) {
        let (runtime, listener) = network();
        let http = HttpClient::new(runtime.clone());
        let mut rig = Rig::new(runtime);
        let ended = Arc::new(Mutex::new(0));
        for _ in 0..2 {
            let (sending, ended) = (http.send(HttpRequest::get(HttpId::new(1), "http://h/", secs(10))), ended.clone());
            rig.spawn(async move {
                let _ = sending.await;
                *ended.lock().unwrap() += 1;
            });
        }
        let mut wire = Wire::accept(&listener).unwrap();
        if begins {
            wire.say(&mut rig, "HTTP/1.1 200 OK\r\n");
        }
        for piece in &said {
            wire.say(&mut rig, piece);
        }
        drop(wire);
        rig.settle();
        prop_assert_eq!(*ended.lock().unwrap(), 1, "whoever hung up is not waited for");
        rig.advance(secs(10));
        prop_assert_eq!(*ended.lock().unwrap(), 2);
    }

    #[test]
    fn a_server_lets_go_of_every_client(said in speech()) {
        let (runtime, listener) = network();
        let (hub, server) = (LongPollHub::new(LongPollOptions::default()), Server::default());
        let mut rig = Rig::new(runtime.clone());
        rig.spawn(server.clone().run(listener, runtime, hub));
        let mut wire = Wire::dial(&rig.runtime);
        for piece in &said {
            wire.say(&mut rig, piece);
        }
        wire.end_of_speech();
        rig.settle();
        rig.advance(secs(15));
        // A WebSocket that was opened has a minute.
        rig.advance(secs(60));
        rig.advance(secs(60));
        prop_assert_eq!(server.connections(), 0);
        prop_assert_eq!(server.sessions(), 0);
        drop(wire);
    }
}

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}
