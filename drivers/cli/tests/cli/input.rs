//! Bad input: one line on stderr that names the argument and the fix, exit code 2, nothing sent.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::program::{Program, run};

/// The arguments, then what the line has to name.
const BAD: &[(&[&str], &[&str])] = &[
    (&["listen", "localhost:4000", "t"], &["URL: ", "ws://HOST/PATH"]),
    (&["listen", "ftp://h", "t"], &["URL: ", "ftp", "use ws, wss, http or https"]),
    (&["listen", "ws:///socket", "t"], &["URL: ", "no host", "ws://HOST/PATH"]),
    (&["listen", "ws://h:99999/", "t"], &["URL: ", "port"]),
    (&["listen", "", "t"], &["URL: "]),
    (&["send", "gopher://h", "t", "e"], &["URL: ", "gopher"]),
    (&["send", "ws://", "t", "e"], &["URL: ", "no host"]),
    (&["listen", "URL", ""], &["TOPIC: ", "empty", "room:lobby"]),
    (&["listen", "URL", "a", ""], &["TOPIC: ", "empty"]),
    (&["listen", "URL", "phoenix"], &["TOPIC: ", "phoenix"]),
    (&["listen", "URL", "a", "a"], &["TOPIC: ", "twice"]),
    (&["send", "URL", "", "e"], &["TOPIC: ", "empty"]),
    (&["send", "URL", "t", ""], &["EVENT: ", "empty"]),
    (&["send", "URL", "t", "phx_join"], &["EVENT: ", "phx_"]),
    (&["send", "URL", "t", "e", "{oops"], &["PAYLOAD: ", "JSON", "write"]),
    (&["send", "URL", "t", "e", ""], &["PAYLOAD: ", "JSON"]),
    (&["send", "URL", "t", "e", "{} {}"], &["PAYLOAD: ", "JSON"]),
    // The standard input of these tests is empty.
    (&["send", "URL", "t", "e", "-"], &["PAYLOAD: ", "JSON"]),
    (&["listen", "URL", "t", "--join-payload", "{'a':1}"], &["--join-payload: ", "JSON"]),
    (&["listen", "URL", "t", "--join-payload", "-"], &["--join-payload: ", "JSON"]),
    (&["listen", "URL", "t", "--for", "5"], &["--for: ", "no unit", "5s"]),
    (&["listen", "URL", "t", "--for", "-5s"], &["--for: ", "5s"]),
    (&["listen", "URL", "t", "--for", "soon"], &["--for: ", "5s"]),
    (&["listen", "URL", "t", "--for="], &["--for: ", "5s"]),
    (&["listen", "URL", "t", "--for", "0s"], &["--for: ", "5s"]),
    (&["listen", "URL", "t", "--for", "99999999999999999999y"], &["--for: ", "too long"]),
    (&["listen", "URL", "t", "--heartbeat", "30"], &["--heartbeat: ", "no unit"]),
    (&["listen", "URL", "t", "--heartbeat", "0ms"], &["--heartbeat: "]),
    (&["send", "URL", "t", "e", "--timeout", "10"], &["--timeout: ", "no unit"]),
    (&["listen", "URL", "t", "--count", "0"], &["--count: ", "1 or more"]),
    (&["listen", "URL", "t", "--count", "-1"], &["--count: ", "1 or more"]),
    (&["listen", "URL", "t", "--count", "many"], &["--count: ", "1 or more"]),
    (&["send", "URL", "t", "e", "--count", "1.5"], &["--count: ", "1 or more"]),
    (&["send", "URL", "t", "e", "--rate", "0"], &["--rate: ", "a second"]),
    (&["send", "URL", "t", "e", "--rate", "fast"], &["--rate: ", "a second"]),
    (&["listen", "URL", "t", "--param", "k"], &["--param: ", "K=V"]),
    (&["send", "URL", "t", "e", "{}", "--param", "k"], &["--param: ", "K=V"]),
    (&["listen", "URL", "t", "--param", "vsn=1.0.0"], &["--param: ", "--vsn"]),
    (&["listen", "URL", "t", "--record", "/nowhere/at/all.jsonl"], &["--record: ", "/nowhere/at/all.jsonl"]),
    (&["send", "URL", "t", "e", "--dialect", "sente"], &["--dialect: ", "sente", "phoenix"]),
    (&["listen", "URL", "t", "--dialect", "pheonix"], &["--dialect: ", "`pheonix`", "supabase"]),
    (&["listen", "URL", "t", "--vsn", "3"], &["--vsn: ", "`3`", "1, 2"]),
    (&["listen", "URL", "t", "--transport", "sse"], &["--transport: ", "`sse`", "websocket, longpoll, auto"]),
    (&["send", "URL", "t", "e", "--transport", "ws"], &["--transport: ", "`ws`", "websocket, longpoll, auto"]),
    (&["doctor", "URL", "--transport", "auto"], &["--transport: ", "websocket or longpoll"]),
    (&["listen", "URL"], &["the following required arguments were not provided: <TOPIC>", "--help"]),
    (&["listen", "URL", "t", "--hearbeat", "5s"], &["unexpected argument '--hearbeat'", "'--heartbeat'"]),
    (&["doctor", "localhost:4000"], &["URL: ", "ws://HOST/PATH"]),
    (&["doctor", "URL", "--timeout", "10"], &["--timeout: ", "no unit"]),
    (&["doctor", "URL", "--channel="], &["--channel: ", "empty"]),
    (&["doctor", "URL", "--channel", "phoenix"], &["--channel: ", "phoenix"]),
    (&["doctor", "URL", "--event", "phx_join"], &["--event: ", "phx_"]),
    (&["doctor", "URL", "--param", "k"], &["--param: ", "K=V"]),
    (&["doctor", "URL", "--dialect", "sente"], &["--dialect: ", "sente", "phoenix"]),
    (&["doctor"], &["the following required arguments were not provided: <URL>", "--help"]),
    (&["serve", "--listen", "4000"], &["--listen: ", "ADDR:PORT"]),
    (&["serve", "--listen", "127.0.0.1:port"], &["--listen: ", "ADDR:PORT"]),
    (&["serve", "--listen", ""], &["--listen: ", "ADDR:PORT"]),
    (&["listen", "URL", "t", "--join-payload", "[1]"], &["--join-payload: ", "no JSON object", "write"]),
    (&["serve", "--listen", "0.0.0.0:0"], &["--listen: ", "0.0.0.0:0", "--jwt-secret or --jwks", "--no-auth"]),
    (&["serve", "--listen", "[::]:0"], &["--listen: ", "[::]:0", "--no-auth"]),
    (&["serve", "--jwt-secret", "31 bytes are not quite enough,,"], &["--jwt-secret: ", "31 bytes", "32 or more"]),
    (&["serve", "--jwt-secret="], &["--jwt-secret: ", "0 bytes", "32 or more"]),
    (&["serve", "--jwks", "/nowhere/keys.json"], &["--jwks: ", "/nowhere/keys.json", "name a file"]),
    (&["serve", "--jwks", "src"], &["--jwks: ", "src: ", "name a file"]),
    (&["serve", "--jwks", "Cargo.toml"], &["--jwks: ", "Cargo.toml", "line 1", "a JSON object"]),
    (&["serve", "--jwks", "tests/no_usable_key.json"], &["--jwks: ", "none of the 2 keys", "give"]),
    (&["serve", "--no-auth", "--jwks", "f"], &["--no-auth: ", "--jwks", "leave one of them out"]),
    (&["serve", "--no-auth", "--jwt-secret", "s"], &["--no-auth: ", "--jwt-secret", "leave one of them out"]),
    (&["serve", "--origin", "example.com"], &["--origin: ", "`example.com`", "https://HOST", "any"]),
    (&["serve", "--origin="], &["--origin: ", "https://HOST"]),
    (&["serve", "--origin", "any", "--origin", "//a"], &["--origin: ", "`any`", "alone"]),
    (&["serve", "--max-connections", "0"], &["--max-connections: ", "1 or more"]),
    (&["serve", "--max-channels", "many"], &["--max-channels: ", "1 or more"]),
    (&["serve", "--max-message-bytes", "16MB"], &["--max-message-bytes: ", "`16MB`", "64KiB"]),
    (&["serve", "--max-topic-bytes", "-1"], &["--max-topic-bytes: ", "1 or more"]),
    (&["serve", "--joins-per-second", "0"], &["--joins-per-second: ", "1 or more"]),
    (&["serve", "--messages-per-second", "1.5"], &["--messages-per-second: ", "1 or more"]),
    (&["serve", "--bytes-per-second", "5GiB"], &["--bytes-per-second: ", "too large", "smaller"]),
    (&["serve", "--idle-timeout", "60"], &["--idle-timeout: ", "no unit"]),
    (&["serve", "--outbox-bytes", "0"], &["--outbox-bytes: ", "1 or more"]),
    (&["serve", "--overflow", "drop"], &["--overflow: ", "`drop`", "close, drop-newest, drop-oldest, latest"]),
    (&["serve", "--history", "0"], &["--history: ", "1 or more"]),
    (&["serve", "--drain", "3"], &["--drain: ", "no unit"]),
    (&["explain", "/nowhere/at/all.jsonl"], &["FILE: ", "/nowhere/at/all.jsonl"]),
    (&["explain", "Cargo.toml"], &["FILE: ", "Cargo.toml", "line 1"]),
];

