//! The HTTP client over pipes and in virtual time, against a server that says what the test says.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use rejoin_core::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use rejoin_pump::memory::{MemoryListener, network};
use rejoin_pump::{Http, HttpClient, Runtime};

use crate::rig::Rig;
use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(10);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_get_says_its_path_its_host_and_its_headers_and_nothing_else() {
    let mut lab = Lab::new();
    let request = get("http://host.test:4000/poll?vsn=2.0.0").header("accept", "application/json");
    let answer = lab.send(request);
    let mut server = lab.accept();
    assert_eq!(
        server.heard(),
        "GET /poll?vsn=2.0.0 HTTP/1.1\r\nhost: host.test:4000\r\naccept: application/json\r\n\r\n"
    );
    lab.say(&mut server, OK);
    assert_eq!(answer.get(), Some(Ok(HttpResponse::new(200, "ok"))));
}

#[test]
fn a_post_says_its_body_and_how_long_that_is_whatever_its_headers_say() {
    let mut lab = Lab::new();
    let request = post("http://host/", "{}").header("content-length", "7").header("expect", "100-continue");
    let answer = lab.send(request.header("transfer-encoding", "chunked").header("host", "tenant.test"));
    let mut server = lab.accept();
    let heard = server.heard();
    assert!(heard.starts_with("POST / HTTP/1.1\r\n") && heard.ends_with("\r\n\r\n{}"), "{heard}");
    for line in ["host: tenant.test", "content-type: application/json", "content-length: 2"] {
        assert_eq!(heard.matches(&format!("\r\n{line}\r\n")).count(), 1, "{heard}");
    }
    assert!(!heard.contains("expect") && !heard.contains("encoding") && !heard.contains("host: host"), "{heard}");
    lab.say(&mut server, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(answer.get(), Some(Ok(HttpResponse::new(202, ""))));
}

#[test]
fn whatever_the_status_is_and_whatever_the_body_is_made_of_it_is_a_response() {
    let html = "<html><title>502 Bad Gateway</title></html>";
    for (says, status, body) in [
        (format!("HTTP/1.1 502 Bad Gateway\r\ncontent-length: {}\r\n\r\n{html}", html.len()), 502, html),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 3\r\n\r\nyes".into(), 302, "yes"),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".into(), 302, ""),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), 204, ""),
        ("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n".into(), 200, "abc"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n".into(), 200, "a"),
        ("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_owned() + OK, 200, "ok"),
    ] {
        for at_a_time in [1, 2, 7, 1000] {
            let mut lab = Lab::new();
            let answer = lab.send(get("http://host/"));
            let mut server = lab.accept();
            for piece in says.as_bytes().chunks(at_a_time) {
                assert_eq!(answer.get(), None);
                lab.say(&mut server, std::str::from_utf8(piece).unwrap());
            }
            assert_eq!(answer.get(), Some(Ok(HttpResponse::new(status, body.to_owned()))), "{says}");
        }
    }
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let mut lab = Lab::new();
    for says in [
        "HTTP/1.1 200 OK\r\n\r\nall of it",
        "HTTP/1.0 200 OK\r\n\r\nall of it",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n",
    ] {
        let answer = lab.send(get("http://host/"));
        let mut server = lab.accept();
        lab.say(&mut server, says);
        assert_eq!(answer.get(), None);
        lab.hang_up(server);
        assert_eq!(answer.get(), Some(Ok(HttpResponse::new(200, "all of it"))), "{says}");
    }
}

#[test]
fn a_delay_that_the_server_asks_for_is_told_in_seconds_from_now() {
    let mut lab = Lab::new();
    // The memory network's clock begins on 15 January 2027 at 08:00.
    for (value, expected) in [("12", Some(12)), ("Fri, 15 Jan 2027 08:00:30 GMT", Some(30)), ("soon", None)] {
        let answer = lab.send(get("http://host/"));
        let mut server = lab.accept();
        lab.say(&mut server, &format!("HTTP/1.1 429\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n"));
        lab.hang_up(server);
        let response = answer.get().unwrap().unwrap();
        assert_eq!((response.status, response.retry_after), (429, expected.map(Duration::from_secs)), "{value}");
    }
}

