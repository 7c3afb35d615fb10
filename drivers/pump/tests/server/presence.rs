//! Who is present in a topic, as the server tells it and as our client understands it.

use futures_util::FutureExt;
use rejoin_core::Payload;
use rejoin_core::phoenix::{Presence, PresenceLimits, PushOutcome};
use rejoin_pump::ChannelEvent;

use crate::lab::{Guest, Lab, json, over_both_transports};

over_both_transports! {
    three_clients_see_each_other_come_change_and_go
    whoever_is_cut_off_is_present_no_more
    a_presence_that_cannot_be_is_refused_and_seen_by_nobody
}

/// A client that keeps account of who is present.
struct Watcher {
    guest: Guest,
    presence: Presence,
    lifetime: u64,
}

impl Watcher {
    fn new(lab: &mut Lab) -> Self {
        let guest = lab.joining("room:1");
        Self { guest, presence: Presence::new(PresenceLimits::default()), lifetime: 0 }
    }

    fn push(&self, lab: &mut Lab, event: &str, key: &str, meta: &str) -> PushOutcome {
        self.guest.push(lab, event, &format!(r#"{{"key":"{key}","meta":{meta}}}"#))
    }

    /// Everybody and what they say of themselves, without the server's refs.
    fn sees(&mut self) -> Vec<String> {
        while let Some(Some(event)) = self.guest.events.next().now_or_never() {
            match event {
                ChannelEvent::Joined { .. } => self.lifetime += 1,
                ChannelEvent::Message { event, payload } if event == "presence_state" => {
                    self.presence.state(self.lifetime, &payload).unwrap();
                }
                ChannelEvent::Message { event, payload } if event == "presence_diff" => {
                    self.presence.diff(self.lifetime, &payload).unwrap();
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        let all = self.presence.iter().map(|(key, metas)| {
            let metas: Vec<String> = metas.iter().map(|meta| said(&meta.payload)).collect();
            format!("{key}: {}", metas.join(" "))
        });
        all.collect()
    }
}

fn said(meta: &Payload) -> String {
    let meta: serde_json::Value = meta.parse().unwrap();
    meta["said"].as_str().unwrap_or_default().into()
}

fn three_clients_see_each_other_come_change_and_go(mut lab: Lab) {
    let mut watchers = [(); 3].map(|()| Watcher::new(&mut lab));
    for (n, watcher) in watchers.iter().enumerate() {
        watcher.guest.push(&mut lab, "state", "{}");
        // Two connections of Ann's, and one of Ben's.
        let key = ["ann", "ben", "ann"][n];
        assert_eq!(watcher.push(&mut lab, "track", key, &format!(r#"{{"said":"{n}"}}"#)), PushOutcome::Ok(json("{}")));
    }
    assert_eq!(watchers.each_mut().map(Watcher::sees), [(); 3].map(|()| vec!["ann: 0 2", "ben: 1"]));

    watchers[1].push(&mut lab, "update", "ben", r#"{"said":"away"}"#);
    assert_eq!(watchers.each_mut().map(Watcher::sees), [(); 3].map(|()| vec!["ann: 0 2", "ben: away"]));

    let [mut one, two, mut three] = watchers;
    lab.wait(two.guest.room.leave()).unwrap();
    assert_eq!((one.sees(), three.sees()), (vec!["ann: 0 2".to_owned()], vec!["ann: 0 2".to_owned()]));
    one.push(&mut lab, "untrack", "ann", "{}");
    assert_eq!((one.sees(), three.sees()), (vec!["ann: 2".to_owned()], vec!["ann: 2".to_owned()]));

    // Whoever comes later is told the same.
    let mut late = Watcher::new(&mut lab);
    late.guest.push(&mut lab, "state", "{}");
    assert_eq!(late.sees(), ["ann: 2"]);
    let state: serde_json::Value = lab.server.presence_state("room:1").parse().unwrap();
    let refs = late.presence.iter().flat_map(|(_, metas)| metas).map(|meta| meta.phx_ref.to_string());
    assert_eq!(refs.collect::<Vec<_>>(), [state["ann"]["metas"][0]["phx_ref"].as_str().unwrap()]);
}

fn whoever_is_cut_off_is_present_no_more(mut lab: Lab) {
    let one = Watcher::new(&mut lab);
    one.push(&mut lab, "track", "ann", "{}");
    assert_ne!(lab.server.presence_state("room:1"), json("{}"));
    lab.abort_tasks();
    assert_eq!(lab.server.presence_state("room:1"), json("{}"));

    let (one, mut two) = (lab.guest("room:1"), lab.guest("room:1"));
    one.push(&mut lab, "track", r#"{"key":"ann","meta":{}}"#);
    one.start(&mut lab, "crash", "{}").now_or_never();
    lab.rig.settle();
    let heard = two.hears();
    assert!(heard.len() == 2 && heard[0].contains("joins") && heard[1].contains("leaves"), "{heard:?}");
    assert_eq!(lab.server.presence_state("room:1"), json("{}"));
}

fn a_presence_that_cannot_be_is_refused_and_seen_by_nobody(mut lab: Lab) {
    let mut one = Watcher::new(&mut lab);
    one.guest.push(&mut lab, "state", "{}");
    let refused = |outcome: PushOutcome, why: &str| match outcome {
        PushOutcome::Error(reason) => assert!(reason.as_json().unwrap().contains(why), "{reason:?} and {why}"),
        other => panic!("{why}: {other:?}"),
    };
    refused(one.push(&mut lab, "update", "ann", "{}"), "not present");
    refused(one.push(&mut lab, "untrack", "ann", "{}"), "not present");
    refused(one.push(&mut lab, "track", "ann", "[]"), "JSON object");
    refused(one.push(&mut lab, "track", &"a".repeat(256), "{}"), "255 bytes");
    assert!(one.sees().is_empty());
    one.push(&mut lab, "track", "ann", "{}");
    refused(one.push(&mut lab, "track", "ann", "{}"), "already");
    assert_eq!(one.sees().len(), 1);
}
