//! Broadcasts over HTTP at the scripted Supabase: who may send, what is accepted, who hears it.

use rejoin_core::Text;
use rejoin_sim::supabase::{BAD_SIGNATURE, Desk, HttpAnswer, LATE, PeerConfig, Rest, token, token_with};
use serde_json::{Value, json};

const BATCH: &str = "/api/broadcast";
const SINGLE: &str = "/api/broadcast/a/events/e";

struct Post {
    target: &'static str,
    headers: Vec<(Text, Text)>,
    body: Vec<u8>,
}

impl Post {
    fn new(target: &'static str, body: &Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { target, headers, body: body.to_string().into() }.with("apikey", &token("anon", LATE))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(given, _)| given != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    fn answer(&self, desk: &mut Desk) -> HttpAnswer {
        let answer = desk.project.handle_http(desk.now, "POST", self.target, &self.headers, &self.body).unwrap();
        desk.advance(0);
        answer
    }

    fn status(&self) -> u16 {
        self.answer(&mut Desk::new(PeerConfig::default())).status
    }
}

fn batch(topic: &str, private: bool) -> Value {
    json!({ "messages": [{ "topic": topic, "event": "e", "payload": { "n": 1 }, "private": private }] })
}

#[test]
fn a_batch_arrives_as_text_and_a_single_one_in_binary() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client(1);
    desk.joins(conn, "a", &json!({}));
    let answer = Post::new(BATCH, &batch("a", false)).answer(&mut desk);
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let text = r#"[null,null,"realtime:a","broadcast",{"event":"e","payload":{"n":1},"type":"broadcast"}]"#;
    assert_eq!(desk.take(conn), [text]);
    Post::new(SINGLE, &json!({ "n": 2 })).answer(&mut desk);
    assert_eq!(desk.take(conn), ["\u{4}\u{a}\u{1}\u{0}\u{1}realtime:ae{\"n\":2}"]);
    let bytes = Post { body: vec![7], ..Post::new(SINGLE, &json!({})) };
    bytes.with("content-type", "application/octet-stream").answer(&mut desk);
    assert_eq!(desk.take(conn), ["\u{4}\u{a}\u{1}\u{0}\u{0}realtime:ae\u{7}"]);
}

#[test]
fn public_and_private_channels_of_one_name_are_strangers() {
    let mut desk = Desk::new(PeerConfig::default());
    let (public, private) = (desk.client(1), desk.client(2));
    desk.joins(public, "priv:rw:1", &json!({}));
    desk.joins(private, "priv:rw:1", &json!({ "private": true }));
    let user = format!("Bearer {}", token("authenticated", LATE));
    let single = "/realtime/v1/api/broadcast/priv%3Arw%3A1/events/e?private=true";
    for post in [Post::new(BATCH, &batch("priv:rw:1", true)), Post::new(single, &json!({}))] {
        assert_eq!(post.answer(&mut desk).status, 202);
        assert!(desk.take(private).is_empty(), "the key has no permission");
        assert_eq!(post.with("authorization", &user).answer(&mut desk).status, 202);
        assert_eq!((desk.take(private).len(), desk.take(public).len()), (1, 0));
    }
    Post::new(BATCH, &batch("priv:rw:1", false)).answer(&mut desk);
    assert_eq!((desk.take(private).len(), desk.take(public).len()), (0, 1));
}

#[test]
fn a_token_goes_before_the_key_and_both_are_checked() {
    let forged = token_with(&json!({ "role": "anon", "exp": LATE }), BAD_SIGNATURE);
    let good = || Post::new(BATCH, &batch("a", false));
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(good().with("apikey", "sb_publishable_1").status(), 202);
    assert_eq!(good().with("apikey", &forged).status(), 401);
    assert_eq!(good().with("apikey", &forged).with("authorization", &bearer(&token("anon", LATE))).status(), 202);
    assert_eq!(good().with("authorization", &bearer(&forged)).status(), 401);
    assert_eq!(good().with("authorization", &bearer(&token("anon", 1_700_000_000))).status(), 401);
    assert_eq!(good().with("authorization", "Bearer ").status(), 500, "trap T56");
    assert_eq!(Post { headers: vec![], ..good() }.status(), 401);
}

#[test]
fn what_is_wrong_with_a_request_is_told_by_its_status() {
    let message = |message: Value| Post::new(BATCH, &json!({ "messages": [message] }));
    let blank = message(json!({ "topic": "a" })).answer(&mut Desk::new(PeerConfig::default()));
    let errors = r#"{"errors":{"messages":[{"event":["can't be blank"],"payload":["can't be blank"]}]}}"#;
    assert_eq!((blank.status, blank.body.as_str()), (422, errors));
    assert_eq!(message(json!({ "topic": "a", "event": "e", "payload": [] })).status(), 422);
    assert_eq!(Post::new(BATCH, &json!({})).status(), 422);
    assert_eq!(Post::new(SINGLE, &Value::Null).status(), 422);
    assert_eq!(Post::new(SINGLE, &json!({})).with("content-type", "text/plain").status(), 415);
    assert_eq!(Post { body: b"{".into(), ..Post::new(SINGLE, &json!({})) }.status(), 400);
    assert_eq!(Post::new("/socket/api/broadcast", &batch("a", false)).status(), 404);
    let small = PeerConfig { payload_bytes: 5, ..PeerConfig::default() };
    assert_eq!(Post::new(SINGLE, &json!({ "n": 1 })).answer(&mut Desk::new(small)).status, 422);
}

#[test]
fn an_old_server_knows_batches_only_and_others_answer_as_told_or_not_at_all() {
    let desk = |rest| Desk::new(PeerConfig { rest, ..PeerConfig::default() });
    let (single, batch) = (Post::new(SINGLE, &json!({})), Post::new(BATCH, &batch("a", false)));
    assert_eq!(single.answer(&mut desk(Rest::Old)).status, 404);
    assert_eq!(batch.answer(&mut desk(Rest::Old)).status, 202);
    for answer in [HttpAnswer::html(200), HttpAnswer::too_many(Some(7)), HttpAnswer::suspended()] {
        assert_eq!(batch.answer(&mut desk(Rest::Answers(answer.clone()))), answer);
    }
    let mut silent = desk(Rest::Silent);
    assert_eq!(silent.project.handle_http(silent.now, "POST", BATCH, &batch.headers, &batch.body), None);
}