#[test]
fn requests_after_one_another_share_a_connection_and_requests_at_once_do_not() {
    let mut lab = Lab::new();
    let (first, second, third) =
        (lab.send(get("http://host/1")), lab.send(get("http://host/2")), lab.send(get("http://host/3")));
    let mut servers = [lab.accept(), lab.accept(), lab.accept()];
    for server in &mut servers {
        server.heard();
        lab.say(server, OK);
    }
    for answer in [first, second, third] {
        assert!(answer.get().unwrap().is_ok());
    }
    let [mut gone, mut older, mut newest] = servers;
    assert!(gone.has_ended(), "two are kept");

    let (fourth, other) = (lab.send(get("http://host/4")), lab.send(get("http://other/")));
    assert!(newest.heard().starts_with("GET /4 "));
    let mut others = lab.accept();
    assert!(others.heard().contains("host: other\r\n"));
    let fifth = lab.send(get("http://host/5"));
    assert!(older.heard().starts_with("GET /5 "));
    for server in [&mut older, &mut newest, &mut others] {
        lab.say(server, OK);
    }
    for answer in [fourth, fifth, other] {
        assert!(answer.get().unwrap().is_ok());
    }
}

#[test]
fn a_connection_is_not_kept_when_the_server_closes_it_or_says_too_much_or_hears_too_little() {
    for (request, says) in [
        (get("http://host/"), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (get("http://host/"), "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (get("http://host/"), OK.to_owned() + OK),
        // It does not read a body that is larger than the pipe.
        (post("http://host/", &"x".repeat(1 << 20)), "HTTP/1.1 413\r\ncontent-length: 0\r\n\r\n".to_owned()),
    ] {
        let mut lab = Lab::new();
        let answer = lab.send(request);
        let mut server = lab.accept();
        lab.say(&mut server, &says);
        assert!(answer.get().unwrap().is_ok());
        server.heard();
        assert!(server.has_ended(), "{says}");
    }
}

#[test]
fn an_idle_connection_is_kept_for_half_a_minute() {
    let mut lab = Lab::new();
    let mut server = lab.exchange();
    lab.rig.advance(Duration::from_secs(29));
    let answer = lab.send(get("http://host/"));
    assert!(server.heard().starts_with("GET "), "it is used again");
    lab.say(&mut server, OK);
    assert!(answer.get().is_some());
    lab.rig.advance(Duration::from_secs(30));
    lab.send(get("http://host/"));
    assert!(server.has_ended());
    assert!(lab.accept().heard().starts_with("GET "));
}

#[test]
fn a_kept_connection_that_the_server_has_closed_is_not_used_again() {
    let mut lab = Lab::new();
    let server = lab.exchange();
    lab.hang_up(server);
    let answer = lab.send(post("http://host/", "{}"));
    let mut server = lab.accept();
    assert!(server.heard().starts_with("POST "));
    lab.say(&mut server, OK);
    assert!(answer.get().unwrap().is_ok());
}

#[test]
fn a_get_on_a_kept_connection_that_dies_unanswered_is_sent_once_more_and_a_post_is_not() {
    let mut lab = Lab::new();
    let mut server = lab.exchange();
    let answer = lab.send(get("http://host/again"));
    assert!(server.heard().starts_with("GET /again"));
    lab.hang_up(server);
    let mut server = lab.accept();
    assert!(server.heard().starts_with("GET /again"));
    lab.hang_up(server);
    assert!(matches!(answer.get(), Some(Err(HttpError::Broken(_)))), "a fresh one is no kept one");

    let mut server = lab.exchange();
    let answer = lab.send(post("http://host/once", "{}"));
    assert!(server.heard().starts_with("POST /once"));
    lab.hang_up(server);
    assert!(matches!(answer.get(), Some(Err(HttpError::Broken(_)))));
    assert!(lab.nobody_dials());

    let mut server = lab.exchange();
    let answer = lab.send(get("http://host/begun"));
    lab.say(&mut server, "H");
    lab.hang_up(server);
    assert!(matches!(answer.get(), Some(Err(HttpError::Broken(_)))), "an answer had begun");
    assert!(lab.nobody_dials());
}

#[test]
fn a_request_has_one_deadline_for_dialling_asking_and_being_answered() {
    for says in
        ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n\r\nnever ending", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"]
    {
        let mut lab = Lab::new();
        let answer = lab.send(post("http://host/", &"x".repeat(1 << 20)));
        let mut server = lab.accept();
        lab.rig.advance(TIMEOUT - Duration::from_millis(1));
        lab.say(&mut server, says);
        assert_eq!(answer.get(), None);
        lab.rig.advance(Duration::from_millis(1));
        assert_eq!(answer.get(), Some(Err(HttpError::TimedOut)), "{says}");
        server.heard();
        assert!(server.has_ended(), "nothing goes on behind it");
    }
}

#[test]
fn a_slow_drip_does_not_move_the_deadline() {
    let mut lab = Lab::new();
    let answer = lab.send(get("http://host/"));
    let mut server = lab.accept();
    lab.say(&mut server, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
    for _ in 1..TIMEOUT.as_secs() {
        lab.rig.advance(Duration::from_secs(1));
        lab.say(&mut server, "x");
        assert_eq!(answer.get(), None);
    }
    lab.rig.advance(Duration::from_secs(1));
    assert_eq!(answer.get(), Some(Err(HttpError::TimedOut)));
}

#[test]
fn a_dial_that_hangs_is_given_up_at_the_deadline() {
    let mut lab = Lab::new();
    // As many as may wait to be accepted.
    let waiting = std::iter::from_fn(|| lab.rig.runtime.dial("host".into(), 80, false).now_or_never());
    let waiting: Vec<_> = waiting.collect();
    let answer = lab.send(get("http://host/"));
    lab.rig.advance(TIMEOUT - Duration::from_millis(1));
    assert_eq!(answer.get(), None);
    lab.rig.advance(Duration::from_millis(1));
    assert_eq!(answer.get(), Some(Err(HttpError::TimedOut)));
    drop(waiting);
}

#[test]
fn no_more_is_read_than_was_asked_for() {
    let too_large = Some(Err(HttpError::TooLarge { limit: 4 }));
    for (says, expected) in [
        ("content-length: 4\r\n\r\nfour", Some(Ok(HttpResponse::new(200, "four")))),
        // Said before it is sent.
        ("content-length: 5\r\n\r\n", too_large.clone()),
        ("content-length: 18446744073709551615\r\n\r\n", too_large.clone()),
        ("transfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n", Some(Ok(HttpResponse::new(200, "four")))),
        ("transfer-encoding: chunked\r\n\r\n3\r\none\r\n2\r\nmo\r\n", too_large.clone()),
        ("\r\nendless", too_large),
    ] {
        let mut lab = Lab::new();
        let mut request = get("http://host/");
        request.body_limit = 4;
        let answer = lab.send(request);
        let mut server = lab.accept();
        lab.say(&mut server, &format!("HTTP/1.1 200 OK\r\n{says}"));
        assert_eq!(answer.get(), expected, "{says}");
    }
}

#[test]
fn what_is_no_http_is_broken_at_once() {
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(20_000));
    let no_chunk = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", "1".repeat(20_000));
    for says in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\x12\x04\0\0",
        "HTTP/3 200\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n",
        &endless,
        &no_chunk,
    ] {
        let mut lab = Lab::new();
        let answer = lab.send(get("http://host/"));
        let mut server = lab.accept();
        lab.say(&mut server, says);
        assert!(matches!(answer.get(), Some(Err(HttpError::Broken(_)))), "{says:.40}: {:?}", answer.get());
        server.heard();
        assert!(server.has_ended());
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    for says in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "HTTP/1.1 100 Continue\r\n\r\n"]
    {
        let mut lab = Lab::new();
        let answer = lab.send(get("http://host/"));
        let mut server = lab.accept();
        lab.say(&mut server, says);
        lab.hang_up(server);
        assert!(matches!(answer.get(), Some(Err(HttpError::Broken(_)))), "{says}");
    }
}

