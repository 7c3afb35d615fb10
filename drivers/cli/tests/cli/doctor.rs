//! `rejoin doctor`: the truth about a server, in each way in which it can be broken.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rejoin_sim::supabase::{Broken, Echo, PeerConfig, PeerEvent, Readiness};
use serde_json::Value;

use crate::program::{Ended, Program, run};
use crate::realtime::{Realtime, quick};
use crate::supabase::{KEY, fresh};

/// The checklist, and how the program ended.
struct Checklist {
    checks: Vec<Value>,
    ended: Ended,
}

/// Examines with `--json`; a check may take 2 s.
fn examine(arguments: &[&str]) -> Checklist {
    Checklist::of(begin(arguments).ended())
}

fn begin(arguments: &[&str]) -> Program {
    Program::start(&[&["doctor", "--json", "--timeout", "2s"], arguments].concat())
}

/// The same of a project.
fn examine_project(url: &str, arguments: &[&str]) -> Checklist {
    examine(&[&[url, "--dialect", "supabase", "--apikey", KEY], arguments].concat())
}

impl Checklist {
    fn of(ended: Ended) -> Self {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { checks: ended.stdout.lines().map(parse).collect(), ended }
    }

    /// Each check's name, with its mark.
    fn marks(&self) -> String {
        let mark = |check: &Value| match check["status"].as_str() {
            Some("ok") => '+',
            Some("failed") => '!',
            Some("skipped") => '-',
            _ => panic!("no status in {check}"),
        };
        let marked = self.checks.iter().map(|check| format!("{}{}", mark(check), check["name"].as_str().unwrap()));
        marked.collect::<Vec<_>>().join(" ")
    }

    fn text(&self, name: &str, field: &str) -> &str {
        let check = self.checks.iter().find(|check| check["name"] == name);
        check
            .and_then(|check| check[field].as_str())
            .unwrap_or_else(|| panic!("no {field} of {name} in {:?}", self.checks))
    }

    /// Nothing is wrong.
    fn is_well(&self, marks: &str) {
        assert_eq!((self.marks().as_str(), self.ended.code), (marks, Some(0)), "{:?}", self.checks);
        assert_eq!(self.ended.stderr, "");
    }

    /// One thing is wrong, and said with what to do about it.
    fn fails(&self, name: &str, marks: &str, detail: &str, advice: &str) {
        self.fail(&[name], marks);
        self.explains(name, detail, advice);
    }

    /// The program fails and names what is wrong.
    fn fail(&self, names: &[&str], marks: &str) {
        assert_eq!((self.marks().as_str(), self.ended.code), (marks, Some(1)), "{:?}", self.checks);
        assert_eq!(self.ended.stderr, format!("error: not well: {}\n", names.join(", ")));
    }

    fn explains(&self, name: &str, detail: &str, advice: &str) {
        assert!(self.text(name, "detail").contains(detail), "{detail} is not in {:?}", self.checks);
        assert!(self.text(name, "advice").contains(advice), "{advice} is not in {:?}", self.checks);
    }
}

/// The marks of a project that has but this wrong.
fn marks(wrong: &str, with_postgres: bool) -> String {
    let steps = ["dns", "tcp", "tls", "upgrade", "heartbeat", "join", "broadcast", "presence", "postgres"];
    let mut obstacle = false;
    let marked = steps.map(|step| {
        let skipped = obstacle || step == "tls" || step == "postgres" && !with_postgres;
        obstacle |= step == wrong && ["upgrade", "heartbeat", "join"].contains(&wrong);
        format!(
            "{}{step}",
            if skipped {
                '-'
            } else if step == wrong {
                '!'
            } else {
                '+'
            }
        )
    });
    marked.join(" ")
}

#[test]
fn a_project_that_is_well_has_every_check_on_both_runtimes() {
    let project = Realtime::start();
    let (url, token) = (project.url(), fresh(3600));
    for runtime in ["smol", "tokio"] {
        for vsn in ["1", "2"] {
            let well = examine_project(&url, &["--runtime", runtime, "--vsn", vsn]);
            well.is_well(&marks("", false));
            assert!(well.text("join", "detail").starts_with("realtime:rejoin-doctor as the project's public user"));
        }
        let well = examine(&[&url, "--dialect", "supabase", "--apikey", &token]);
        assert_eq!(well.text("join", "detail"), "realtime:rejoin-doctor as authenticated, the API key's role");
        let own = ["--private", "--channel", "priv:rw", "--token", &token, "--postgres-changes", "public.todos"];
        let own = [&own[..], &["--runtime", runtime]].concat();
        let well = examine_project(&url, &own);
        let detail = well.text("join", "detail");
        assert!(detail.starts_with("realtime:priv:rw as authenticated, with a token for 59m"), "{detail}");
        well.is_well(&marks("", true));
        assert!(well.text("postgres", "detail").starts_with("changes flow"));
    }
}

