//! `demo`: the promise of the whole project, kept in one command.

use std::time::{Duration, Instant};

use crate::program::run;

#[test]
fn the_demo_keeps_its_promises_in_time() {
    let start = Instant::now();
    let ended = run(&["demo"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(ended.stdout.lines().last().is_some_and(|line| line.ends_with("every promise was kept")), "{ended:?}");
}