#[test]
fn a_server_may_answer_and_hang_up_before_it_has_heard_everything() {
    let mut lab = Lab::new();
    let answer = lab.send(post("http://host/", &"x".repeat(1 << 20)));
    let mut server = lab.accept();
    lab.say(&mut server, "HTTP/1.1 401 Unauthorized\r\n");
    lab.say(&mut server, "content-length: 2\r\n\r\nno");
    lab.hang_up(server);
    assert_eq!(answer.get(), Some(Ok(HttpResponse::new(401, "no"))));
}

#[test]
fn a_server_that_has_ended_its_own_half_is_still_told_everything() {
    let mut lab = Lab::new();
    let answer = lab.send(post("http://host/", &"x".repeat(100_000)));
    let mut server = lab.accept();
    lab.say(&mut server, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    server.end_of_speech();
    lab.rig.settle();
    assert_eq!(answer.get(), Some(Ok(HttpResponse::new(200, ""))));
}

#[test]
fn where_nobody_listens_the_server_is_unreachable() {
    let (runtime, listener) = network();
    drop(listener);
    let http = HttpClient::new(runtime);
    for url in ["http://host/", "http://", "/path", "http://host:port/", ""] {
        let outcome = http.send(get(url)).now_or_never().unwrap();
        assert!(matches!(outcome, Err(HttpError::Unreachable(_))), "{url}: {outcome:?}");
    }
}

#[test]
fn a_request_that_http_cannot_express_is_not_sent_and_shows_no_secret() {
    let lab = Lab::new();
    for (name, value) in [("authorization", "secret\r\nx: y"), ("bad name", "secret"), ("", "secret")] {
        let outcome = lab.http.send(get("http://host/").header(name, value)).now_or_never().unwrap();
        let Err(HttpError::Unreachable(what)) = outcome else { panic!("{outcome:?}") };
        assert!(what.contains(name) && !what.contains("secret"), "{what}");
    }
    assert!(lab.nobody_dials());
}

#[test]
fn a_request_that_nobody_waits_for_any_more_is_given_up() {
    let mut lab = Lab::new();
    let mut request = lab.http.send(get("http://host/"));
    assert!(poll(&mut request).is_pending());
    let mut server = lab.accept();
    assert!(server.heard().starts_with("GET "));
    drop(request);
    assert!(server.has_ended());
}

fn get(url: &str) -> HttpRequest {
    HttpRequest::get(HttpId::new(1), url, TIMEOUT)
}

fn post(url: &str, body: &str) -> HttpRequest {
    HttpRequest::post(HttpId::new(1), url, "application/json", body.to_owned(), TIMEOUT)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

struct Lab {
    rig: Rig,
    listener: MemoryListener,
    http: Arc<dyn Http>,
}

impl Lab {
    fn new() -> Self {
        let (runtime, listener) = network();
        Self { http: Arc::new(HttpClient::new(runtime.clone())), rig: Rig::new(runtime), listener }
    }

    fn send(&mut self, request: HttpRequest) -> Answer {
        let answer = Answer::default();
        let (sending, slot) = (self.http.send(request), answer.0.clone());
        self.rig.spawn(async move {
            let outcome = sending.await;
            *slot.lock().unwrap() = Some(outcome);
        });
        answer
    }

    /// A whole exchange; gives the server's end of the connection that is kept.
    fn exchange(&mut self) -> Wire {
        let answer = self.send(get("http://host/first"));
        let mut server = self.accept();
        server.heard();
        self.say(&mut server, OK);
        assert!(answer.get().unwrap().is_ok());
        server
    }

    fn accept(&mut self) -> Wire {
        Wire::accept(&self.listener).expect("somebody dials")
    }

    fn nobody_dials(&self) -> bool {
        Wire::accept(&self.listener).is_none()
    }

    fn say(&mut self, server: &mut Wire, text: &str) {
        server.say(&mut self.rig, text);
    }

    fn hang_up(&mut self, server: Wire) {
        drop(server);
        self.rig.settle();
    }
}

/// What a request came to, once it has come to something.
#[derive(Clone, Default)]
struct Answer(Arc<Mutex<Option<Result<HttpResponse, HttpError>>>>);

impl Answer {
    fn get(&self) -> Option<Result<HttpResponse, HttpError>> {
        self.0.lock().unwrap().clone()
    }
}