/// A token that expired in 1970.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln";
const LONG: &str = match str::from_utf8(&[b'e'; 256]) {
    Ok(long) => long,
    Err(_) => "",
};

/// The same with `--dialect supabase`, and mostly with a key.
const BAD_FOR_SUPABASE: &[(&[&str], &[&str])] = &[
    (&["listen", "URL", "t"], &["--apikey: ", "missing", "--apikey or SUPABASE_KEY"]),
    (&["send", "URL", "t", "e", "--apikey", " "], &["--apikey: ", "missing"]),
    (&["send", "URL", "t", "e", "--apikey", "a b"], &["--apikey: ", "space", "copy it again"]),
    (&["listen", "localhost", "t", "--apikey", "k"], &["URL: "]),
    (&["listen", "URL", "t", "--apikey", "k", "--vsn", "3"], &["--vsn: ", "1, 2"]),
    (&["listen", "URL", "t", "--apikey", "k", "--token", "abc"], &["--token: ", "not a JWT", "three parts"]),
    (&["listen", "URL", "t", "--apikey", "k", "--token", ""], &["--token: ", "empty"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--token", "sb_publishable_1"], &["--token: ", "API key"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--token", EXPIRED], &["--token: ", "expired", "fresh"]),
    (&["listen", "URL", "t", "--apikey", "k", "--token-file", "/nowhere/t"], &["--token-file: ", "/nowhere/t"]),
    (&["listen", "URL", "t", "--apikey", "k", "--token-file", "Cargo.toml"], &["--token-file: ", "not a JWT"]),
    (&["listen", "URL", "t", "--apikey", "k", "--token-file", "f", "--token", "t"], &["--token-file: ", "--token"]),
    (&["listen", "URL", "t", "--apikey", "k", "--join-payload", "{}"], &["--join-payload: ", "--private"]),
    (&["listen", "URL", "t", "--apikey", "k", "--param", "apikey=k"], &["--param: ", "--apikey"]),
    (&["listen", "URL", "", "--apikey", "k"], &["TOPIC: ", "room-1"]),
    (&["listen", "URL", "realtime:", "--apikey", "k"], &["TOPIC: ", "room-1"]),
    (&["listen", "URL", "a", "b", "a", "--apikey", "k"], &["TOPIC: ", "twice"]),
    (&["listen", "URL", "a", "realtime:a", "--apikey", "k"], &["TOPIC: ", "`realtime:a`", "twice"]),
    (&["listen", "URL", "t", "--apikey", "k", "--postgres-changes", "todos"], &["--postgres-changes: ", "SCHEMA"]),
    (&["listen", "URL", "t", "--apikey", "k", "--postgres-changes", "p."], &["--postgres-changes: ", "TABLE"]),
    (&["listen", "URL", "t", "--apikey", "k", "--postgres-changes", "p.t:new"], &["--postgres-changes: ", "EVENT"]),
    (
        &["listen", "URL", "t", "--apikey", "k", "--postgres-changes", "p.t:*:a=has.1"],
        &["--postgres-changes: ", "`has`"],
    ),
    (
        &["listen", "URL", "t", "--apikey", "k", "--postgres-changes", "p.t:*:a=eq.1,2"],
        &["--postgres-changes: ", "quotes"],
    ),
    (&["listen", "URL", "t", "--apikey", "k", "--presence-key", "k"], &["--presence-key: ", "add --presence"]),
    (&["listen", "URL", "t", "--apikey", "k", "--presence", "--presence-key="], &["--presence-key: ", "empty"]),
    (&["listen", "URL", "t", "--apikey", "k", "--track", "{}"], &["--track: ", "add --presence"]),
    (&["listen", "URL", "t", "--apikey", "k", "--presence", "--track", "[]"], &["--track: ", "no JSON object"]),
    (&["listen", "URL", "t", "--apikey", "k", "--presence", "--track", "{"], &["--track: ", "JSON"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--http", "--ack"], &["--ack: ", "leave it out"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--http", "--reply"], &["--reply: ", "leave it out"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--http", "--transport", "auto"], &["--transport: ", "leave it out"]),
    (&["send", "URL", "t", "e", "--apikey", "k", "--http", "--private"], &["--private: ", "--token"]),
    (&["send", "URL", "t", "e", "null", "--apikey", "k", "--http"], &["PAYLOAD: ", "null", "{}"]),
    (&["send", "URL", "t", "", "--apikey", "k", "--http"], &["EVENT: ", "empty"]),
    (&["doctor", "URL", "--apikey", "k", "--postgres-changes", "todos"], &["--postgres-changes: ", "SCHEMA"]),
    (&["listen", "URL", "t", "--apikey", "k", "--replay-since", "10m"], &["--replay-since: ", "add --private"]),
    (
        &["listen", "URL", "t", "--apikey", "k", "--private", "--replay-since", "1795262400"],
        &["--replay-since: ", "seconds"],
    ),
    (
        &["listen", "URL", "t", "--apikey", "k", "--private", "--replay-limit", "5"],
        &["--replay-limit: ", "--replay-since"],
    ),
    (&["listen", "URL", "t", "--apikey", "k", "--private", "--replay-limit", "26"], &["--replay-limit: ", "1 to 25"]),
    (&["doctor", "URL"], &["--apikey: ", "missing", "--apikey or SUPABASE_KEY"]),
    (&["doctor", "URL", "--apikey", "k", "--channel", "realtime:"], &["--channel: ", "room-1"]),
    (&["doctor", "URL", "--apikey", "k", "--event", "ping"], &["--event: ", "Phoenix's"]),
    (&["doctor", "URL", "--apikey", "k", "--token", EXPIRED], &["--token: ", "expired", "fresh"]),
    (&["send", "URL", "realtime:", "e", "--apikey", "k"], &["TOPIC: ", "room-1"]),
    (&["send", "URL", "t", "", "--apikey", "k"], &["EVENT: ", "empty"]),
    (&["send", "URL", "t", LONG, "--apikey", "k"], &["EVENT: ", "256 bytes", "255", "--vsn 1"]),
    (&["send", "URL", LONG, "e", "--apikey", "k"], &["TOPIC: ", "265 bytes", "--vsn 1"]),
    (&["send", "URL", "t", "e", "{oops", "--apikey", "k"], &["PAYLOAD: ", "JSON"]),
];

/// Options of the one dialect that the other has no use for.
const OF_SUPABASE: &[&[&str]] =
    &[&["--apikey", "k"], &["--token", "t"], &["--token-file", "f"], &["--private"], &["--self"], &["--ack"]];

/// The same of `listen` alone.
const OF_SUPABASE_LISTENERS: &[&[&str]] = &[
    &["--postgres-changes", "public.todos"],
    &["--presence"],
    &["--presence-key", "k"],
    &["--track", "{}"],
    &["--replay-since", "10m"],
    &["--replay-limit", "5"],
];

#[test]
fn bad_input_is_one_line_that_names_the_argument_and_the_fix() {
    for (arguments, names) in BAD {
        is_refused(arguments, names);
    }
    for (arguments, names) in BAD_FOR_SUPABASE {
        is_refused(&[*arguments, &["--dialect", "supabase"]].concat(), names);
    }
    for option in OF_SUPABASE {
        let name = format!("{}: ", option[0]);
        is_refused(&[&["listen", "URL", "t"], *option].concat(), &[&name, "--dialect supabase"]);
        is_refused(&[&["send", "URL", "t", "e"], *option].concat(), &[&name, "--dialect supabase"]);
    }
    is_refused(&["send", "URL", "t", "e", "--http"], &["--http: ", "--dialect supabase"]);
    is_refused(&["doctor", "URL", "--private"], &["--private: ", "--dialect supabase"]);
    is_refused(&["doctor", "URL", "--postgres-changes", "s.t"], &["--postgres-changes: ", "--dialect supabase"]);
    for option in OF_SUPABASE_LISTENERS {
        is_refused(&[&["listen", "URL", "t"], *option].concat(), &[&format!("{}: ", option[0]), "--dialect supabase"]);
    }
}

fn is_refused(arguments: &[&str], names: &[&str]) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    server.set_nonblocking(true).expect("it can be asked");
    let url = format!("ws://{}/socket", server.local_addr().expect("bound"));
    let arguments: Vec<&str> = arguments.iter().map(|a| if *a == "URL" { url.as_str() } else { a }).collect();
    let ended = run(&arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?}: {ended:?}");
    assert!(ended.stderr.starts_with(&format!("error: {}", names[0])), "{arguments:?}: {ended:?}");
    for name in names {
        assert!(ended.stderr.contains(name), "{arguments:?}: {name:?} is not in {ended:?}");
    }
    assert!(server.accept().is_err(), "somebody has connected");
}

#[test]
fn every_command_has_help() {
    for command in [&["--help"][..], &["demo", "--help"], &["serve", "--help"], &["listen", "--help"]] {
        let ended = run(command);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command:?}");
        assert!(ended.stdout.contains("Usage: rejoin"), "{command:?}");
    }
    for command in ["send", "doctor", "explain"] {
        assert!(run(&[command, "--help"]).stdout.contains("Usage: rejoin"), "{command}");
    }
}