#[test]
fn each_way_in_which_a_project_can_be_broken_is_told_for_what_it_is() {
    let examinations = Broken::ALL.into_iter().zip(["smol", "tokio"].into_iter().cycle()).map(|(broken, runtime)| {
        let project = Realtime::broken(broken);
        let of_project = ["--dialect", "supabase", "--apikey", KEY, "--postgres-changes", "public.todos"];
        (broken, begin(&[&[project.url().as_str(), "--runtime", runtime][..], &of_project].concat()))
    });
    // Most of the time they wait, so all do so at once.
    for (broken, examining) in examinations.collect::<Vec<_>>() {
        let (name, detail, advice) = match broken {
            Broken::Unanswered => ("upgrade", "no answer within 2s", "what is between here"),
            Broken::Upgrade(401) => ("upgrade", "HTTP 401", "check the API key"),
            Broken::Upgrade(403) => ("upgrade", "HTTP 403", "whether Realtime is enabled"),
            Broken::Upgrade(404) => ("upgrade", "HTTP 404", "its path on a gateway is /realtime/v1"),
            Broken::Upgrade(429) => ("upgrade", "HTTP 429", "wait"),
            Broken::Upgrade(_) => ("upgrade", "HTTP 500", "wait"),
            Broken::Heartbeats => ("heartbeat", "no answer within 2s", "holds messages back"),
            Broken::JoinRefused => ("join", "connect to the project database", "try again in a minute"),
            Broken::JoinUnanswered => ("join", "no answer within 2s", "Realtime log"),
            Broken::Broadcasts => ("broadcast", "acknowledged, but has not come back", "hand out"),
            Broken::Presence => ("presence", "tracked, but nobody is shown", "hand out"),
            Broken::PostgresFailed => ("postgres", "Unable to subscribe", "publication supabase_realtime"),
            Broken::PostgresNeverReady => ("postgres", "no word that changes flow within 2s", "cold start"),
        };
        Checklist::of(examining.ended()).fails(name, &marks(name, true), detail, advice);
    }
}

#[test]
fn a_channel_that_ends_on_the_way_says_why_and_is_the_end() {
    let project = Realtime::broken(Broken::Presence);
    let url = project.url();
    let examining = Program::start(&["doctor", &url, "--json", "--dialect", "supabase", "--apikey", KEY]);
    project.sees(|event| matches!(event, PeerEvent::Presence(_)));
    project.order(|peer, now| peer.shut_down(now, "realtime:rejoin-doctor", "Too many presence messages per second"));
    let examined = Checklist::of(examining.ended());
    let detail = "closed by the server: Too many presence messages per second";
    examined.fails("presence", &marks("presence", false), detail, "raise the project's limits");
    assert_eq!(examined.text("postgres", "detail"), "skipped: presence failed");
}

#[test]
fn database_changes_that_do_not_flow_say_whether_table_or_filter_is_to_blame() {
    let tables = vec![("public".into(), "todos".into())];
    let project = Realtime::with(PeerConfig { tables, ..quick() }, |_| {});
    let no_changes = marks("postgres", true);
    let examine = |changes: &str| examine_project(&project.url(), &["--postgres-changes", changes]);
    examine("public.todos:insert").is_well(&marks("", true));
    examine("public.missing").fails("postgres", &no_changes, "Unable to subscribe", "publication supabase_realtime");

    let message = "Error parsing `filter` params: [\"id=eq.seven\"]";
    let readiness = Readiness::Failing(message.into());
    let project = Realtime::with(PeerConfig { readiness, ..quick() }, |_| {});
    let filtered = examine_project(&project.url(), &["--postgres-changes", "public.todos:*:id=eq.seven"]);
    filtered.fails("postgres", &no_changes, message, "its column must be the table's");

    let project = Realtime::with(PeerConfig { echo: Echo::OtherSchema, ..quick() }, |_| {});
    let other = examine_project(&project.url(), &["--postgres-changes", "public.todos"]);
    other.fails("join", &marks("join", true), "", "it has answered for other changes");
}

