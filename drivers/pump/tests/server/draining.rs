//! The end of a server: everybody is told in time, and whoever does not go is cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_pump::server::Drained;

use crate::lab::{Lab, Raw, millis, over_both_transports, secs};

over_both_transports! {
    clients_are_told_and_none_is_left
}

/// Begins a shutdown; how it went is there when it is over.
fn shut_down(lab: &mut Lab, deadline: Duration) -> Arc<Mutex<Option<Drained>>> {
    let (server, went) = (lab.server.clone(), Arc::<Mutex<Option<Drained>>>::default());
    let result = went.clone();
    lab.rig.spawn(async move {
        let drained = server.shutdown(deadline).await;
        *result.lock().unwrap() = Some(drained);
    });
    went
}

fn how_many((told, cut): (usize, usize)) -> impl Fn(&Drained) -> bool {
    move |drained| (drained.told, drained.cut) == (told, cut)
}

fn clients_are_told_and_none_is_left(mut lab: Lab) {
    let guests: Vec<_> = (0..5).map(|_| lab.guest("room:1")).collect();
    let went = shut_down(&mut lab, secs(10));
    lab.live(5);
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((5, 0))), "{went:?}");
    assert_eq!(lab.standing(), [0; 4]);
    drop(guests);
}

#[test]
fn everybody_is_told_within_half_of_the_time_and_not_all_at_once() {
    let mut lab = Lab::new();
    let mut sockets: Vec<_> = (0..1_000).map(|_| lab.socket()).collect();
    let went = shut_down(&mut lab, millis(120));
    let mut told = Vec::<usize>::new();
    for _ in 0..6 {
        let mut is_told = |socket: &mut Raw| socket.hear(&mut lab).first().is_some_and(|line| line == "close 1012");
        told.push(sockets.iter_mut().map(|socket| usize::from(is_told(socket))).sum());
        lab.advance(millis(10));
    }
    assert_eq!(told.iter().sum::<usize>(), 1_000, "{told:?}");
    assert!(told.iter().all(|at_once| *at_once <= 334) && told[0] > 0, "{told:?}");
    lab.advance(millis(1));
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((1_000, 0))), "{went:?}");
    assert_eq!(lab.standing(), [0; 4]);
}

#[test]
fn whoever_does_not_go_is_cut_at_the_deadline() {
    let mut lab = Lab::new();
    let mut stuck: Vec<_> = (0..3).map(|_| lab.socket()).collect();
    let mut good = lab.socket();
    good.join(&mut lab, "room:1");
    stuck[0].join(&mut lab, "room:1");
    let went = shut_down(&mut lab, secs(1));
    lab.advance(millis(500));
    assert!(good.hear(&mut lab).contains(&"close 1012".to_owned()));
    lab.advance(millis(499));
    assert!(went.lock().unwrap().is_none());
    assert_eq!(lab.standing(), [3, 0, 1, 1]);
    lab.advance(millis(1));
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((4, 3))), "{went:?}");
    assert_eq!(lab.standing(), [0; 4]);
}

#[test]
fn a_shutdown_waits_for_the_farewells_of_the_application() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:lingering");
    let went = shut_down(&mut lab, secs(3));
    socket.hear(&mut lab);
    lab.advance(secs(1));
    assert!(went.lock().unwrap().is_none());
    lab.app.open_gate();
    lab.rig.settle();
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((1, 0))), "{went:?}");
}

#[test]
fn a_server_without_clients_is_down_at_once_even_if_somebody_stalls() {
    let mut lab = Lab::new();
    let stalled = crate::wire::Wire::dial(&lab.rig.runtime);
    lab.rig.settle();
    assert_eq!(lab.standing(), [0, 1, 0, 0]);
    let went = shut_down(&mut lab, secs(3));
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((0, 0))), "{went:?}");
    assert_eq!(lab.standing(), [0; 4]);
    let again = shut_down(&mut lab, secs(3));
    assert!(again.lock().unwrap().as_ref().is_some_and(how_many((0, 0))), "twice is once");
    drop(stalled);
}

#[test]
fn a_request_that_is_not_said_to_its_end_is_cut_at_the_deadline() {
    let mut lab = Lab::new();
    let mut stalled = crate::wire::Wire::dial(&lab.rig.runtime);
    let request = "POST /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nnot";
    stalled.say(&mut lab.rig, request);
    let went = shut_down(&mut lab, secs(3));
    lab.advance(secs(2));
    assert!(went.lock().unwrap().is_none() && !stalled.has_ended());
    lab.advance(secs(1));
    assert!(went.lock().unwrap().as_ref().is_some_and(how_many((0, 0))), "{went:?}");
    assert!(stalled.has_ended());
}