#[test]
fn the_help_names_both_dialects_and_every_event_that_is_printed() {
    assert!(run(&["--help"]).stdout.contains("Phoenix Channels and Supabase Realtime"));
    let help = run(&["listen", "--help"]).stdout;
    let sources = [
        include_str!("../../src/output/phoenix.rs"),
        include_str!("../../src/output/supabase.rs"),
        include_str!("../../src/output/line.rs"),
        include_str!("../../src/listen/supabase.rs"),
    ];
    let mut events: Vec<_> = sources.iter().flat_map(|source| source.split("event: \"").skip(1)).collect();
    events
        .extend(include_str!("../../src/output/presence.rs").split("=> \"").skip(1).filter(|s| s.starts_with("pres")));
    assert!(events.len() > 30);
    for event in events.iter().filter_map(|rest| rest.split('"').next()) {
        assert!(help.contains(&format!(" {event}")), "{event}");
    }
}

#[test]
fn a_web_page_at_the_url_is_bad_input_over_any_transport() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/socket", server.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut tcp in server.incoming().flatten() {
            let mut asked = [0; 4096];
            // Whoever hangs up has no need of a page.
            let _ = tcp.read(&mut asked).and_then(|_| tcp.write_all(page.as_bytes()));
        }
    });
    let supabase = ["--dialect", "supabase", "--apikey", "k"];
    let both = [&[][..], &supabase];
    // What comes behind three refusals is the same for everybody.
    for (transport, dialects) in [("websocket", &both[..]), ("longpoll", &both), ("auto", &both[..1])] {
        for dialect in dialects {
            let running = [&["listen", &url, "t"][..], &["send", &url, "t", "e"]]
                .map(|command| Program::start(&[command, &["--transport", transport], dialect].concat()));
            for ended in running.map(Program::ended) {
                let expected = "error: URL: what answers there (HTTP 200) is no realtime socket; check the path, ";
                assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{transport}: {ended:?}");
                assert!(ended.stderr.starts_with(expected), "{transport}: {ended:?}");
            }
        }
    }
}