#[test]
fn people_read_marks_and_what_to_do() {
    let project = Realtime::start();
    project.refuse_upgrades(401, "API key is missing", 1);
    let ended = run(&["doctor", &project.url(), "--dialect", "supabase", "--apikey", KEY]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("✓ dns        127.0.0.1 is an address ("), "{ended:?}");
    assert_eq!(lines[2], "– tls        the URL asks for none");
    assert!(lines[3].starts_with("✗ upgrade    the server answered HTTP 401: API key is missing ("), "{ended:?}");
    assert!(lines[4].starts_with("  → check the API key"), "{ended:?}");
    assert_eq!(lines[5], "– heartbeat  skipped: upgrade failed");
    assert!(!ended.stdout.contains('\x1b') && !ended.stdout.contains("S3CRET"), "{ended:?}");
}

#[test]
fn what_cannot_be_reached_is_told_by_the_layer() {
    let refused = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let deaf = listener(|_| {});
    for runtime in ["smol", "tokio"] {
        let examine = |url: &str| examine(&[url, "--runtime", runtime]);
        let rest = "-upgrade -heartbeat -join -push";
        // A name that is too long, which no network has to be asked for.
        let nowhere = examine(&format!("ws://{}/socket", "x".repeat(64)));
        nowhere.fails("dns", &format!("!dns -tcp -tls {rest}"), "", "check the spelling of `xxx");
        let port = refused.port();
        let closed = examine(&format!("ws://{refused}/socket"));
        closed.fails("tcp", &format!("+dns !tcp -tls {rest}"), "refused", &format!("listens at port {port} of"));
        let plain = examine(&format!("wss://{deaf}/socket"));
        plain.fails(
            "tls",
            &format!("+dns +tcp !tls {rest}"),
            "no handshake within 2s",
            "without it the URL begins with ws://",
        );
        let silent = examine(&format!("ws://{deaf}/socket"));
        silent.fails(
            "upgrade",
            "+dns +tcp -tls !upgrade -heartbeat -join -push",
            "no answer within 2s",
            "what is between",
        );
    }
    let other = listener(|mut tcp| tcp.write_all(b"220 mail.example ESMTP\r\n").expect("it is there"));
    let stranger = examine(&[&format!("ws://{other}/socket")]);
    stranger.fails(
        "upgrade",
        "+dns +tcp -tls !upgrade -heartbeat -join -push",
        "",
        "check that the URL is that of a realtime socket",
    );
    let stranger = examine(&[&format!("wss://{other}/socket")]);
    stranger.fails(
        "tls",
        "+dns +tcp !tls -upgrade -heartbeat -join -push",
        "",
        "speaks TLS with a certificate for 127.0.0.1",
    );
}

#[test]
fn a_web_page_is_no_realtime_socket_over_any_transport() {
    let page = listener(|mut tcp| {
        let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
        tcp.write_all(page).expect("it is there");
    });
    let url = format!("http://{page}/socket");
    for (transport, opening) in [("websocket", "upgrade"), ("longpoll", "longpoll")] {
        let strange = examine(&[&url, "--transport", transport]);
        let marks = format!("+dns +tcp -tls !{opening} -heartbeat -join -push");
        strange.fails(opening, &marks, "HTTP 200", "check that the URL is that of a Phoenix socket");
    }
}

#[test]
fn a_doctor_who_is_interrupted_says_so_and_has_told_the_rest() {
    let deaf = listener(|_| {});
    let url = format!("ws://{deaf}/socket");
    for signal in ["-INT", "-TERM"] {
        let mut examining = Program::start(&["doctor", &url, "--timeout", "60s"]);
        while !examining.line().starts_with("– tls ") {}
        examining.signal(signal);
        let ended = examining.ended();
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(1), "", "error: interrupted\n"));
    }
}

#[test]
fn a_refused_upgrade_says_what_the_status_means() {
    let project = Realtime::start();
    for (status, text, advice) in [
        (401, "API key is missing", "check the API key"),
        (403, "Realtime was disabled for this tenant", "check whether Realtime is enabled"),
        (404, "Tenant not found", "its path on a gateway is /realtime/v1"),
        (429, "Too many connected users", "wait: the project has too many connections"),
        (500, "Error connecting to Realtime", "wait: the server has trouble of its own"),
        (418, "", "check that the URL is that of a Realtime server"),
    ] {
        project.refuse_upgrades(status, text, 1);
        let refused = examine_project(&project.url(), &[]);
        refused.fails("upgrade", &marks("upgrade", false), &format!("HTTP {status}"), advice);
        assert!(refused.text("upgrade", "detail").ends_with(text));
    }
}

#[test]
fn a_refused_join_says_what_the_reason_means() {
    let project = Realtime::with(quick(), |peer| {
        peer.refuse("realtime:rate", "ChannelRateLimitReached: Too many channels", 1);
        peer.refuse(
            "realtime:wait",
            "InitializingProjectConnection: Realtime is initializing the project connection",
            1,
        );
        peer.refuse("realtime:jwt", "InvalidJWTToken: Token has expired 7 seconds ago", 1);
        peer.refuse("realtime:off", "RealtimeDisabledForTenant: Realtime disabled for this tenant", 1);
        peer.refuse("realtime:odd", "unmatched topic", 1);
    });
    for (channel, detail, advice) in [
        ("rate", "Too many channels", "wait, or raise the project's limits"),
        ("wait", "initializing", "try again in a minute"),
        ("jwt", "Token has expired", "give a fresh --token"),
        ("off", "disabled", "enable Realtime"),
        ("odd", "unmatched topic", "change the --channel"),
    ] {
        examine_project(&project.url(), &["--channel", channel]).fails("join", &marks("join", false), detail, advice);
    }
    let private = examine_project(&project.url(), &["--private", "--channel", "priv:rw"]);
    private.fails(
        "join",
        &marks("join", false),
        "You do not have permissions to read",
        "a SELECT policy on realtime.messages",
    );

    let project = Realtime::with(PeerConfig { private_only: true, ..quick() }, |_| {});
    examine_project(&project.url(), &[]).fails(
        "join",
        &marks("join", false),
        "only allows private channels",
        "add --private",
    );

    let slow = Realtime::with(PeerConfig { join_time: Duration::from_secs(60), ..quick() }, |_| {});
    examine_project(&slow.url(), &[]).fails(
        "join",
        &marks("join", false),
        "no answer within 2s",
        "look into the project's Realtime log",
    );
}

#[test]
fn a_broadcast_that_the_policies_forbid_is_no_echo_but_a_missing_permission() {
    let project = Realtime::start();
    let token = fresh(3600);
    let reader = examine_project(&project.url(), &["--private", "--channel", "priv:ro", "--token", &token]);
    let wrong = ["broadcast", "presence"];
    reader.fail(&wrong, &marks("broadcast", false).replace("+presence", "!presence"));
    reader.explains("broadcast", "no answer within 2s", "an INSERT policy on realtime.messages");
    reader.explains("presence", "refused with {}", "of the extension presence");
    let project = Realtime::with(PeerConfig { payload_bytes: 10, ..quick() }, |_| {});
    let refused = examine_project(&project.url(), &[]);
    refused.fails("broadcast", &marks("broadcast", false), "payload_size_exceeded", "Realtime log");
}

#[test]
fn a_phoenix_socket_is_examined_up_to_a_push() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let url = format!("ws://{address}/socket");
    for runtime in ["smol", "tokio"] {
        let examine = |arguments: &[&str]| examine(&[&[&url, "--runtime", runtime], arguments].concat());
        examine(&[]).is_well("+dns +tcp -tls +upgrade +heartbeat -join -push");
        let well = examine(&["--channel", "room:lobby"]);
        well.is_well("+dns +tcp -tls +upgrade +heartbeat +join +push");
        assert_eq!(well.text("push", "detail"), "ping is answered ok {}");
        let polled = examine(&["--channel", "room:lobby", "--transport", "longpoll"]);
        polled.is_well("+dns +tcp -tls +longpoll -heartbeat +join +push");
    }
    let elsewhere = examine(&[&format!("ws://{address}/elsewhere")]);
    elsewhere.fails("upgrade", "+dns +tcp -tls !upgrade -heartbeat -join -push", "HTTP 404", "mounts the socket");
}

#[test]
fn a_checklist_that_cannot_be_written_is_complained_about_once() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    let examined = doctor.args(["doctor", &format!("ws://{address}/socket")]).stdout(full).output();
    let stderr = String::from_utf8(examined.expect("it runs").stderr).expect("text");
    assert!(
        stderr.starts_with("error: the standard output cannot be written") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

/// A port that is open; each connection is kept as this leaves it.
fn listener(greet: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for tcp in listener.incoming().flatten() {
            greet(tcp.try_clone().expect("it can be shared"));
            kept.push(tcp);
        }
    });
    address
}
